package suggest_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/admin/suggest"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

var update = flag.Bool("update", false, "write the golden files")

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

const shop = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {serviceAccount: web, addresses: [10.0.0.1], transparent: {}}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: cart, namespace: shop, labels: {app: cart}}
spec: {serviceAccount: cart, addresses: [10.0.0.2], serviceAddresses: [10.9.0.2], transparent: {}}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: cart-canary, namespace: shop, labels: {app: cart, track: canary}}
spec: {addresses: [10.0.0.3], serviceAddresses: [10.9.0.2], transparent: {}}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: prometheus, namespace: monitoring, labels: {app: prometheus}}
spec: {serviceAccount: prometheus, addresses: [10.1.0.1]}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: bare, namespace: shop}
spec: {addresses: [10.0.0.9], transparent: {}}
`

func parse(t *testing.T, text string) *api.Set {
	t.Helper()
	set, problems := api.Parse("test.yaml", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

// one is a flow of what is redirected, allowed by default, seen n times from noon on.
func one(workload string, d policy.Direction, peer, other string, port uint16, n uint64, r decisions.Record) flows.Flow {
	r.From, r.Workload, r.Direction, r.Verdict, r.Reason = decisions.Envoy, workload, d, policy.Allowed, "default-allow"
	r.Source, r.Destination = other+":40000", fmt.Sprintf("10.0.0.1:%d", port)
	r.Listener = workload + "/inbound"
	if d == policy.Egress {
		r.Source, r.Destination, r.Listener = "10.0.0.1:40000", fmt.Sprintf("%s:%d", other, port), workload+"/outbound"
	}
	f := flows.Flow{
		Key: flows.Key{
			Workload: workload, Listener: r.Listener, Direction: d, From: r.From, Peer: peer, Port: port, Name: r.Host, Method: r.Method,
			Path: flows.Shape(r.Path), Verdict: r.Verdict, Reason: r.Reason,
		},
		First: noon, Last: noon.Add(time.Duration(n) * time.Minute), Count: n, Example: r,
	}
	if f.Name == "" {
		f.Name = strings.ToLower(r.ServerName)
	}
	f.ID = fmt.Sprintf("%s %s %d %s %s %s", d, peer, port, f.Name, f.Method, f.Path)
	return f
}

func http(method, host, path string) decisions.Record {
	return decisions.Record{Method: method, Host: host, Path: path, Status: 200}
}

func ingress(peer, other string, port uint16, n uint64, r decisions.Record) flows.Flow {
	return one("shop/web", policy.Ingress, peer, other, port, n, r)
}

func egress(peer, other string, port uint16, n uint64, r decisions.Record) flows.Flow {
	return one("shop/web", policy.Egress, peer, other, port, n, r)
}

func with(f flows.Flow, change func(*flows.Flow)) flows.Flow {
	change(&f)
	return f
}

// TestGolden: what is suggested, as a person reads it.
func TestGolden(t *testing.T) {
	scan := func() []flows.Flow {
		var out []flows.Flow
		for i := range 40 {
			ip := fmt.Sprintf("203.0.113.%d", 2*i)
			out = append(out, ingress(ip, ip, 8080, 3, http("GET", "web.test", "/")))
		}
		for i := range 30 {
			out = append(out, ingress("shop/cart", "10.0.0.2", 8080, 1, http("GET", "web.test", fmt.Sprintf("/static/%c%c.css", 'a'+i%26, 'a'+i/26))))
		}
		return out
	}
	siblings := func() []flows.Flow {
		var out []flows.Flow
		for i := range 6 {
			out = append(out, egress("192.0.2.1", "192.0.2.1", 443, 1, decisions.Record{ServerName: fmt.Sprintf("b%c.cdn.test", 'a'+i)}))
			out = append(out, egress("192.0.2.1", "192.0.2.1", 443, 1, decisions.Record{ServerName: fmt.Sprintf("s%c.co.uk", 'a'+i)}))
		}
		return out
	}
	for _, row := range []struct {
		name  string
		flows []flows.Flow
		opt   suggest.Options
	}{
		{name: "ingress", flows: []flows.Flow{
			ingress("shop/cart", "10.0.0.2", 8080, 100, http("GET", "web.test", "/users/123")),
			ingress("shop/cart", "10.0.0.2", 8080, 7, http("POST", "web.test", "/orders")),
			ingress("shop/cart", "10.0.0.2", 8080, 9, http("GET", "web.test", "/orders")),
			ingress("shop/cart", "10.0.0.2", 8081, 9, http("GET", "web.test", "/orders")),
			ingress("monitoring/prometheus", "10.1.0.1", 9090, 5000, http("GET", "10.0.0.1", "/metrics")),
			ingress("192.0.2.7", "192.0.2.7", 5432, 2, decisions.Record{}),
			ingress("192.0.2.8", "192.0.2.8", 5432, 2, decisions.Record{}),
			ingress("192.0.2.8", "192.0.2.8", 8443, 2, decisions.Record{ServerName: "Web.test"}),
			with(ingress("192.0.2.66", "192.0.2.66", 8080, 50, http("GET", "web.test", "/admin")), func(f *flows.Flow) { f.Verdict = policy.Denied }),
			with(ingress("192.0.2.67", "192.0.2.67", 8080, 50, http("GET", "web.test", "/a")), func(f *flows.Flow) { f.Alert.Name = "bad" }),
			ingress("192.0.2.68", "192.0.2.68", 8080, 1, http("GET", "web.test", "/once")),
		}, opt: suggest.Options{MinCount: 2}},
		{name: "egress", flows: []flows.Flow{
			egress("10.9.0.2", "10.9.0.2", 80, 12, http("GET", "cart.shop.svc", "/items/9f0c21aa")),
			egress("192.0.2.1", "192.0.2.1", 443, 12, decisions.Record{ServerName: "api.pay.test"}),
			egress("192.0.2.2", "192.0.2.2", 80, 12, http("GET", "repo.test", "/a/b/c/d/e/f/g/h/i/j")),
			egress("192.0.2.3", "192.0.2.3", 80, 12, http("GET", "192.0.2.3", "/img/photo0042.png")),
			egress("2001:db8::5", "[2001:db8::5]", 22, 1, decisions.Record{}),
			with(egress("", "", 0, 3, decisions.Record{}), func(f *flows.Flow) { f.From, f.Name, f.Listener = decisions.DNS, "a.test", "shop/web/dns" }),
		}, opt: suggest.Options{ServiceAccounts: true}},
		{name: "many", flows: scan(), opt: suggest.Options{Addresses: 8, Paths: 10, Mode: api.ModeEnforce}},
		{name: "siblings", flows: siblings(), opt: suggest.Options{Siblings: 5}},
		{name: "merged", flows: []flows.Flow{
			with(ingress("*", "192.0.2.7", 0, 900, http("*", "web.test", "/a")), func(f *flows.Flow) { f.Merged, f.Path = true, "*" }),
			with(egress("*", "192.0.2.7", 443, 900, decisions.Record{ServerName: "x.test"}), func(f *flows.Flow) { f.Merged, f.Name = true, "*" }),
		}},
		{name: "nobody", flows: []flows.Flow{
			one("shop/bare", policy.Ingress, "shop/cart", "10.0.0.2", 80, 5, http("GET", "bare", "/")),
		}},
		{name: "odd", flows: []flows.Flow{
			ingress("shop/cart", "10.0.0.2", 80, 5, http("GET", "web.test", "/a*b/x")),
			ingress("shop/cart", "10.0.0.2", 80, 5, http("GET", "web.test", "/a;b")),
			ingress("shop/cart", "10.0.0.2", 80, 5, http("M-SEARCH", "web.test", "/a|'b'")),
			ingress("shop/cart", "10.0.0.2", 80, 5, http("GET", "web.test", "/"+strings.Repeat("é", 300)+"…+9")),
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.opt.Set = parse(t, shop)
			got, err := suggest.Policies(row.flows, row.opt)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, s := range got {
				if s.Policy == nil {
					why, _ := json.Marshal(s)
					fmt.Fprintf(&b, "---\n# %s\n", why)
					continue
				}
				b.WriteString("---\n" + s.YAML)
				reread(t, &s)
			}
			path := filepath.Join("testdata", row.name+".yaml")
			if *update {
				if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil || string(want) != b.String() {
				t.Errorf("%s is not what is suggested (run with -update to see): %v\n%s", path, err, b.String())
			}
		})
	}
}

// reread checks that the YAML is the policy.
func reread(t *testing.T, s *suggest.Suggestion) {
	t.Helper()
	set, problems := api.Parse("suggested.yaml", []byte(s.YAML))
	if len(problems) > 0 || len(set.AccessPolicies) != 1 {
		t.Fatalf("%v\n%s", problems, s.YAML)
	}
	got, _ := json.Marshal(set.AccessPolicies[0])
	want, _ := json.Marshal(s.Policy)
	if string(got) != string(want) {
		t.Errorf("the YAML says\n%s\nand the policy\n%s", got, want)
	}
	if n := max(len(s.Policy.Spec.Ingress), len(s.Policy.Spec.Egress)); n != len(s.Rules) {
		t.Errorf("%d rules and %d explanations", n, len(s.Rules))
	}
}
