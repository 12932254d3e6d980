// What of Envoy's ABI for dynamic modules is used here, and nothing else of it.
//
// Source: source/extensions/dynamic_modules/abi/abi.h of github.com/envoyproxy/envoy at
// f1dd21b16c24 (2026-04-23), ABI v0.1.0, Apache-2.0; declarations written anew. 1.38.3
// and 1.39.3 speak that version, 1.40.0 speaks v0.2.0. Each is tested.
//
// Functions that Envoy has are weak: tests link without an Envoy, and a function that an
// Envoy lacks is found when a filter is configured instead of when it is called.
#ifndef PAVISE_ABI_H
#define PAVISE_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Octets that somebody else keeps: Envoy those it gives until the hook returns, the module
// those it gives until the call does.
struct pv_buffer {
  const char *data;
  size_t size;
};

struct pv_header {
  const char *key;
  size_t key_size;
  const char *value;
  size_t value_size;
};

// Enumerations, with the numbers of those of their values that are used.
enum { ABI_LOG_DEBUG = 1, ABI_LOG_INFO, ABI_LOG_WARN, ABI_LOG_ERROR };
enum { ABI_REQUEST_HEADER = 0 };
enum { ABI_ATTRIBUTE_SOURCE_ADDRESS = 24, ABI_ATTRIBUTE_DESTINATION_ADDRESS = 26 };
enum { ABI_METRIC_OK = 0 };
enum { ABI_CLOSE_NO_FLUSH = 1 };
// Every hook that says how to go on says these two with the same numbers.
enum { ABI_CONTINUE = 0, ABI_STOP = 1 };

#define ENVOY __attribute__((weak)) extern

ENVOY void envoy_dynamic_module_callback_log(int level, struct pv_buffer message);
ENVOY bool envoy_dynamic_module_callback_is_validation_mode(void);

ENVOY bool envoy_dynamic_module_callback_http_get_header(void *filter, int type, struct pv_buffer key,
                                                         struct pv_buffer *value, size_t index, size_t *count);
ENVOY bool envoy_dynamic_module_callback_http_filter_get_attribute_string(void *filter, int attribute,
                                                                          struct pv_buffer *value);
ENVOY bool envoy_dynamic_module_callback_http_get_filter_state_bytes(void *filter, struct pv_buffer key,
                                                                     struct pv_buffer *value);
ENVOY void envoy_dynamic_module_callback_http_set_dynamic_metadata_string(void *filter, struct pv_buffer space,
                                                                          struct pv_buffer key, struct pv_buffer value);
ENVOY void envoy_dynamic_module_callback_http_send_response(void *filter, uint32_t status, struct pv_header *headers,
                                                            size_t count, struct pv_buffer body,
                                                            struct pv_buffer details);
ENVOY int envoy_dynamic_module_callback_http_filter_config_define_counter(void *config, struct pv_buffer name,
                                                                          struct pv_buffer *labels, size_t label_count,
                                                                          size_t *id);
ENVOY int envoy_dynamic_module_callback_http_filter_increment_counter(void *filter, size_t id, struct pv_buffer *labels,
                                                                      size_t label_count, uint64_t by);
// Of v0.2.0, in 1.40.0; the others do without.
ENVOY bool envoy_dynamic_module_callback_http_get_downstream_direct_remote_address(void *filter,
                                                                                   struct pv_buffer *address,
                                                                                   uint32_t *port);

ENVOY bool envoy_dynamic_module_callback_network_filter_get_direct_remote_address(void *filter,
                                                                                  struct pv_buffer *address,
                                                                                  uint32_t *port);
ENVOY bool envoy_dynamic_module_callback_network_filter_get_local_address(void *filter, struct pv_buffer *address,
                                                                          uint32_t *port);
ENVOY bool envoy_dynamic_module_callback_network_filter_get_requested_server_name(void *filter, struct pv_buffer *name);
ENVOY void envoy_dynamic_module_callback_network_set_dynamic_metadata_string(void *filter, struct pv_buffer space,
                                                                             struct pv_buffer key,
                                                                             struct pv_buffer value);
ENVOY void envoy_dynamic_module_callback_network_filter_close_with_details(void *filter, int how,
                                                                           struct pv_buffer details);
ENVOY int envoy_dynamic_module_callback_network_filter_config_define_counter(void *config, struct pv_buffer name,
                                                                             size_t *id);
ENVOY int envoy_dynamic_module_callback_network_filter_increment_counter(void *filter, size_t id, uint64_t by);

ENVOY bool envoy_dynamic_module_callback_listener_filter_get_local_address(void *filter, struct pv_buffer *address,
                                                                           uint32_t *port);
ENVOY bool envoy_dynamic_module_callback_listener_filter_set_filter_state(void *filter, struct pv_buffer key,
                                                                          struct pv_buffer value);

// What Envoy looks for in a module. A hook that does nothing is written by one of these:
// its parameters do not matter to a C function that does not look at them.
#define HOOK __attribute__((visibility("default")))
#define UNUSED_HOOK(name) \
  HOOK void envoy_dynamic_module_on_##name(void); \
  HOOK void envoy_dynamic_module_on_##name(void) {}
#define CONTINUING_HOOK(name) \
  HOOK int envoy_dynamic_module_on_##name(void); \
  HOOK int envoy_dynamic_module_on_##name(void) { return ABI_CONTINUE; }

#endif
