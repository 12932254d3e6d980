package suggest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/admin/simulate"
	"pavise.dev/pavise/admin/suggest"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// TestManyRules: where a policy could not hold what tells all peers apart it is coarser, says so, and
// still denies nothing of what was seen.
func TestManyRules(t *testing.T) {
	set := parse(t, shop)
	for _, names := range []int{300, 600, 2000} {
		var seen []flows.Flow
		for i := range names {
			host := fmt.Sprintf("n%c%c%c.test", 'a'+i%26, 'a'+i/26%26, 'a'+i/676)
			// Each name is asked at a port of its own, for a path of its own.
			path := fmt.Sprintf("/p%c%c%c", 'a'+i%26, 'a'+i/26%26, 'a'+i/676)
			seen = append(seen, egress("192.0.2.1", "192.0.2.1", uint16(1000+i), 2, http("GET", host, path)))
		}
		got, err := suggest.Policies(seen, suggest.Options{Set: set, Siblings: 5000, Mode: api.ModeEnforce})
		if err != nil || len(got) != 1 || got[0].Policy == nil {
			t.Fatalf("%v %+v", err, got)
		}
		coarse := len(got[0].Notes) > 0
		if n := len(got[0].Rules); n > 512 || coarse != (names > 512) {
			t.Errorf("%d names: %d rules, %v", names, n, got[0].Notes)
		}
		res, err := simulate.Run(context.Background(), set, []api.Object{got[0].Policy}, seen, simulate.Options{Presume: true})
		if err != nil || res.Refused || res.Total.Denied.Flows+res.Total.Uncertain.Flows > 0 || res.Total.All.Flows != names {
			t.Errorf("%d names: %v %+v", names, err, res.Total)
		}
	}
}

// TestOrderOfFlows: the same flows in another order suggest the same, to the letter.
func TestOrderOfFlows(t *testing.T) {
	var seen []flows.Flow
	for i := range 50 {
		seen = append(seen, egress("192.0.2.1", "192.0.2.1", uint16(80+i%3), 2, http([]string{"GET", "POST"}[i%2], fmt.Sprintf("n%c.test", 'a'+i%7), fmt.Sprintf("/p%c", 'a'+i%11))))
	}
	text := func() string {
		got, err := suggest.Policies(seen, suggest.Options{Set: parse(t, shop)})
		if err != nil || len(got) != 1 {
			t.Fatal(err, got)
		}
		return got[0].YAML
	}
	first := text()
	slices.Reverse(seen)
	if second := text(); first != second {
		t.Errorf("%s\nand\n%s", first, second)
	}
}

// TestOptions: who is asked for labels and accounts, and which workloads are looked at.
func TestOptions(t *testing.T) {
	seen := []flows.Flow{
		ingress("shop/cart", "10.0.0.2", 80, 1, http("GET", "web", "/")),
		one("shop/cart", policy.Ingress, "shop/web", "10.0.0.1", 80, 1, http("GET", "cart", "/")),
	}
	got, err := suggest.Policies(seen, suggest.Options{
		Workloads: []string{"shop/web"}, ServiceAccounts: true,
		Labels:  func(w string) map[string]string { return map[string]string{"of": strings.ReplaceAll(w, "/", ".")} },
		Account: func(w string) string { return w + "-account" },
	})
	if err != nil || len(got) != 1 || got[0].Workload != "shop/web" {
		t.Fatalf("%v %+v", err, got)
	}
	if l := got[0].Policy.Spec.Selector.MatchLabels; l["of"] != "shop.web" {
		t.Errorf("selector %v", l)
	}
	if a := got[0].Policy.Spec.Ingress[0].From[0].ServiceAccounts; !slices.Equal(a, []string{"shop/cart-account"}) {
		t.Errorf("accounts %v", a)
	}
	bad, _ := api.Parse("bad.yaml", []byte("apiVersion: pavise.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: x, namespace: shop}\nspec: {ingress: [{action: Allow, from: [{networkSets: [gone]}]}]}"))
	if _, err := suggest.Policies(seen, suggest.Options{Set: bad}); err == nil || !strings.Contains(err.Error(), policy.CodeNoNetworkSet) {
		t.Errorf("a set with errors: %v", err)
	}
}

// FuzzPolicies: whatever stands in a flow, the suggestion is a policy that reads without a warning, or
// there is none and a reason.
func FuzzPolicies(f *testing.F) {
	f.Add("shop/web", "192.0.2.1", "192.0.2.1:443", "a.test", "GET", "/users/123", "a.test", true)
	f.Add("a/b/c", "2001:db8::/64", "x", "*", "*", "*", "\x00", false)
	f.Add("shop/WEB", "no/body", "[::1]:0", "-a.test", "get", "/{a}\n#/…+3", "*.test", true)
	f.Add("shop/web", "*", "", "yes", "CONNECT", "//", "10.0.0.1", false)
	f.Fuzz(func(t *testing.T, workload, peer, address, name, method, path, sni string, out bool) {
		d := policy.Ingress
		if out {
			d = policy.Egress
		}
		seen := []flows.Flow{{ID: "x", Count: 1, Merged: name == "*", Key: flows.Key{
			Workload: workload, Listener: workload + "/outbound", Direction: d, From: decisions.Envoy, Peer: peer, Port: uint16(len(name)), Name: name,
			Method: method, Path: path, Verdict: policy.Allowed,
		}, Example: decisions.Record{Source: address, Destination: address, Host: name, Method: method, Path: path, ServerName: sni}}}
		got, err := suggest.Policies(seen, suggest.Options{Labels: func(string) map[string]string { return map[string]string{"a": "yes", "b": "1e3"} }})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range got {
			if s.Policy != nil {
				reread(t, &s)
			} else if len(s.Left) == 0 {
				t.Errorf("nothing, and no reason: %+v", s)
			}
		}
	})
}

func BenchmarkPolicies(b *testing.B) {
	var seen []flows.Flow
	for i := range 100_000 {
		seen = append(seen, one(fmt.Sprintf("shop/w%d", i%100), policy.Egress, "192.0.2.1", "192.0.2.1", 443, 2,
			http("GET", fmt.Sprintf("n%c.test", 'a'+i/100%26), fmt.Sprintf("/p%c/%c", 'a'+i%11, 'a'+i%17))))
	}
	labels := func(w string) map[string]string { return map[string]string{"app": w[5:]} }
	b.ReportAllocs()
	for b.Loop() {
		if _, err := suggest.Policies(seen, suggest.Options{Labels: labels}); err != nil {
			b.Fatal(err)
		}
	}
}
