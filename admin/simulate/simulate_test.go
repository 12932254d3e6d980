package simulate_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/admin/simulate"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

const base = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  addresses: [10.0.0.1]
  inbound: [{name: http, port: 8080, upstream: "127.0.0.1:1"}]
  outbound: [{name: proxy, port: 3128}]
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: pod, namespace: shop, labels: {app: pod}}
spec:
  addresses: [10.0.0.2]
  transparent: {}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  ingress:
    - {name: no-admin, action: Deny, http: [{paths: [{prefix: /admin}]}]}
    - {name: staff, action: Allow, http: [{paths: [{prefix: /staff}], headers: [{name: x-role, exact: staff}]}]}
    - {name: rest, action: Allow, http: [{paths: [{prefix: /}]}]}
---
apiVersion: pavise.dev/v1alpha1
kind: ThreatFeed
metadata: {name: bad}
spec: {url: "https://feeds.test/bad.txt", format: Text, action: Deny}
`

func parse(t *testing.T, text string) *api.Set {
	t.Helper()
	set, problems := api.Parse("test.yaml", []byte(text))
	if api.HasErrors(problems) {
		t.Fatal(problems)
	}
	return set
}

// policyText is an AccessPolicy for a workload of the base.
func policyText(name, app, rest string) string {
	return "apiVersion: pavise.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: " + name + ", namespace: shop}\nspec:\n" +
		"  selector: {matchLabels: {app: " + app + "}}\n" + rest
}

func flow(listener, reason string, verdict policy.Verdict, r decisions.Record) flows.Flow {
	r.Listener, r.Reason, r.Verdict, r.Time = listener, reason, verdict, time.Unix(1e9, 0)
	r.Workload = listener[:strings.LastIndexByte(listener, '/')]
	r.Direction = policy.Ingress
	if strings.HasSuffix(listener, "proxy") || strings.HasSuffix(listener, "outbound") {
		r.Direction = policy.Egress
	}
	if r.From == "" {
		r.From = decisions.Envoy
	}
	return flows.Flow{ID: reason, Count: 5, Example: r, Key: flows.Key{
		Workload: r.Workload, Listener: listener, Direction: r.Direction, From: r.From, Method: r.Method, Path: flows.Shape(r.Path),
		Verdict: verdict, Reason: reason,
	}}
}

func get(path string) decisions.Record {
	return decisions.Record{Source: "10.0.0.9:4000", Destination: "127.0.0.1:1", Method: "GET", Host: "web.test", Path: path, Status: 200}
}

// TestRun: one row for each way a flow may fare. The proposal of each row is put to the flow alone.
func TestRun(t *testing.T) {
	redirected := func(sni string) decisions.Record {
		return decisions.Record{Source: "10.0.0.2:4000", Destination: "192.0.2.1:443", ServerName: sni}
	}
	byDomain := policyText("out", "pod", "  egress:\n    - {name: api, action: Allow, to: [{domains: [api.test]}]}\n")
	for _, row := range []struct {
		name     string
		flow     flows.Flow
		proposed string
		opt      simulate.Options
		want     string // unchanged, denied, allowed, reason, uncertain; with + outdated or fixed
		asked    string
		after    string
	}{
		{
			name: "a new Deny before", flow: flow("shop/web/http", "namespace:shop/web#rest", policy.Allowed, get("/a")),
			proposed: policyText("a-no", "web", "  order: 1\n  ingress: [{name: a, action: Deny, http: [{paths: [{prefix: /a}]}]}]"),
			want:     "denied", after: "namespace:shop/a-no#a",
		},
		{
			name: "the same in Audit", flow: flow("shop/web/http", "namespace:shop/web#rest", policy.Allowed, get("/a")),
			proposed: policyText("a-no", "web", "  order: 1\n  mode: Audit\n  ingress: [{name: a, action: Deny, http: [{paths: [{prefix: /a}]}]}]"),
			want:     "unchanged",
		},
		{
			name: "the same in Audit, taken as enforced", flow: flow("shop/web/http", "namespace:shop/web#rest", policy.Allowed, get("/a")),
			proposed: policyText("a-no", "web", "  order: 1\n  mode: Audit\n  ingress: [{name: a, action: Deny, http: [{paths: [{prefix: /a}]}]}]"),
			opt:      simulate.Options{Enforce: true}, want: "denied", after: "namespace:shop/a-no#a",
		},
		{
			name: "removing the only policy", flow: flow("shop/web/http", "namespace:shop/web#no-admin", policy.Denied, get("/admin")),
			opt: simulate.Options{Removed: []string{"AccessPolicy shop/web"}}, want: "allowed", after: "default-allow",
		},
		{
			name: "another reason", flow: flow("shop/web/http", "namespace:shop/web#rest", policy.Allowed, get("/a")),
			opt: simulate.Options{Removed: []string{"AccessPolicy shop/web"}}, want: "reason", after: "default-allow",
		},
		{
			name: "a header rule that the record says matched", flow: flow("shop/web/http", "namespace:shop/web#staff", policy.Allowed, get("/staff/x")),
			proposed: policyText("z", "web", "  order: 2000\n  ingress: [{name: z, action: Deny, http: [{paths: [{prefix: /staff}]}]}]"),
			want:     "unchanged",
		},
		{
			name: "a header rule that the record says did not match", flow: flow("shop/web/http", "namespace:shop/web#rest", policy.Allowed, get("/staff/x")),
			proposed: policyText("z", "web", "  order: 2000\n  ingress: [{name: z, action: Deny, http: [{paths: [{prefix: /staff}]}]}]"),
			want:     "unchanged",
		},
		{
			name: "a new header rule", flow: flow("shop/web/http", "namespace:shop/web#rest", policy.Allowed, get("/a")),
			proposed: policyText("h", "web", "  order: 1\n  ingress: [{name: beta, action: Deny, http: [{headers: [{name: x-beta, exact: 'yes'}]}]}]"),
			want:     "uncertain", asked: "namespace:shop/h#beta: header x-beta=yes",
		},
		{
			name: "a new query rule", flow: flow("shop/web/http", "namespace:shop/web#rest", policy.Allowed, get("/a")),
			proposed: policyText("h", "web", "  order: 1\n  ingress: [{name: q, action: Deny, http: [{query: [{name: debug}]}]}]"),
			want:     "uncertain", asked: "namespace:shop/h#q: query debug",
		},
		{
			name: "a new header rule that allows what is allowed", flow: flow("shop/web/http", "namespace:shop/web#rest", policy.Allowed, get("/a")),
			proposed: policyText("h", "web", "  order: 1\n  ingress: [{name: beta, action: Allow, http: [{headers: [{name: x-beta, exact: 'yes'}]}]}]"),
			want:     "reason",
		},
		{
			name: "recorded under other policies", flow: flow("shop/web/http", "default-allow", policy.Allowed, get("/admin")),
			want: "unchanged+outdated",
		},
		{
			name: "a feed's verdict stays", flow: flow("shop/web/http", "feed:bad", policy.Denied, get("/a")),
			opt: simulate.Options{Removed: []string{"AccessPolicy shop/web"}}, want: "unchanged+fixed",
		},
		{
			name: "but not when the feed goes", flow: flow("shop/web/http", "feed:bad", policy.Denied, get("/a")),
			opt: simulate.Options{Removed: []string{"ThreatFeed bad"}}, want: "uncertain+fixed",
		},
		{
			name: "what was refused for its form", flow: flow("shop/web/http", "ambiguous-path", policy.Denied, get("/a%2fb")),
			opt: simulate.Options{Removed: []string{"AccessPolicy shop/web"}}, want: "unchanged+fixed",
		},
		{
			name: "the resolver", flow: flow("shop/pod/dns", "default-allow", policy.Allowed, decisions.Record{From: decisions.DNS, Question: decisions.Question{Name: "a.test"}}),
			want: "unchanged+fixed",
		},
		{
			name: "a listener that nobody has", flow: flow("shop/web/gone", "default-allow", policy.Allowed, get("/a")),
			want: "uncertain",
		},
		{
			name: "a name without an address stays denied", flow: flow("shop/web/proxy", "not-resolved", policy.Denied, decisions.Record{Source: "10.0.0.1:1", Method: "GET", Host: "a.test", Path: "/", Status: 503}),
			proposed: policyText("e", "web", "  egress: [{name: a, action: Allow, to: [{domains: [a.test]}]}]"), want: "unchanged",
		},
		{
			name: "a claimed name that nobody recorded as resolved", flow: flow("shop/pod/outbound", "default-allow", policy.Allowed, redirected("api.test")),
			proposed: byDomain, want: "uncertain", asked: "namespace:shop/out#api: the names that the destination was resolved from",
		},
		{
			name: "a claimed name presumed resolved", flow: flow("shop/pod/outbound", "default-allow", policy.Allowed, redirected("api.test")),
			proposed: byDomain, opt: simulate.Options{Presume: true}, want: "reason", after: "namespace:shop/out#api",
		},
		{
			name: "a claimed name that no rule allows", flow: flow("shop/pod/outbound", "default-allow", policy.Allowed, redirected("evil.test")),
			proposed: byDomain, want: "denied", after: "default-deny:shop/out",
		},
		{
			name: "a folded record without its path", flow: flow("shop/web/http", "namespace:shop/web#rest", policy.Allowed, func() decisions.Record {
				r := get("")
				r.Count = 7
				return r
			}()),
			proposed: policyText("a-no", "web", "  order: 1\n  ingress: [{name: a, action: Deny, http: [{paths: [{prefix: /a}]}]}]"),
			want:     "uncertain", asked: "namespace:shop/a-no#a: the path",
		},
		{
			name: "a folded record without its source", flow: flow("shop/web/http", "namespace:shop/web#rest", policy.Allowed, func() decisions.Record {
				r := get("/a")
				r.Count, r.Source = 7, "2001:db8::/64"
				return r
			}()),
			proposed: policyText("a-no", "web", "  order: 1\n  ingress: [{name: a, action: Deny, from: [{cidrs: ['2001:db8::1']}]}]"),
			want:     "uncertain", asked: "namespace:shop/a-no#a: the source address",
		},
		{
			name: "a tunnel asks no header", flow: flow("shop/web/proxy", "default-allow", policy.Allowed, decisions.Record{Source: "10.0.0.1:1", Destination: "192.0.2.1:443", Method: "CONNECT", Host: "a.test:443", Status: 200}),
			proposed: policyText("e", "web", "  egress: [{name: a, action: Deny, http: [{headers: [{name: x-a}]}]}, {name: b, action: Allow}]"), want: "denied", after: "namespace:shop/e#a",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			var proposed []api.Object
			if row.proposed != "" {
				for _, p := range parse(t, row.proposed).AccessPolicies {
					proposed = append(proposed, p)
				}
			}
			res, err := simulate.Run(context.Background(), parse(t, base), proposed, []flows.Flow{row.flow}, row.opt)
			if err != nil || res.Refused {
				t.Fatal(err, res)
			}
			got := outcome(&res.Total)
			if got != row.want {
				t.Errorf("got %s, want %s: %+v", got, row.want, res)
			}
			if row.asked != "" && (len(res.Uncertain) != 1 || !slices.ContainsFunc(res.Uncertain[0].Asked, func(a simulate.Ask) bool { return a.Rule+": "+a.What == row.asked })) {
				t.Errorf("asked %+v, want %s", res.Uncertain, row.asked)
			}
			for _, c := range slices.Concat(res.Changes, res.Reasons) {
				if row.after != "" && c.After.Reason != row.after {
					t.Errorf("after: %+v, want %s", c.After, row.after)
				}
			}
		})
	}
}

func outcome(c *simulate.Counts) string {
	var out []string
	for _, one := range []struct {
		name string
		t    simulate.Tally
	}{
		{"unchanged", c.Unchanged},
		{"denied", c.Denied},
		{"allowed", c.Allowed},
		{"reason", c.Reason},
		{"uncertain", c.Uncertain},
		{"outdated", c.Outdated},
		{"fixed", c.Fixed},
	} {
		if one.t.Flows == 1 && one.t.Decisions == 5 {
			out = append(out, one.name)
		}
	}
	return strings.Join(out, "+")
}

// TestProposalIsChecked: what is wrong with a proposal is said with its code, and nothing simulated.
func TestProposalIsChecked(t *testing.T) {
	set := parse(t, base)
	f := []flows.Flow{flow("shop/web/http", "namespace:shop/web#rest", policy.Allowed, get("/a"))}
	bad := parse(t, policyText("x", "web", "  ingress: [{action: Allow, from: [{networkSets: [nobody]}]}]"))
	res, err := simulate.Run(context.Background(), set, []api.Object{bad.AccessPolicies[0]}, f, simulate.Options{})
	if err != nil || !res.Refused || res.Total.All.Flows != 0 || !slices.ContainsFunc(res.Problems, func(p api.Problem) bool { return p.Code == policy.CodeNoNetworkSet }) {
		t.Errorf("got %+v, %v", res, err)
	}
	unused := parse(t, policyText("x", "nobody", "  ingress: [{action: Allow}]"))
	res, err = simulate.Run(context.Background(), set, []api.Object{unused.AccessPolicies[0]}, f, simulate.Options{})
	if err != nil || res.Refused || !slices.ContainsFunc(res.Problems, func(p api.Problem) bool { return p.Code == policy.CodeSelectsNothing }) {
		t.Errorf("a warning: got %+v, %v", res, err)
	}
	for _, removed := range []string{"AccessPolicy shop/gone", "", "AccessPolicy shop/x"} {
		_, err = simulate.Run(context.Background(), set, []api.Object{unused.AccessPolicies[0]}, f, simulate.Options{Removed: []string{removed}})
		if !simulate.IsInput(err) {
			t.Errorf("removed %q: %v", removed, err)
		}
	}
}

// TestBounds: too many flows are refused, lists are cut with a count, and a context ends a run.
func TestBounds(t *testing.T) {
	set := parse(t, base)
	if _, err := simulate.Run(context.Background(), set, nil, make([]flows.Flow, simulate.MaxFlows+1), simulate.Options{}); !simulate.IsInput(err) {
		t.Errorf("too many flows: %v", err)
	}
	var many []flows.Flow
	for range 7 {
		many = append(many, flow("shop/web/http", "namespace:shop/web#no-admin", policy.Denied, get("/admin")))
	}
	res, err := simulate.Run(context.Background(), set, nil, many, simulate.Options{Removed: []string{"AccessPolicy shop/web"}, List: 3})
	if err != nil || len(res.Changes) != 3 || res.LeftOff != 4 || res.Total.Allowed.Flows != 7 || len(res.Workloads) != 1 || res.Workloads[0].Allowed.Decisions != 35 {
		t.Errorf("got %+v, %v", res, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := simulate.Run(ctx, set, nil, many, simulate.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestManyOpenRules: a flow that many header rules ask about ends, and is uncertain.
func TestManyOpenRules(t *testing.T) {
	var rules strings.Builder
	for i := range 200 {
		action := []string{"Pass", "Deny"}[i%2]
		rules.WriteString("    - {action: " + action + ", http: [{headers: [{name: x-a" + strings.Repeat("b", i) + "}]}]}\n")
	}
	p := parse(t, policyText("h", "web", "  order: 1\n  ingress:\n"+rules.String())).AccessPolicies[0]
	f := []flows.Flow{flow("shop/web/http", "namespace:shop/web#rest", policy.Allowed, get("/a"))}
	res, err := simulate.Run(context.Background(), parse(t, base), []api.Object{p}, f, simulate.Options{})
	if err != nil || res.Total.Uncertain.Flows != 1 || len(res.Uncertain[0].Asked) == 0 {
		t.Errorf("got %+v, %v", res, err)
	}
}
