#include "module.h"

#define API(name) envoy_dynamic_module_callback_network_##name

HOOK const struct pv_config *envoy_dynamic_module_on_network_filter_config_new(void *envoy, struct pv_buffer name,
                                                                               struct pv_buffer config) {
  if (!API(filter_get_direct_remote_address) || !API(filter_get_local_address) ||
      !API(filter_get_requested_server_name) || !API(set_dynamic_metadata_string) || !API(filter_close_with_details)) {
    pv_lacking();
    return NULL;
  }
  struct pv_config *c = pv_configure("feeds", name, config);
  if (c && API(filter_config_define_counter) && API(filter_increment_counter))
    c->counting = API(filter_config_define_counter)(envoy, PV_STRING("feeds_denied"), &c->denied) == ABI_METRIC_OK &&
                  API(filter_config_define_counter)(envoy, PV_STRING("feeds_alerted"), &c->alerted) == ABI_METRIC_OK &&
                  API(filter_config_define_counter)(envoy, PV_STRING("feeds_failed"), &c->failed) == ABI_METRIC_OK;
  return c;
}

HOOK void envoy_dynamic_module_on_network_filter_config_destroy(const struct pv_config *c) { pv_forget(c); }

HOOK const struct pv_config *envoy_dynamic_module_on_network_filter_new(const struct pv_config *c, void *envoy) {
  (void)envoy;
  return c;
}

static void count(const struct pv_config *c, void *envoy, size_t id) {
  if (c->counting) (void)API(filter_increment_counter)(envoy, id, 1);
}

// A connection is decided before the filters behind this one see it, so none has opened an
// upstream yet. The server name is there: the listener has read the ClientHello before it
// chose these filters.
HOOK int envoy_dynamic_module_on_network_filter_new_connection(void *envoy, const struct pv_config *c) {
  struct pv_facts f;
  f.source.family = f.destination.family = f.host.addr.family = f.server_name.addr.family = 0;
  f.host.size = f.server_name.size = 0;
  struct pv_buffer text;
  uint32_t port;
  if (c->direction == PV_INGRESS) {
    if (API(filter_get_direct_remote_address)(envoy, &text, &port)) pv_parse_addr(text.data, text.size, &f.source);
  } else {
    if (API(filter_get_local_address)(envoy, &text, &port)) pv_parse_addr(text.data, text.size, &f.destination);
    if (API(filter_get_requested_server_name)(envoy, &text)) pv_parse_host(text.data, text.size, &f.server_name);
  }

  struct pv_verdict v;
  pv_decide(c, &f, &v);
  if (v.failed) count(c, envoy, c->failed);
  if (v.action == PV_PASS) return ABI_CONTINUE;
  pv_describe(&v, envoy, API(set_dynamic_metadata_string));
  if (v.action == PV_ALERT) {
    count(c, envoy, c->alerted);
    return ABI_CONTINUE;
  }
  count(c, envoy, c->denied);
  API(filter_close_with_details)(envoy, ABI_CLOSE_NO_FLUSH, PV_STRING("pavise_feed"));
  return ABI_STOP;
}

CONTINUING_HOOK(network_filter_read)
CONTINUING_HOOK(network_filter_write)
UNUSED_HOOK(network_filter_event)
UNUSED_HOOK(network_filter_destroy)
UNUSED_HOOK(network_filter_http_callout_done)
UNUSED_HOOK(network_filter_scheduled)
UNUSED_HOOK(network_filter_config_scheduled)
UNUSED_HOOK(network_filter_above_write_buffer_high_watermark)
UNUSED_HOOK(network_filter_below_write_buffer_low_watermark)
