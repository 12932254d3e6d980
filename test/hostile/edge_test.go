package hostile

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

// workload has one HTTP listener, at a port of its own.
func workload(name string, port int) string {
	return fmt.Sprintf(`
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: %s, labels: {is: %s}}
spec: {inbound: [{port: %d, address: $ADDR, upstream: $UP}]}
---`, name, name, port)
}

// policyFor selects that workload; rest is what follows the selector.
func policyFor(workload, name, rest string) string {
	return fmt.Sprintf(`
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: %s}
spec:
  selector: {matchLabels: {is: %s}}
%s
---`, name, workload, rest)
}

// TestSelection: what no policy says, and what an empty one says.
func TestSelection(t *testing.T) {
	var many strings.Builder
	for i := range 10 {
		many.WriteString(policyFor("many", fmt.Sprintf("m%d", i), "  ingress: []"))
	}
	l := start(t, workload("alone", 8001)+workload("empty", 8002)+workload("two", 8003)+workload("many", 8004)+
		workload("egress", 8005)+workload("nobody", 8006)+
		policyFor("empty", "e", "  ingress: []")+
		policyFor("two", "b", "  ingress: []")+policyFor("two", "a", "  ingress: [{name: never, action: Deny, http: [{paths: [{exact: /never}]}]}]")+
		many.String()+
		policyFor("egress", "out", "  egress: []")+
		policyFor("nothing-has-this-label", "unused", "  ingress: []")+
		policyFor("nobody", "n", "  ingress: [{name: set, action: Allow, from: [{networkSets: [none]}]}, {name: pods, action: Allow, from: [{podSelector: {matchLabels: {is: nowhere}}}]}]")+`
apiVersion: pavise.dev/v1alpha1
kind: NetworkSet
metadata: {name: none}
spec: {cidrs: []}
`)
	l.run([]row{
		{name: "no policy", to: "alone", raw: get("/x"), want: allow("default-allow"), why: "nobody said anything; the policy that selects nothing changes that for nobody"},
		{name: "no policy, ambiguous", to: "alone", raw: get("/x%2fy"), want: deny("ambiguous-path"), why: "what is refused by name is so without policies"},
		{name: "empty policy", to: "empty", raw: get("/x"), want: deny("default-deny:default/e"), why: "selects, and allows nothing"},
		{name: "empty policies", to: "two", raw: get("/x"), want: deny("default-deny:default/a,default/b"), why: "both are named"},
		{name: "empty policies, a rule", to: "two", raw: get("/never"), want: deny("namespace:default/a#never"), why: "a rule is a better reason"},
		{name: "ten empty policies", to: "many", raw: get("/x"), want: deny("default-deny:default/m0,default/m1,default/m2,default/m3,default/m4,default/m5,default/m6,default/m7,+2"), why: "a reason has a bound"},
		{name: "other direction", to: "egress", raw: get("/x"), want: allow("default-allow"), why: "says nothing about ingress"},
		{name: "peers that are nobody", to: "nobody", raw: get("/x"), want: deny("default-deny:default/n"), why: "an empty set is nobody, not anybody"},
	})
}

// TestOrder: rules are asked as they are written, however narrow or wide they are.
func TestOrder(t *testing.T) {
	l := start(t, workload("order", 8001)+workload("names", 8002)+workload("tiers", 8003)+
		policyFor("order", "o", `
  ingress:
  - {name: wide-deny, action: Deny, from: [{cidrs: [127.0.1.0/24]}]}
  - {name: narrow-allow, action: Allow, from: [{cidrs: [127.0.1.8]}]}
  - {name: narrow-deny, action: Deny, from: [{cidrs: [127.0.2.8]}]}
  - {name: wide-allow, action: Allow, from: [{cidrs: [127.0.2.0/24]}]}
  - {name: except, action: Allow, from: [{cidrs: [127.0.3.0/24], except: [127.0.3.8]}]}
  - {name: path-deny, action: Deny, http: [{paths: [{prefix: /a/b}]}]}
  - {name: path-allow, action: Allow, http: [{paths: [{exact: /a/b/c}, {prefix: /a}, {prefix: /a/bc}]}]}
  - {name: host-deny, action: Deny, http: [{hosts: ["*.b.test"]}]}
  - {name: host-allow, action: Allow, http: [{hosts: [x.a.b.test, "*.a.b.test", "*.test"]}]}`)+
		// What is not declared an expression is none (CVE-2026-39350).
		policyFor("names", "n", `
  ingress:
  - {name: path, action: Deny, http: [{paths: [{exact: /a.b}, {prefix: "/c+d"}, {exact: "/(e|f)"}, {template: "/g.h/{id}"}]}]}
  - {name: host, action: Deny, http: [{hosts: [a-b.test, c.d.test]}]}
  - {name: header, action: Deny, http: [{headers: [{name: x-a, exact: a.c}]}, {headers: [{name: x-b, prefix: "[ab]"}]}, {headers: [{name: x-c, exact: "a|b"}]}]}
  - {name: query, action: Deny, http: [{query: [{name: q, exact: ".*"}]}]}
  - {name: "yes", action: Allow}`)+
		policyFor("tiers", "t", `
  ingress:
  - {name: "yes", action: Allow}`)+`
apiVersion: pavise.dev/v1alpha1
kind: ClusterAccessPolicy
metadata: {name: guard}
spec:
  tier: Admin
  selector: {matchLabels: {is: tiers}}
  ingress:
  - {name: pass, action: Pass, http: [{paths: [{exact: /passed}]}]}
  - {name: "no", action: Deny, http: [{paths: [{prefix: /passed}, {prefix: /admin}]}]}
`)
	path := func(p string) string { return get(p) }
	no := func(rule string) want { return deny("namespace:default/" + rule) }
	ok := func(rule string) want { return allow("namespace:default/" + rule) }
	l.run([]row{
		{name: "narrow Allow after wide Deny", to: "order", from: "127.0.1.8", raw: get("/x"), want: no("o#wide-deny"), why: "Cilium GO-2024-3208: a narrow Allow beat a Deny"},
		{name: "wide Allow after narrow Deny", to: "order", from: "127.0.2.8", raw: get("/x"), want: no("o#narrow-deny"), why: "the same the other way round"},
		{name: "beside the narrow Deny", to: "order", from: "127.0.2.9", raw: get("/x"), want: ok("o#wide-allow"), why: "the plain case"},
		{name: "except", to: "order", from: "127.0.3.8", raw: with("a.example"), want: deny("default-deny:default/o"), why: "taken out"},
		{name: "beside the exception", to: "order", from: "127.0.3.9", raw: get("/x"), want: ok("o#except"), why: "the plain case"},
		{name: "exact Allow after prefix Deny", to: "order", raw: path("/a/b/c"), want: no("o#path-deny"), why: "the longer one does not win"},
		{name: "longer by letters only", to: "order", raw: path("/a/bc"), want: ok("o#path-allow"), why: "CoreDNS CVE-2026-33489: by segments, not by letters"},
		{name: "exact host after wildcard Deny", to: "order", raw: with("x.a.b.test"), want: no("o#host-deny"), why: "the longer one does not win"},
		{name: "host suffix by letters only", to: "order", raw: with("x.ab.test"), want: ok("o#host-allow"), why: "by labels, not by letters"},

		{name: "dot in a path", to: "names", raw: path("/axb"), want: ok("n#yes"), why: "a dot is a dot"},
		{name: "dot in a path itself", to: "names", raw: path("/a.b"), want: no("n#path"), why: "the plain case"},
		{name: "plus in a path", to: "names", raw: path("/ccd"), want: ok("n#yes"), why: "a plus is a plus"},
		{name: "plus in a path itself", to: "names", raw: path("/c+d/x"), want: no("n#path"), why: "the plain case"},
		{name: "group in a path", to: "names", raw: path("/e"), want: ok("n#yes"), why: "a bracket is a bracket"},
		{name: "group in a path itself", to: "names", raw: path("/(e%7Cf)"), asked: &policy.HTTPRequest{Method: "GET", Authority: "a.test", Path: "/(e%7Cf)"}, want: no("n#path"), why: "the plain case"},
		{name: "dot in a template", to: "names", raw: path("/gxh/7"), want: ok("n#yes"), why: "a dot is a dot"},
		{name: "dot in a template itself", to: "names", raw: path("/g.h/7"), want: no("n#path"), why: "the plain case"},
		{name: "dot in a host", to: "names", raw: with("cxd.test"), want: ok("n#yes"), why: "a dot is a dot"},
		{name: "dot in a host itself", to: "names", raw: with("c.d.test"), want: no("n#host"), why: "the plain case"},
		{name: "dot in a header", to: "names", raw: get("/", "x-a: abc"), want: ok("n#yes"), why: "a dot is a dot"},
		{name: "dot in a header itself", to: "names", raw: get("/", "x-a: a.c"), want: no("n#header"), why: "the plain case"},
		{name: "class in a header", to: "names", raw: get("/", "x-b: a"), want: ok("n#yes"), why: "a bracket is a bracket"},
		{name: "class in a header itself", to: "names", raw: get("/", "x-b: [ab]c"), want: no("n#header"), why: "the plain case"},
		{name: "bar in a header", to: "names", raw: get("/", "x-c: a"), want: ok("n#yes"), why: "a bar is a bar"},
		{name: "bar in a header itself", to: "names", raw: get("/", "x-c: a|b"), want: no("n#header"), why: "the plain case"},
		{name: "star in a query", to: "names", raw: path("/?q=anything"), want: ok("n#yes"), why: "a star is a star"},
		{name: "star in a query itself", to: "names", raw: path("/?q=.*"), want: no("n#query"), why: "the plain case"},

		{name: "Admin denies", to: "tiers", raw: path("/admin"), want: deny("admin:guard#no"), why: "before what the namespace allows"},
		{name: "Admin passes", to: "tiers", raw: path("/passed"), want: ok("t#yes"), why: "and skips the rest of its tier"},
		{name: "Admin passes exactly", to: "tiers", raw: path("/passed/x"), want: deny("admin:guard#no"), why: "no more than it matches"},
		{name: "Admin says nothing", to: "tiers", raw: path("/x"), want: ok("t#yes"), why: "the plain case"},
	})
}

// TestAudit: an audited policy is asked about every request, and decides none.
func TestAudit(t *testing.T) {
	l := start(t, workload("plain", 8001)+workload("both", 8002)+workload("none", 8003)+
		policyFor("plain", "shadow", `
  mode: Audit
  ingress: [{name: "no", action: Deny, http: [{paths: [{prefix: /admin}]}]}, {name: "yes", action: Allow, http: [{paths: [{prefix: /public}]}]}]`)+
		policyFor("both", "real", `
  ingress: [{name: "no", action: Deny, http: [{paths: [{prefix: /real}]}]}, {name: "yes", action: Allow}]`)+
		policyFor("both", "shadow-too", `
  order: 1
  mode: Audit
  ingress: [{name: "no", action: Deny, http: [{paths: [{prefix: /admin}]}]}, {name: open, action: Allow, http: [{paths: [{prefix: /real}]}]}]`))
	rows := []struct {
		row
		audit want
	}{
		{row{name: "would deny", to: "plain", raw: get("/admin"), want: allow("default-allow")}, deny("namespace:default/shadow#no")},
		{row{name: "would deny by default", to: "plain", raw: get("/x"), want: allow("default-allow")}, deny("default-deny:default/shadow")},
		{row{name: "would allow", to: "plain", raw: get("/public"), want: allow("default-allow")}, allow("namespace:default/shadow#yes")},
		{row{name: "would deny what is allowed", to: "both", raw: get("/x/../admin"), want: allow("namespace:default/real#yes")}, deny("namespace:default/shadow-too#no")},
		{row{name: "would allow what is denied", to: "both", raw: get("/real"), want: deny("namespace:default/real#no")}, allow("namespace:default/shadow-too#open")},
		{row{name: "would change nothing", to: "both", raw: get("/x"), want: allow("namespace:default/real#yes")}, allow("namespace:default/real#yes")},
		{row{name: "refused whatever", to: "plain", raw: get("/;/x"), want: deny("ambiguous-path")}, deny("ambiguous-path")},
		{row{name: "not audited", to: "none", raw: get("/admin"), want: allow("default-allow")}, want{}},
	}
	for i := range rows {
		l.send(&rows[i].row)
	}
	for _, r := range rows {
		l.T.Run(r.name, func(t *testing.T) {
			l.judge(t, &r.row)
			d := l.decision(t, r.id)
			if d.AuditVerdict != r.audit.verdict || d.AuditReason != r.audit.reason {
				t.Errorf("Envoy logged that the audited would %s %s, want %s %s", d.AuditVerdict, d.AuditReason, r.audit.verdict, r.audit.reason)
			}
			var verdict policy.Verdict
			reason := ""
			if a := l.listener(r.to).Evaluate(r.request()).Audit; a != nil {
				verdict, reason = a.Verdict, a.Reason.String()
			}
			if verdict != r.audit.verdict || reason != r.audit.reason {
				t.Errorf("Evaluate says that the audited would %s %s, want %s %s", verdict, reason, r.audit.verdict, r.audit.reason)
			}
		})
	}
	l.stillServes()
}

// TestIPv6: an IPv4 client of an IPv6 listener is an IPv4 address, at HTTP and at TCP.
func TestIPv6(t *testing.T) {
	if ln, err := listenTCP("[::1]:0"); err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	} else {
		_ = ln.Close()
	}
	echo := newEcho(t)
	http6, http46, tcp46 := freePort(t), freePort(t), freePort(t)
	l := start(t, fmt.Sprintf(`
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app}
spec:
  inbound:
  - {name: six, port: %d, address: "::1", upstream: $UP}
  - {name: both, port: %d, address: "::", upstream: $UP}
  - {name: bytes, port: %d, address: "::", upstream: %q, protocol: TCP}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: x}
spec:
  ingress:
  - {name: four, action: Deny, from: [{cidrs: [127.0.0.8]}]}
  - {name: mapped, action: Deny, from: [{cidrs: ["::ffff:127.0.0.9"]}]}
  - {name: six, action: Allow, from: [{cidrs: ["::1"]}]}
  - {name: range, action: Allow, from: [{cidrs: ["::ffff:127.0.0.0/124"]}]}
`, http6, http46, tcp46, echo.addr))
	no, ok := func(rule string) want { return deny("namespace:default/x#" + rule) }, func(rule string) want { return allow("namespace:default/x#" + rule) }
	byDefault := deny("default-deny:default/x")
	l.run([]row{
		{name: "six", to: "app/six", from: "::1", raw: get("/x"), want: ok("six"), why: "the plain case"},
		{name: "six at both", to: "app/both", from: "::1", raw: get("/x"), want: ok("six"), why: "the plain case"},
		{name: "four at both", to: "app/both", from: "127.0.0.8", raw: get("/x"), want: no("four"), why: "::ffff:127.0.0.8 is 127.0.0.8"},
		{name: "mapped at both", to: "app/both", from: "127.0.0.9", raw: get("/x"), want: no("mapped"), why: "in the policy, too"},
		{name: "mapped range", to: "app/both", from: "127.0.0.7", raw: get("/x"), want: ok("range"), why: "/124 of it is /28"},
		{name: "outside", to: "app/both", from: "127.0.0.16", raw: get("/x"), want: byDefault, why: "no more than that"},
	})
	for _, r := range []connection{
		{name: "six", from: "::1", want: ok("six")},
		{name: "four", from: "127.0.0.8", want: no("four")},
		{name: "mapped", from: "127.0.0.9", want: no("mapped")},
		{name: "mapped range", from: "127.0.0.7", want: ok("range")},
		{name: "outside", from: "127.0.0.16", want: byDefault},
	} {
		t.Run("TCP "+r.name, func(t *testing.T) {
			to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(tcp46))
			if r.from == "::1" {
				to = netip.AddrPortFrom(netip.IPv6Loopback(), uint16(tcp46))
			}
			conn := dial(t, netip.MustParseAddr(r.from), to)
			defer conn.Close()
			source := conn.LocalAddr().String()
			_, _ = io.WriteString(conn, "x")
			n, err := conn.Read(make([]byte, 1))
			if (n == 1) != (r.verdict == policy.Allowed) || n == 0 && !closedByPeer(err) {
				t.Errorf("the client got %d octets, %v", n, err)
			}
			_ = conn.Close()
			r.to = "app/bytes"
			l.judgeConnection(t, r, source)
		})
	}
}

// TestLoggedText: what a client writes stays inside its field of the log.
func TestLoggedText(t *testing.T) {
	l := start(t, openPolicies)
	r := row{to: "open", raw: get(`/"},{"verdict":"allow","reason":"forged"}<script>%1b[31m`, "user-agent: \xff", "referer: \xff")}
	l.send(&r)
	d := l.decision(t, r.id)
	if d.Verdict != policy.Denied || d.Reason != string(policy.AmbiguousPath) || strings.ContainsAny(d.Path, "\"<>\x1b\r\n") {
		t.Errorf("logged %+v", d)
	}
	if told := xds.ReasonIn(r.resp.Header.Get(xds.ReasonHeader)); told != string(policy.AmbiguousPath) || strings.ContainsAny(r.resp.Body, "<>\"") {
		t.Errorf("the client was told %q: %s", told, r.resp.Body)
	}
}
