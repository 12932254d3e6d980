#include "module.h"

#define API(name) envoy_dynamic_module_callback_http_##name

HOOK const struct pv_config *envoy_dynamic_module_on_http_filter_config_new(void *envoy, struct pv_buffer name,
                                                                            struct pv_buffer config) {
  if (!API(get_header) || !API(filter_get_attribute_string) || !API(get_filter_state_bytes) ||
      !API(set_dynamic_metadata_string) || !API(send_response)) {
    pv_lacking();
    return NULL;
  }
  struct pv_config *c = pv_configure("feeds", name, config);
  if (c && API(filter_config_define_counter) && API(filter_increment_counter))
    c->counting =
        API(filter_config_define_counter)(envoy, PV_STRING("feeds_denied"), NULL, 0, &c->denied) == ABI_METRIC_OK &&
        API(filter_config_define_counter)(envoy, PV_STRING("feeds_alerted"), NULL, 0, &c->alerted) == ABI_METRIC_OK &&
        API(filter_config_define_counter)(envoy, PV_STRING("feeds_failed"), NULL, 0, &c->failed) == ABI_METRIC_OK;
  return c;
}

HOOK void envoy_dynamic_module_on_http_filter_config_destroy(const struct pv_config *c) { pv_forget(c); }

// The filter of a stream is its configuration: it keeps nothing between two hooks.
HOOK const struct pv_config *envoy_dynamic_module_on_http_filter_new(const struct pv_config *c, void *envoy) {
  (void)envoy;
  return c;
}

// source is the address at the other end of the connection. An Envoy before 1.40 says only
// what its HTTP connection manager made of that: use_remote_address has to be set there,
// and xff_num_trusted_hops must not be, or a client could say where it comes from.
static void source(void *envoy, struct pv_addr *out) {
  struct pv_buffer text;
  uint32_t port;
  if (API(get_downstream_direct_remote_address) ? API(get_downstream_direct_remote_address)(envoy, &text, &port)
                                                : API(filter_get_attribute_string)(envoy, ABI_ATTRIBUTE_SOURCE_ADDRESS, &text))
    pv_parse_addr(text.data, text.size, out);
}

// target is what a request is for. An explicit proxy has written the host into filter state,
// and its own address says nothing; that which dynamic_forward_proxy resolves the host to
// cannot be read from here, so the resolver asks the feeds about it. Elsewhere it is the
// address of the connection, and the authority.
static void target(void *envoy, struct pv_facts *f) {
  struct pv_buffer text;
  if (API(get_filter_state_bytes)(envoy, PV_STRING("pavise.host"), &text)) {
    pv_parse_host(text.data, text.size, &f->host);
    return;
  }
  if (API(filter_get_attribute_string)(envoy, ABI_ATTRIBUTE_DESTINATION_ADDRESS, &text))
    pv_parse_addr(text.data, text.size, &f->destination);
  if (API(get_header)(envoy, ABI_REQUEST_HEADER, PV_STRING(":authority"), &text, 0, NULL))
    pv_parse_host(text.data, text.size, &f->host);
}

static void count(const struct pv_config *c, void *envoy, size_t id) {
  if (c->counting) (void)API(filter_increment_counter)(envoy, id, NULL, 0, 1);
}

static void deny(void *envoy, const struct pv_verdict *v) {
  static const char begin[] = "denied by Pavise: ";
  char body[sizeof begin + sizeof v->reason.data + 1];
  size_t n = sizeof begin - 1;
  memcpy(body, begin, n);
  memcpy(body + n, v->reason.data, v->reason.size);
  n += v->reason.size;
  body[n++] = '\n';
  static const char key[] = "x-pavise-reason";
  struct pv_header reason = {key, sizeof key - 1, v->reason.data, v->reason.size};
  API(send_response)(envoy, 403, &reason, 1, (struct pv_buffer){body, n}, PV_STRING("pavise_feed"));
}

HOOK int envoy_dynamic_module_on_http_filter_request_headers(void *envoy, const struct pv_config *c, bool end) {
  (void)end;
  struct pv_facts f;
  f.source.family = f.destination.family = f.host.addr.family = f.server_name.addr.family = 0;
  f.host.size = f.server_name.size = 0;
  if (c->direction == PV_INGRESS) source(envoy, &f.source);
  else target(envoy, &f);

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
  deny(envoy, &v);
  return ABI_STOP;
}

// A configuration for one route only: there is none, and whoever gives one is told.
HOOK const void *envoy_dynamic_module_on_http_filter_per_route_config_new(struct pv_buffer name, struct pv_buffer config) {
  (void)name, (void)config;
  static const char why[] = "pavise: the filter has no configuration for single routes: switch it off there, or leave it";
  pv_log(ABI_LOG_ERROR, why, sizeof why - 1);
  return NULL;
}

CONTINUING_HOOK(http_filter_request_body)
CONTINUING_HOOK(http_filter_request_trailers)
CONTINUING_HOOK(http_filter_response_headers)
CONTINUING_HOOK(http_filter_response_body)
CONTINUING_HOOK(http_filter_response_trailers)
CONTINUING_HOOK(http_filter_local_reply)
UNUSED_HOOK(http_filter_per_route_config_destroy)
UNUSED_HOOK(http_filter_stream_complete)
UNUSED_HOOK(http_filter_destroy)
UNUSED_HOOK(http_filter_scheduled)
UNUSED_HOOK(http_filter_http_callout_done)
UNUSED_HOOK(http_filter_http_stream_headers)
UNUSED_HOOK(http_filter_http_stream_data)
UNUSED_HOOK(http_filter_http_stream_trailers)
UNUSED_HOOK(http_filter_http_stream_complete)
UNUSED_HOOK(http_filter_http_stream_reset)
UNUSED_HOOK(http_filter_downstream_above_write_buffer_high_watermark)
UNUSED_HOOK(http_filter_downstream_below_write_buffer_low_watermark)
UNUSED_HOOK(http_filter_config_scheduled)
UNUSED_HOOK(http_filter_config_http_callout_done)
UNUSED_HOOK(http_filter_config_http_stream_headers)
UNUSED_HOOK(http_filter_config_http_stream_data)
UNUSED_HOOK(http_filter_config_http_stream_trailers)
UNUSED_HOOK(http_filter_config_http_stream_complete)
UNUSED_HOOK(http_filter_config_http_stream_reset)
