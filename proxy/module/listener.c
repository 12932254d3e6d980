#include "module.h"

#define API(name) envoy_dynamic_module_callback_listener_##name

HOOK const struct pv_config *envoy_dynamic_module_on_listener_filter_config_new(void *envoy, struct pv_buffer name,
                                                                                struct pv_buffer config) {
  (void)envoy;
  if (!API(filter_get_local_address) || !API(filter_set_filter_state)) {
    pv_lacking();
    return NULL;
  }
  return pv_configure("names", name, config);
}

HOOK void envoy_dynamic_module_on_listener_filter_config_destroy(const struct pv_config *c) { pv_forget(c); }

HOOK const struct pv_config *envoy_dynamic_module_on_listener_filter_new(const struct pv_config *c, void *envoy) {
  (void)envoy;
  return c;
}

// What a connection is for is by name what the resolver gave its address out for. The local
// address is that which the client connected to: original_dst stands before this.
HOOK int envoy_dynamic_module_on_listener_filter_on_accept(void *envoy, const struct pv_config *c) {
  (void)c;
  struct pv_buffer text;
  uint32_t port;
  struct pv_addr a = {0};
  if (!API(filter_get_local_address)(envoy, &text, &port)) return ABI_CONTINUE;
  pv_parse_addr(text.data, text.size, &a);
  char names[512]; // PAVISE_NAMES_TEXT
  size_t n = a.family ? pv_names(&a, names, sizeof names) : 0;
  if (n > 0) (void)API(filter_set_filter_state)(envoy, PV_STRING("pavise.names"), (struct pv_buffer){names, n});
  return ABI_CONTINUE;
}

// It reads nothing of what the client sends.
HOOK size_t envoy_dynamic_module_on_listener_filter_get_max_read_bytes(void);
HOOK size_t envoy_dynamic_module_on_listener_filter_get_max_read_bytes(void) { return 0; }

CONTINUING_HOOK(listener_filter_on_data)
UNUSED_HOOK(listener_filter_on_close)
UNUSED_HOOK(listener_filter_destroy)
UNUSED_HOOK(listener_filter_scheduled)
UNUSED_HOOK(listener_filter_config_scheduled)
UNUSED_HOOK(listener_filter_http_callout_done)
