package hostile

import (
	"context"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/envoytest"
)

// hardened is what every HTTP connection manager of a live Envoy has to carry, by path in
// the JSON that Envoy makes of its configuration. Numbers of 64 bits are strings there.
var hardened = map[string]any{
	// One path for policy and workload.
	"normalize_path":          true,
	"merge_slashes":           true,
	"strip_trailing_host_dot": true,
	// Nothing that a client says moves its address, and no client is internal.
	"use_remote_address":                                   true,
	"xff_num_trusted_hops":                                 nil, // 0
	"skip_xff_append":                                      nil,
	"original_ip_detection_extensions":                     nil,
	"internal_address_config.cidr_ranges.0.address_prefix": "255.255.255.255",
	"internal_address_config.cidr_ranges.1":                nil,
	"internal_address_config.unix_sockets":                 nil,
	// One name for a header.
	"common_http_protocol_options.headers_with_underscores_action": "REJECT_REQUEST",
	// Where a request ends.
	"http_protocol_options.allow_chunked_length": nil,
	"http_protocol_options.accept_http_10":       nil,
	// Bounds on what one client can hold.
	"request_headers_timeout":                                                  "10s",
	"stream_idle_timeout":                                                      "300s",
	"common_http_protocol_options.idle_timeout":                                "3600s",
	"common_http_protocol_options.max_headers_count":                           100.0,
	"max_request_headers_kb":                                                   60.0,
	"http2_protocol_options.max_concurrent_streams":                            128.0,
	"http2_protocol_options.initial_stream_window_size":                        65536.0,
	"http2_protocol_options.initial_connection_window_size":                    1048576.0,
	"http2_protocol_options.max_outbound_frames":                               10000.0,
	"http2_protocol_options.max_outbound_control_frames":                       1000.0,
	"early_header_mutation_extensions.0.typed_config.@type":                    "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
	"preserve_external_request_id":                                             true,
	"route_config.response_headers_to_remove.0":                                "x-pavise-reason",
	"access_log.0.typed_config.common_config.log_name":                         any(present),
	"http2_protocol_options.allow_metadata":                                    nil,
	"http_protocol_options.allow_absolute_url":                                 nil, // true
	"http_protocol_options.enable_trailers":                                    nil,
	"http_protocol_options.ignore_http_11_upgrade":                             nil,
	"http2_protocol_options.max_consecutive_inbound_frames_with_empty_payload": nil, // Envoy's own bound of 1
}

// present stands for any value.
const present = "\x00"

// TestSettings reads the settings back from a live Envoy, which knows what it took.
func TestSettings(t *testing.T) {
	l := start(t, pathPolicies+"---"+proxyPolicies+`
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: bytes}
spec: {inbound: [{port: 9001, address: $ADDR, upstream: $UP, protocol: TCP}, {port: 9002, address: $ADDR, upstream: $UP, protocol: TLS}]}
`)
	dump := l.dump()
	seen := map[policy.Traffic]int{}
	for _, w := range l.model.Workloads {
		for _, x := range w.Listeners {
			seen[x.Traffic]++
			name := w.Key() + "/" + x.Name
			t.Run(name, func(t *testing.T) {
				listener := dump.listeners[name]
				if listener == nil {
					t.Fatal("Envoy does not have it")
				}
				expect(t, listener, "per_connection_buffer_limit_bytes", 262144.0)
				chains, _ := listener["filter_chains"].([]any)
				if x.Traffic == policy.TLS {
					expect(t, listener, "listener_filters_timeout", "5s")
					expect(t, listener, "continue_on_listener_filters_timeout", nil)
				}
				if x.Traffic == policy.TCP || x.Traffic == policy.TLS {
					if listener["filter_chain_matcher"] == nil || listener["default_filter_chain"] != nil || len(chains) != 2 {
						t.Error("it is not the policy that chooses between two filter chains")
					}
					return
				}
				managers := 0
				for _, c := range chains {
					filters, _ := c.(map[string]any)["filters"].([]any)
					for _, f := range filters {
						m := at(f, "typed_config").(map[string]any)
						if !strings.HasSuffix(m["@type"].(string), ".HttpConnectionManager") {
							t.Errorf("%s stands beside the connection manager", m["@type"])
							continue
						}
						managers++
						checkManager(t, m, x)
					}
				}
				if managers != 1 {
					t.Errorf("%d connection managers", managers)
				}
			})
		}
	}
	for _, kind := range []policy.Traffic{policy.HTTP, policy.Proxy, policy.TCP, policy.TLS} {
		if seen[kind] == 0 {
			t.Errorf("no %s listener was looked at", kind)
		}
	}
	for _, key := range []string{"envoy.reloadable_features.re2_use_latin1_mode", "envoy.reloadable_features.strip_dotdot_segments_with_parameters"} {
		if got := dump.runtime[key]; got != false {
			t.Errorf("runtime %s is %v, want false", key, got)
		}
	}
	if !strings.Contains(dump.text, "global_downstream_max_connections") {
		t.Error("nothing bounds the connections")
	}
}

func checkManager(t *testing.T, m map[string]any, x *policy.Listener) {
	t.Helper()
	for path, want := range hardened {
		expect(t, m, path, want)
	}
	slashes := "REJECT_REQUEST"
	if x.Paths.UnescapeSlashes {
		slashes = "UNESCAPE_AND_FORWARD"
	}
	expect(t, m, "path_with_escaped_slashes_action", slashes)
	upgrades := []string{"websocket"}
	if x.Traffic == policy.Proxy {
		upgrades = append(upgrades, "CONNECT")
		expect(t, m, "http2_protocol_options.allow_connect", true)
		expect(t, m, "strip_any_host_port", nil)
	} else {
		expect(t, m, "http2_protocol_options.allow_connect", nil)
		expect(t, m, "strip_any_host_port", true)
	}
	for i, u := range upgrades {
		expect(t, m, "upgrade_configs."+strconv.Itoa(i)+".upgrade_type", u)
	}
	expect(t, m, "upgrade_configs."+strconv.Itoa(len(upgrades)), nil)

	// What a client must not say is taken off before anything reads it.
	removed := map[string]bool{}
	mutations, _ := at(m, "early_header_mutation_extensions.0.typed_config.mutations").([]any)
	for _, mutation := range mutations {
		if name, ok := at(mutation, "remove").(string); ok {
			removed[name] = true
		}
		if prefix, ok := at(mutation, "remove_on_match.key_matcher.prefix").(string); ok {
			removed[prefix] = true
		}
	}
	for _, name := range policy.UntrustedHeaders {
		if !removed[name] {
			t.Errorf("%s is not taken off; only %v", name, removed)
		}
	}

	// A policy comes by ECDS and has no default: until it is there, the listener is not.
	policies, last := 0, ""
	filters, _ := m["http_filters"].([]any)
	for _, f := range filters {
		last, _ = at(f, "name").(string)
		if at(f, "is_optional") != nil {
			t.Errorf("filter %s may be missing", last)
		}
		if at(f, "config_discovery") == nil {
			continue
		}
		policies++
		expect(t, f, "disabled", nil)
		expect(t, f, "config_discovery.config_source.ads", present)
		expect(t, f, "config_discovery.config_source.initial_fetch_timeout", "0s")
		expect(t, f, "config_discovery.default_config", nil)
		expect(t, f, "config_discovery.apply_default_config_without_warming", nil)
		expect(t, f, "config_discovery.type_urls.0", "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC")
		expect(t, f, "config_discovery.type_urls.1", nil)
	}
	want := 1
	if x.Traffic == policy.Proxy {
		want = 3 // preliminary, destination, policy
	}
	if policies != want || last != "envoy.filters.http.router" {
		t.Errorf("%d policy filters before %s, want %d before the router", policies, last, want)
	}
}

// expect compares what stands at a path; nil is for a field that is not there.
func expect(t *testing.T, in any, path string, want any) {
	t.Helper()
	got := at(in, path)
	if want == present && got != nil {
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s is %v, want %v", path, got, want)
	}
}

// at follows a path of names and indices.
func at(v any, path string) any {
	for path != "" {
		var key string
		key, path, _ = strings.Cut(path, ".")
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

// configDump is what a live Envoy says of its configuration.
type configDump struct {
	text      string
	listeners map[string]map[string]any
	runtime   map[string]any
}

func (l *lab) dump() configDump {
	l.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), envoytest.Patience)
	defer cancel()
	text, err := l.shield.Admin.Get(ctx, "/config_dump")
	if err != nil {
		l.Fatal(err)
	}
	var d struct {
		Configs []map[string]any `json:"configs"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		l.Fatal(err)
	}
	out := configDump{text: string(text), listeners: map[string]map[string]any{}}
	for _, c := range d.Configs {
		dynamic, _ := c["dynamic_listeners"].([]any)
		for _, x := range dynamic {
			name, _ := at(x, "name").(string)
			out.listeners[name], _ = at(x, "active_state.listener").(map[string]any)
			if at(x, "error_state") != nil {
				l.Errorf("Envoy refused listener %s: %v", name, at(x, "error_state"))
			}
		}
		if r, ok := at(c, "bootstrap.layered_runtime.layers.0.static_layer").(map[string]any); ok {
			out.runtime = r
		}
	}
	return out
}
