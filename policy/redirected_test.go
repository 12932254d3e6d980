package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pavise.dev/pavise/api"
)

func compileYAML(t *testing.T, text string) (*Model, []api.Problem) {
	t.Helper()
	set, problems := api.Parse("t.yaml", []byte(text))
	m, more := Compile(set)
	return m, slices.Concat(problems, more)
}

const redirectedPolicies = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app, namespace: shop, labels: {app: app}}
spec:
  addresses: [192.0.2.10]
  transparent: {opaquePorts: [3306]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: out, namespace: shop}
spec:
  selector: {matchLabels: {app: app}}
  egress:
    - {name: not-evil, action: Deny, to: [{domains: [evil.example, "*.evil.example"]}]}
    - {name: api, action: Allow, to: [{domains: [api.example]}], http: [{methods: [GET], paths: [{prefix: /v1}]}]}
    - {name: partners, action: Allow, to: [{domains: ["*.partner.example"]}], ports: [{port: 443}]}
    - {name: by-sni, action: Allow, tls: {serverNames: [sni.example]}}
    - {name: database, action: Allow, to: [{cidrs: [10.0.0.0/8]}], ports: [{port: 3306}]}
  ingress:
    - {name: metrics, action: Allow, ports: [{port: 9090}]}
    - {name: browse, action: Allow, ports: [{port: 8080}], http: [{paths: [{prefix: /shop}]}]}
`

// TestRedirected: what is transparent is decided by where it goes, by what it is, and by
// names that the client did not choose.
func TestRedirected(t *testing.T) {
	m, problems := compileYAML(t, redirectedPolicies)
	if api.HasErrors(problems) {
		t.Fatal(problems)
	}
	w := m.Workload("shop", "app")
	for _, c := range []struct {
		name, direction, to string
		names, sni          string // names are separated by commas
		http                string // METHOD URL
		want                string
	}{
		{"an API by its URL", "egress", "203.0.113.1:80", "api.example", "", "GET http://api.example/v1/x", "allow namespace:shop/out#api"},
		{"another path of it", "egress", "203.0.113.1:80", "api.example", "", "GET http://api.example/v2", "deny default-deny:shop/out"},
		{"a claimed Host at an address of the client's choice", "egress", "198.51.100.66:80", "", "", "GET http://api.example/v1", "deny default-deny:shop/out"},
		{"a claimed Host at the address of another name", "egress", "198.51.100.66:80", "other.example", "", "GET http://api.example/v1", "deny default-deny:shop/out"},
		{"the right address with another Host", "egress", "203.0.113.1:80", "api.example", "", "GET http://other.example/v1", "deny default-deny:shop/out"},
		{"an address that several names share", "egress", "203.0.113.1:80", "cdn.example,api.example", "", "GET http://api.example/v1", "allow namespace:shop/out#api"},
		{"an address that is shared with a denied name", "egress", "203.0.113.1:80", "api.example,x.evil.example", "", "GET http://api.example/v1", "deny namespace:shop/out#not-evil"},
		{"a denied name that is only claimed", "egress", "203.0.113.1:80", "", "", "GET http://evil.example/", "deny namespace:shop/out#not-evil"},
		{"domain fronting: the server name is fine, the address is not", "egress", "203.0.113.2:443", "evil.example", "a.partner.example", "", "deny namespace:shop/out#not-evil"},
		{"TLS to a partner", "egress", "203.0.113.3:443", "a.partner.example", "a.partner.example", "", "allow namespace:shop/out#partners"},
		{"TCP without a server name, by the name it was resolved from", "egress", "203.0.113.3:443", "a.partner.example", "", "", "allow namespace:shop/out#partners"},
		{"a server name that was not resolved", "egress", "203.0.113.3:443", "", "a.partner.example", "", "deny default-deny:shop/out"},
		{"a resolved name and the claim of another", "egress", "203.0.113.3:443", "a.partner.example", "b.example", "", "deny default-deny:shop/out"},
		{"a resolved name at another port", "egress", "203.0.113.3:22", "a.partner.example", "", "", "deny default-deny:shop/out"},
		{"a rule for HTTP is none for TCP", "egress", "203.0.113.1:80", "api.example", "", "", "deny default-deny:shop/out"},
		{"server names in egress, where they are seen", "egress", "203.0.113.9:443", "", "SNI.example", "", "allow namespace:shop/out#by-sni"},
		{"a server name with a dot at its end", "egress", "203.0.113.9:443", "", "evil.example.", "", "deny malformed-host"},
		{"an address", "egress", "10.1.2.3:3306", "", "", "", "allow namespace:shop/out#database"},
		{"a mapped address", "egress", "[::ffff:10.1.2.3]:3306", "", "", "", "allow namespace:shop/out#database"},
		{"at an opaque port nothing is recognised", "egress", "203.0.113.3:3306", "", "sni.example", "", "deny default-deny:shop/out"},
		{"a tunnel through somebody else's proxy", "egress", "203.0.113.1:80", "api.example", "", "CONNECT http://evil.example:443", "deny connect-refused"},
		{"the listener itself", "egress", "192.0.2.10:15001", "", "", "", "deny not-redirected"},

		{"a port that takes anything", "ingress", "192.0.2.10:9090", "", "", "", "allow namespace:shop/out#metrics"},
		{"another port", "ingress", "192.0.2.10:9091", "", "", "", "deny default-deny:shop/out"},
		{"HTTP by path", "ingress", "192.0.2.10:8080", "", "", "GET http://shop.example/shop/7", "allow namespace:shop/out#browse"},
		{"the same at a port that is not meant", "ingress", "192.0.2.10:8081", "", "", "GET http://shop.example/shop/7", "deny default-deny:shop/out"},
		{"what is no HTTP at the port of the web", "ingress", "192.0.2.10:8080", "", "", "", "deny default-deny:shop/out"},
		{"the listener itself, from outside", "ingress", "192.0.2.10:15006", "", "", "GET http://x.example/shop", "deny not-redirected"},
	} {
		to := netip.MustParseAddrPort(c.to)
		req := &Request{Source: netip.MustParseAddr("192.0.2.99"), Destination: to.Addr(), Port: to.Port(), ServerName: c.sni}
		if c.names != "" {
			req.Names = strings.Split(c.names, ",")
		}
		if method, url, ok := strings.Cut(c.http, " http://"); ok {
			host, path, _ := strings.Cut(url, "/")
			req.HTTP = &HTTPRequest{Method: method, Authority: host, Path: "/" + path}
		}
		for _, l := range w.Listeners {
			if string(l.Direction) != c.direction {
				continue
			}
			d := l.Evaluate(req)
			if got := string(d.Verdict) + " " + d.Reason.String(); got != c.want {
				t.Errorf("%s: %s, want %s\n%+v", c.name, got, c.want, d.Trace)
			}
		}
	}
}

// TestServerNamesAtAProxy: who has an explicit proxy is told that it does not see them.
func TestServerNamesAtAProxy(t *testing.T) {
	text := strings.Replace(redirectedPolicies, "transparent: {opaquePorts: [3306]}", "outbound: [{port: 3128}]", 1)
	_, problems := compileYAML(t, text)
	for _, p := range problems {
		if p.Code == "PAV0704" && p.Field == "spec.egress[3].tls" {
			return
		}
	}
	t.Errorf("not told: %v", problems)
}
