package docs

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

const semantics = "docs/semantics.md"

// compile makes a model of YAML and wants no errors in it.
func compile(t *testing.T, text string) *policy.Model {
	t.Helper()
	set, problems := api.Parse("test.yaml", []byte(text))
	if api.HasErrors(problems) {
		t.Fatalf("%v\n%s", problems, text)
	}
	m, problems := policy.Compile(set)
	if api.HasErrors(problems) {
		t.Fatalf("%v\n%s", problems, text)
	}
	return m
}

func TestPathTable(t *testing.T) {
	for _, r := range table(t, semantics, "test: paths") {
		target := code(t, r, 0)
		for i, opt := range []policy.PathOptions{{}, {UnescapeSlashes: true}, {LiteralParameters: true}} {
			got, _, reason := policy.CanonicalPath(target, opt)
			if reason != "" {
				got = string(reason)
			}
			if want := strings.Trim(r.cells[i+1], "`"); got != want {
				t.Errorf("%s: %s with %+v is %s, and the page says %s", r, target, opt, got, want)
			}
		}
	}
}

func TestHostTable(t *testing.T) {
	for _, r := range table(t, semantics, "test: hosts") {
		authority := code(t, r, 0)
		got, _, ok := policy.CanonicalHost(authority)
		if !ok {
			got = string(policy.MalformedHost)
		}
		if want := strings.Trim(r.cells[1], "`"); got != want {
			t.Errorf("%s: %s is %s, and the page says %s", r, authority, got, want)
		}
	}
}

// listenerWith is a listener of a workload with one rule.
func listenerWith(t *testing.T, action, match string) *policy.Listener {
	t.Helper()
	m := compile(t, fmt.Sprintf(`
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app}
spec: {inbound: [{port: 8080, upstream: "127.0.0.1:1"}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p}
spec: {ingress: [{name: r, action: %s, http: [{%s}]}]}
`, action, match))
	return m.Workloads[0].Listeners[0]
}

const matched = "namespace:default/p#r"

func TestPatternTable(t *testing.T) {
	for _, r := range table(t, semantics, "test: patterns") {
		kind, text, ok := strings.Cut(code(t, r, 0), ": ")
		if !ok {
			t.Fatalf("%s: no pattern", r)
		}
		l := listenerWith(t, "Allow", fmt.Sprintf("paths: [{%s: %q}]", kind, text))
		for i, want := range []bool{true, false} {
			for _, path := range codes(r.cells[i+1]) {
				d := l.Evaluate(&policy.Request{HTTP: &policy.HTTPRequest{Method: "GET", Authority: "a", Path: path}})
				if got := d.Reason.String() == matched; got != want {
					t.Errorf("%s: %s matches %s: %v", r, code(t, r, 0), path, got)
				}
			}
		}
	}
}

func TestValueTable(t *testing.T) {
	for _, r := range table(t, semantics, "test: values") {
		h := &policy.HTTPRequest{Method: "GET", Authority: "a", Path: "/"}
		for _, part := range codes(r.cells[1]) {
			if strings.HasPrefix(part, "?") {
				h.Path += part
				continue
			}
			name, value, ok := strings.Cut(strings.ReplaceAll(part, `\xff`, "\xff"), ":")
			if !ok {
				t.Fatalf("%s: %q is no header", r, part)
			}
			h.Headers = append(h.Headers, policy.HeaderField{Name: name, Value: value})
		}
		for i, action := range []string{"Allow", "Deny"} {
			d := listenerWith(t, action, code(t, r, 0)).Evaluate(&policy.Request{HTTP: h})
			want := r.cells[i+2]
			if got := d.Reason.String() == matched; got != (want == "yes") || want != "yes" && want != "no" {
				t.Errorf("%s: in a rule to %s it matches: %v, and the page says %s", r, action, got, want)
			}
		}
	}
}

// TestUntrustedHeadersAreListed holds the page to policy.UntrustedHeaders.
func TestUntrustedHeadersAreListed(t *testing.T) {
	_, list, _ := strings.Cut(read(t, semantics), "<!-- test: untrusted -->\n")
	list, _, _ = strings.Cut(list, "\n\n")
	if got := codes(list); !slices.Equal(got, policy.UntrustedHeaders) {
		t.Errorf("the page lists %q, the code %q", got, policy.UntrustedHeaders)
	}
}

// TestReasonsAreListed holds the table of reasons to the kinds of package policy.
func TestReasonsAreListed(t *testing.T) {
	var want []string
	for _, m := range regexp.MustCompile(`ReasonKind = "([a-z-]+)"`).FindAllStringSubmatch(read(t, "policy/reason.go"), -1) {
		want = append(want, m[1])
	}
	var got []string
	for _, r := range table(t, semantics, "test: reasons") {
		name, _, _ := strings.Cut(code(t, r, 0), ":")
		if name == "TIER" {
			name = string(policy.ByRule)
		}
		got = append(got, name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the page lists %q, the code %q", got, want)
	}
}

const everyListener = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app}
spec:
  inbound: [{name: http, port: 1, upstream: "127.0.0.1:9"}, {name: tls, protocol: TLS, port: 2, upstream: "127.0.0.1:9"}]
  outbound: [{name: proxy, port: 3}]
`

// TestSettingsTable compares the table of settings with what Envoy is given, and looks
// for settings of HTTP listeners that are not in it.
func TestSettingsTable(t *testing.T) {
	m := compile(t, everyListener)
	r, err := xds.Translate(m, m.Workloads, xds.Options{Resolver: xds.DefaultResolver})
	if err != nil {
		t.Fatal(err)
	}
	inbound := asJSON(t, r.Listeners["default/app/http"])
	proxy := asJSON(t, r.Listeners["default/app/proxy"])
	bootstrap, err := xds.Bootstrap(xds.BootstrapConfig{Node: "n", ControlSocket: "/c", AdminSocket: "/a"})
	if err != nil {
		t.Fatal(err)
	}
	var boot any
	if err := json.Unmarshal(bootstrap, &boot); err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, row := range table(t, semantics, "test: settings") {
		where, name, _ := strings.Cut(code(t, row, 0), ".")
		want := code(t, row, 1)
		var got []any
		switch where {
		case "http":
			listed[name] = true
			listed[strings.SplitN(name, ".", 2)[0]] = true
			if !strings.HasPrefix(row.cells[2], "proxies only") {
				got = append(got, at(t, httpManager(t, inbound), name))
			}
			if !strings.HasPrefix(row.cells[2], "inbound only") {
				got = append(got, at(t, httpManager(t, proxy), name))
			}
		case "listener":
			got = append(got, at(t, inbound, name), at(t, proxy, name))
		case "tls":
			got = append(got, at(t, asJSON(t, r.Listeners["default/app/tls"]), name))
		case "bootstrap":
			listed["bootstrap."+name] = true
			got = find(boot, name)
		}
		if len(got) == 0 {
			t.Errorf("%s: there is no setting %s", row, code(t, row, 0))
		}
		for _, g := range got {
			if text(t, g) != want {
				t.Errorf("%s: %s is %s", row, code(t, row, 0), text(t, g))
			}
		}
	}
	for _, layer := range find(boot, "static_layer") {
		for name := range layer.(map[string]any) {
			if !listed["bootstrap."+name] {
				t.Errorf("the runtime has %s, which is not in the table of %s", name, semantics)
			}
		}
	}
	// What makes a listener and not its strictness.
	for _, name := range []string{
		"stat_prefix", "route_config", "http_filters", "access_log", "local_reply_config", "upgrade_configs", "early_header_mutation_extensions",
	} {
		listed[name] = true
	}
	for _, name := range given(r.Listeners["default/app/http"], t) {
		if !listed[name] {
			t.Errorf("HTTP listeners have %s, which is not in the table of %s", name, semantics)
		}
	}
}

func asJSON(t *testing.T, m proto.Message) any {
	t.Helper()
	return decode(t, protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}, m)
}

func decode(t *testing.T, o protojson.MarshalOptions, m proto.Message) any {
	t.Helper()
	b, err := o.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// httpManager is the HTTP part of a listener.
func httpManager(t *testing.T, listener any) any {
	t.Helper()
	return at(t, listener, "filter_chains.0.filters.0.typed_config")
}

// at follows a dotted path.
func at(t *testing.T, v any, path string) any {
	t.Helper()
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(x) {
				t.Fatalf("no %s in %s", part, path)
			}
			v = x[i]
		default:
			t.Fatalf("no %s in %s", part, path)
		}
	}
	return v
}

// find returns the values of every field of that name, or of that name in camel case.
func find(v any, name string) []any {
	camel := regexp.MustCompile(`_[a-z]`).ReplaceAllStringFunc(name, func(s string) string { return strings.ToUpper(s[1:]) })
	var out []any
	switch x := v.(type) {
	case map[string]any:
		for k, w := range x {
			if k == name || k == camel {
				out = append(out, w)
			}
			out = append(out, find(w, name)...)
		}
	case []any:
		for _, w := range x {
			out = append(out, find(w, name)...)
		}
	}
	return out
}

// text is a setting as the page writes it.
func text(t *testing.T, v any) string {
	t.Helper()
	switch x := v.(type) {
	case string:
		return x
	case map[string]any:
		if len(slices.DeleteFunc(keys(x), func(k string) bool { return empty(x[k]) })) == 0 {
			return "{}"
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func keys(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

func empty(v any) bool {
	switch x := v.(type) {
	case []any:
		return len(x) == 0
	case map[string]any:
		return len(x) == 0
	}
	return v == nil
}

// given are the dotted names of what is set in the HTTP part of a listener, as deep as
// the table goes.
func given(listener proto.Message, t *testing.T) []string {
	t.Helper()
	hcm, ok := httpManager(t, decode(t, protojson.MarshalOptions{UseProtoNames: true}, listener)).(map[string]any)
	if !ok {
		t.Fatal("the listener has no HTTP part")
	}
	var out []string
	for k, v := range hcm {
		inner, ok := v.(map[string]any)
		switch {
		case k == "@type":
		case ok && strings.HasSuffix(k, "_options"):
			for name := range inner {
				out = append(out, k+"."+name)
			}
		default:
			out = append(out, k)
		}
	}
	return out
}

// TestPeersOnPage holds what the page says of addresses.
func TestPeersOnPage(t *testing.T) {
	m := compile(t, `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app}
spec: {inbound: [{port: 8080, upstream: "127.0.0.1:1"}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p}
spec: {ingress: [{name: r, action: Allow, from: [{cidrs: ["::ffff:10.0.0.0/104", 192.0.2.0/24], except: [192.0.2.7]}]}]}
`)
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "192.0.2.1": true, "192.0.2.7": false, "64:ff9b::a01:203": false, "11.0.0.1": false,
	} {
		d := m.Workloads[0].Listeners[0].Evaluate(&policy.Request{Source: netip.MustParseAddr(addr), HTTP: &policy.HTTPRequest{Method: "GET", Authority: "a", Path: "/"}})
		if got := d.Reason.String() == matched; got != want {
			t.Errorf("%s matches: %v", addr, got)
		}
	}
}
