package explain

import (
	"net/netip"
	"strings"
	"testing"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
	"pavise.dev/pavise/xds/envoytest"
)

// shop has one listener, at which one rule allows one path.
func shop(t *testing.T, s *envoytest.Shield) *policy.Listener {
	t.Helper()
	w := &api.Workload{Spec: api.WorkloadSpec{Inbound: []api.Inbound{{Name: "http", Port: 8080, Upstream: "127.0.0.1:1"}}}}
	w.Name, w.Namespace = "web", "shop"
	match := api.RuleMatch{HTTP: []api.HTTPMatch{{Paths: []api.PathMatch{{Exact: "/open"}}}}}
	deny := api.RuleMatch{HTTP: []api.HTTPMatch{{Paths: []api.PathMatch{{Prefix: "/admin"}}}}}
	p := &api.AccessPolicy{Spec: api.AccessPolicySpec{Ingress: []api.IngressRule{
		{Name: "open", Action: api.ActionAllow, RuleMatch: match}, {Name: "no-admin", Action: api.ActionDeny, RuleMatch: deny},
	}}}
	p.Name, p.Namespace = "paths", "shop"
	set, problems := api.NewSet(w, p)
	m, more := policy.Compile(set)
	if api.HasErrors(append(problems, more...)) {
		t.Fatal(problems, more)
	}
	l := m.Workload("shop", "web").Listeners[0]
	l.Address, l.Upstream = netip.AddrPortFrom(s.Addr, l.Address.Port()), envoytest.Upstream(t)
	s.Apply(t, m)
	return l
}

// TestDenialSaysWho: what denied a request is in the header and in the body of the answer, and
// with it the id by which an operator finds the request.
func TestDenialSaysWho(t *testing.T) {
	for _, c := range []struct {
		name   string
		hidden bool
		of     map[string]string // reason by path
	}{
		{"told", false, map[string]string{"/x": "default-deny:shop/paths", "/admin": "namespace:shop/paths#no-admin", "/a%2fb": "ambiguous-path"}},
		{"hidden", true, map[string]string{"/x": "hidden", "/admin": "hidden", "/a%2fb": "ambiguous-path"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var opts []envoytest.Option
			if c.hidden {
				opts = append(opts, envoytest.HideReasons)
			}
			s := envoytest.Start(t, opts...)
			l := shop(t, s)
			client := envoytest.NewClient(t, netip.MustParseAddr("127.0.0.1"), l.Address)
			defer client.Close()
			for path, reason := range c.of {
				for _, id := range []string{"", "of-a-client-" + path, strings.Repeat("x", 4000)} {
					raw := "GET " + path + " HTTP/1.1\r\nHost: shop.example\r\n"
					if id != "" {
						raw += "x-request-id: " + id + "\r\n"
					}
					a := client.Send("GET", raw+"\r\n")
					told := a.Header.Get("x-request-id")
					if a.Status != 403 || xds.ReasonIn(a.Header.Get(xds.ReasonHeader)) != reason {
						t.Fatalf("%s: %d %v", path, a.Status, a.Header)
					}
					if form := reason == "ambiguous-path"; len(told) > 128 || !strings.HasPrefix(id, told) && id != "" || told == "" && !(form && id == "") {
						t.Errorf("%s: the id is %q", path, told) // a path is refused before Envoy makes an id
					}
					first, second, _ := strings.Cut(a.Body, "\n")
					if xds.ReasonIn(strings.TrimPrefix(first, "denied by Pavise: ")) != reason || second != "" && second != "request "+told+"\n" {
						t.Errorf("%s: %q", path, a.Body)
					}
					if told != "" && len(told) < 128 && reason != "ambiguous-path" {
						if r := s.Decision(t, told); c.hidden == (r.Reason == reason) {
							t.Errorf("%s: the log says %s", path, r.Reason)
						}
					}
				}
			}
			if a := client.Send("GET", "GET /open HTTP/1.1\r\nHost: shop.example\r\n\r\n"); a.Status != 200 || a.Header.Get(xds.ReasonHeader) != "" {
				t.Errorf("what is allowed: %d %v", a.Status, a.Header)
			}
		})
	}
}
