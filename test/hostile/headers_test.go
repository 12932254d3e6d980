package hostile

import (
	"strings"
	"testing"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

const headerPolicies = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: denying, labels: {headers: deny}}
spec: {inbound: [{port: 8001, address: $ADDR, upstream: $UP}]}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: allowing, labels: {headers: allow}}
spec: {inbound: [{port: 8002, address: $ADDR, upstream: $UP}]}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: sources, labels: {headers: source}}
spec: {inbound: [{port: 8003, address: $ADDR, upstream: $UP}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: d}
spec:
  selector: {matchLabels: {headers: deny}}
  ingress:
  - {name: exact, action: Deny, http: [{headers: [{name: X-Role, exact: evil}]}]}
  - {name: prefix, action: Deny, http: [{headers: [{name: x-team, prefix: evil}]}]}
  - {name: regex, action: Deny, http: [{headers: [{name: x-re, regex: "evil.*"}]}]}
  - {name: present, action: Deny, http: [{headers: [{name: x-debug}]}]}
  - {name: absent, action: Deny, http: [{methods: [PUT], headers: [{name: x-token, present: false}]}]}
  - {name: cookie, action: Deny, http: [{headers: [{name: cookie, exact: role=evil}]}]}
  - {name: stripped, action: Deny, http: [{headers: [{name: x-http-method-override}]}, {headers: [{name: x-original-url}]}]}
  - {name: "yes", action: Allow}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: a}
spec:
  selector: {matchLabels: {headers: allow}}
  ingress:
  - {name: exact, action: Allow, http: [{headers: [{name: x-role, exact: ok}]}]}
  - {name: prefix, action: Allow, http: [{headers: [{name: x-team, prefix: ok}]}]}
  - {name: regex, action: Allow, http: [{headers: [{name: x-re, regex: "ok.*"}]}]}
  - {name: comma, action: Allow, http: [{headers: [{name: x-two, regex: "a,b"}]}]}
  - {name: absent, action: Allow, http: [{methods: [PUT], headers: [{name: x-debug, present: false}]}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: s}
spec:
  selector: {matchLabels: {headers: source}}
  ingress:
  - {name: "no", action: Deny, from: [{cidrs: [127.0.0.8]}]}
  - {name: "yes", action: Allow, from: [{cidrs: [127.0.0.0/28]}]}
`

func TestHeaders(t *testing.T) {
	l := start(t, headerPolicies)
	var rows []row
	for _, x := range []struct {
		name, to, raw, word, why string
	}{
		// A Deny matches when any of the values does, in either spelling.
		{"one line", "denying", get("/", "x-role: evil"), "exact", "the plain case"},
		{"another value", "denying", get("/", "x-role: ok"), "yes", "the plain case"},
		{"name in capitals", "denying", get("/", "X-ROLE: evil"), "exact", "names have no case"},
		{"value in capitals", "denying", get("/", "x-role: EVIL"), "yes", "values have"},
		{"two lines, last", "denying", get("/", "x-role: ok", "x-role: evil"), "exact", "CVE-2026-31838"},
		{"two lines, first", "denying", get("/", "x-role: evil", "x-role: ok"), "exact", "CVE-2026-26308"},
		{"two lines apart", "denying", get("/", "x-role: ok", "x-a: b", "X-Role: evil"), "exact", "with others in between"},
		{"list", "denying", get("/", "x-role: ok,evil"), "exact", "Envoy alone passes it"},
		{"list with a space", "denying", get("/", "x-role: ok, evil"), "exact", "the usual spelling"},
		{"list with white space", "denying", get("/", "x-role: \t ok \t,\t evil \t, ok"), "exact", "all that a list may have"},
		{"list with holes", "denying", get("/", "x-role: ,,evil,"), "exact", "empty values are none"},
		{"list in lines", "denying", get("/", "x-role: a,b", "x-role: c,evil,d"), "exact", "both at once"},
		{"part of a value", "denying", get("/", "x-role: evil2"), "yes", "exact is the whole value"},
		{"quoted", "denying", get("/", `x-role: "evil"`), "yes", "quotes are part of the value"},
		{"quoted comma", "denying", get("/", `x-role: "a,evil,b"`), "exact", "a comma counts in quotes too: too wide, never too narrow"},
		{"prefix in a list", "denying", get("/", "x-team: ok, evil2"), "prefix", "the same for a prefix"},
		{"prefix elsewhere", "denying", get("/", "x-team: not evil"), "yes", "a prefix is at the start"},
		{"regex in a list", "denying", get("/", "x-re: ok,evil-2"), "regex", "the same for an expression"},
		{"regex in two lines", "denying", get("/", "x-re: evil2", "x-re: ok"), "regex", "the same"},
		{"regex elsewhere", "denying", get("/", "x-re: not evil"), "yes", "a whole value"},
		{"present", "denying", get("/", "x-debug: 1"), "present", "whatever the value"},
		{"present, empty", "denying", get("/", "x-debug:"), "present", "an empty one as well"},
		{"present, invalid", "denying", get("/", "x-debug: \xff"), "present", "or one that nobody can read"},
		{"absent", "denying", "PUT / HTTP/1.1\r\nHost: a.test\r\n\r\n", "absent", "a Deny of what lacks a header"},
		{"not absent", "denying", "PUT / HTTP/1.1\r\nHost: a.test\r\nx-token: 1\r\n\r\n", "yes", "has it"},
		{"not absent, empty", "denying", "PUT / HTTP/1.1\r\nHost: a.test\r\nx-token:\r\n\r\n", "yes", "an empty one is there"},

		// What RE2 cannot read counts as a match for a Deny and as none for an Allow.
		{"invalid UTF-8", "denying", get("/", "x-re: \xff"), "regex", "it may be anything to the workload"},
		{"invalid UTF-8 after", "denying", get("/", "x-re: evil\xff"), "regex", "the same"},
		{"invalid UTF-8, exact", "denying", get("/", "x-role: ok,\xff"), "exact", "the same for every test"},
		{"invalid UTF-8 beside it", "denying", get("/", "x-role: evil,\xc3\x28"), "exact", "nor does it hide its neighbours"},
		{"invalid UTF-8, allowing", "allowing", get("/", "x-re: ok\xff"), "", "no match"},
		{"invalid UTF-8, in another", "denying", get("/", "x-other: \xff"), "yes", "what no rule names is not looked at"},
		{"valid UTF-8", "denying", get("/", "x-role: é"), "yes", "what it can read is like any other"},

		// An Allow matches only when all of the values do.
		{"allow one line", "allowing", get("/", "x-role: ok"), "exact", "the plain case"},
		{"allow another value", "allowing", get("/", "x-role: evil"), "", "the plain case"},
		{"allow none", "allowing", get("/"), "", "no header, no value"},
		{"allow empty", "allowing", get("/", "x-role:"), "", "an empty value is another one"},
		{"allow two lines", "allowing", get("/", "x-role: ok", "x-role: evil"), "", "a workload may take the last"},
		{"allow two lines, first", "allowing", get("/", "x-role: evil", "x-role: ok"), "", "or the first"},
		{"allow list", "allowing", get("/", "x-role: ok,evil"), "", "or any of a list"},
		{"allow list of the same", "allowing", get("/", "x-role: ok, ok"), "exact", "all of them"},
		{"allow lines of the same", "allowing", get("/", "x-role: ok", "x-role:  ok "), "exact", "the same"},
		{"allow list with holes", "allowing", get("/", "x-role: ok,"), "", "an empty value is another one"},
		{"allow prefix, list", "allowing", get("/", "x-team: okay,evil"), "", "a prefix does not run over a comma"},
		{"allow prefix, lists", "allowing", get("/", "x-team: okay, ok2"), "prefix", "all of them"},
		{"allow regex", "allowing", get("/", "x-re: ok1"), "regex", "the plain case"},
		{"allow regex, list", "allowing", get("/", "x-re: ok1,evil"), "", "ok.* does not run over a comma"},
		{"allow regex, lines", "allowing", get("/", "x-re: ok1", "x-re: evil"), "", "nor over lines"},
		{"allow regex, list of ok", "allowing", get("/", "x-re: ok1, ok2"), "regex", "all of them"},
		{"allow regex, written comma", "allowing", get("/", "x-two: a,b"), "comma", "a comma that is written is meant"},
		{"allow absent", "allowing", "PUT / HTTP/1.1\r\nHost: a.test\r\n\r\n", "absent", "an Allow of what lacks a header"},
		{"allow absent, empty", "allowing", "PUT / HTTP/1.1\r\nHost: a.test\r\nx-debug:\r\n\r\n", "", "an empty one is there"},

		// Other names for the same header, and lines that are read in two ways.
		{"underscore", "denying", get("/", "x_role: evil"), "400", "CGI and WSGI make it x-role"},
		{"underscore, allowing", "allowing", get("/", "x_role: ok"), "400", "the same"},
		{"space before the colon", "denying", get("/", "x-role : evil"), "400", "x-role to some"},
		{"tab before the colon", "denying", get("/", "x-role\t: evil"), "400", "the same"},
		{"no name", "denying", get("/", ": evil"), "400", "no header"},
		{"no colon", "denying", get("/", "x-role evil"), "400", "no header"},
		{"obs-fold, first line", "denying", "GET / HTTP/1.1\r\n x-role: evil\r\nHost: a.test\r\nx-request-id: $ID\r\n\r\n", "400", "of nothing"},
		{"NUL", "denying", get("/", "x-role: e\x00vil"), "400", "ends a string in C"},
		{"NUL in the name", "denying", get("/", "x-ro\x00le: evil"), "400", "the same"},
		{"bad name", "denying", get("/", "x-role(): evil"), "400", "no token"},
		{"raw name", "denying", get("/", "x-rôle: evil"), "400", "no token"},

		// Lists that are not separated by commas.
		{"cookie", "denying", get("/", "cookie: role=evil"), "cookie", "the plain case"},
		{"cookie of two lines", "denying", get("/", "cookie: a=1", "cookie: role=evil"), "cookie", "a value each"},
		{"cookie of two crumbs", "denying", get("/", "cookie: a=1; role=evil"), "yes", "one value: a rule on cookies needs a regex"},

		// Nothing that a client says moves its address.
		{"x-forwarded-for", "sources", get("/", "x-forwarded-for: 127.0.0.8"), "yes", "the connection's address counts"},
		{"x-forwarded-for twice", "sources", get("/", "x-forwarded-for: 1.1.1.1", "x-forwarded-for: 127.0.0.8, 127.0.0.8"), "yes", "the same"},
		{"forwarded", "sources", get("/", "forwarded: for=127.0.0.8", "x-real-ip: 127.0.0.8", "true-client-ip: 127.0.0.8"), "yes", "nor any of its kin"},
		{"x-envoy-external-address", "sources", get("/", "x-envoy-external-address: 127.0.0.8", "x-envoy-internal: true"), "yes", "nor Envoy's own"},
	} {
		r := row{name: x.name + " " + x.to, to: x.to, raw: x.raw, why: x.why}
		name := x.to[:1]
		switch {
		case x.word == "400":
			r.want = refused(400)
		case x.word == "":
			r.want = deny("default-deny:default/" + name)
		case x.word == "yes" || x.to == "allowing":
			r.want = allow("namespace:default/" + name + "#" + x.word)
		default:
			r.want = deny("namespace:default/" + name + "#" + x.word)
		}
		rows = append(rows, r)
	}
	// What Envoy hands on in another form: the rules are asked about that form.
	asked := func(name, value string) *policy.HTTPRequest {
		return &policy.HTTPRequest{Method: "GET", Authority: "a.test", Path: "/", Headers: []policy.HeaderField{{Name: name, Value: value}}}
	}
	rows = append(rows,
		row{name: "obs-fold", to: "denying", raw: get("/", "x-role: ok,", " evil"), asked: asked("x-role", "ok, evil"), want: deny("namespace:default/d#exact"), why: "one value on two lines"},
		row{name: "obs-fold with a tab", to: "denying", raw: get("/", "x-a: b", "\tx-role: evil"), asked: asked("x-a", "b\tx-role: evil"), want: allow("namespace:default/d#yes"), why: "a value of x-a, for the workload as well"},
		row{name: "obs-fold, allowing", to: "allowing", raw: get("/", "x-role: ok", "\tok"), asked: asked("x-role", "ok\tok"), want: deny("default-deny:default/a"), why: "one value, not two"},
		row{name: "CR in a value", to: "denying", raw: get("/", "x-role: ev\ril"), asked: asked("x-role", "evil"), want: deny("namespace:default/d#exact"), why: "Envoy drops it, and then decides"},
		row{name: "CR before a name", to: "denying", raw: get("/", "x-a: b\rx-role: evil"), asked: asked("x-a", "bx-role: evil"), want: allow("namespace:default/d#yes"), why: "no new line, for the workload as well"},
		// Headers that Connection names are for Envoy: gone for the rules and the workload.
		row{name: "hop by hop", to: "denying", raw: get("/", "connection: x-role", "x-role: evil"), want: allow("namespace:default/d#yes"), why: "the workload does not see it"},
		row{name: "hop by hop, allowing", to: "allowing", raw: get("/", "connection: close, x-role", "x-role: ok"), want: deny("default-deny:default/a"), why: "what nobody sees allows nothing"},
		row{name: "hop by hop, in several", to: "denying", raw: get("/", "connection: x-role", "connection: x-debug", "x-role: evil", "x-debug: 1"), want: allow("namespace:default/d#yes"), why: "each of them"},
		row{name: "hop by hop, needed", to: "denying", raw: "PUT / HTTP/1.1\r\nHost: a.test\r\nconnection: x-token\r\nx-token: 1\r\n\r\n", want: deny("namespace:default/d#absent"), why: "a header that is taken off is not there"},
		row{name: "hop by hop host", to: "denying", raw: get("/", "connection: host"), want: refused(400), why: "nobody may take off the host"},
		row{name: "hop by hop x-forwarded-for", to: "denying", raw: get("/", "connection: x-forwarded-for, x-forwarded-proto"), want: refused(400), why: "nor what Envoy says itself"},
		row{name: "bare LF", to: "denying", raw: get("/", "x-a: b\nx-role: evil"), asked: asked("x-role", "evil"), want: deny("namespace:default/d#exact"), why: "a new line to Envoy, which writes CR LF to the workload"},
		row{name: "h2 two fields", to: "denying", h2: h2get("/", "a.test", "x-role", "ok", "x-role", "evil"), want: deny("namespace:default/d#exact"), why: "the same in HTTP/2"},
		row{name: "h2 list", to: "allowing", h2: h2get("/", "a.test", "x-re", "ok1,evil"), want: deny("default-deny:default/a"), why: "the same in HTTP/2"},
		row{name: "h2 invalid UTF-8", to: "denying", h2: h2get("/", "a.test", "x-re", "\xff"), want: deny("namespace:default/d#regex"), why: "the same in HTTP/2"},
		row{name: "h2 cookie crumbs", to: "denying", h2: h2get("/", "a.test", "cookie", "a=1", "cookie", "role=evil"), asked: asked("cookie", "a=1; role=evil"), want: allow("namespace:default/d#yes"), why: "HTTP/2 cuts one value into fields, and Envoy joins them again"},
		row{name: "h2 underscore", to: "denying", h2: h2get("/", "a.test", "x_role", "evil"), want: refused(0), why: "the same in HTTP/2"},
		row{name: "x-forwarded-for, denied", to: "sources", from: "127.0.0.8", raw: get("/", "x-forwarded-for: 127.0.0.1"), want: deny("namespace:default/s#no"), why: "a bypass at Envoy's defaults"},
		row{name: "x-forwarded-for, not allowed", to: "sources", from: "127.0.0.77", raw: get("/", "x-forwarded-for: 127.0.0.1"), want: deny("default-deny:default/s"), why: "the same for an Allow"},
	)
	l.run(rows)
	for _, r := range rows {
		if s, ok := l.upstream.request(r.id); ok && s.Header.Get("x-forwarded-for") == "" {
			t.Errorf("%s: the workload saw no x-forwarded-for, which Envoy writes", r.name)
		}
	}
}

// TestStrippedHeaders: what speaks to Envoy itself, or would make a workload see another
// method, path or reason, is gone before rules are asked and does not reach the workload.
func TestStrippedHeaders(t *testing.T) {
	l := start(t, headerPolicies)
	// At the least these; the list of the product may be longer.
	names := append([]string{
		"x-envoy-original-path", "x-envoy-original-host", "x-envoy-original-url", "x-envoy-internal", "x-envoy-external-address",
		"x-envoy-decorator-operation", "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node",
		"x-envoy-retry-on", "x-envoy-retry-grpc-on", "x-envoy-max-retries", "x-envoy-hedge-on-per-try-timeout",
		"x-envoy-retriable-status-codes", "x-envoy-retriable-header-names", "x-envoy-is-timeout-retry", "x-envoy-attempt-count",
		"x-envoy-upstream-alt-stat-name", "x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms",
		"x-envoy-upstream-stream-duration-ms", "x-envoy-upstream-rq-timeout-alt-response",
		"x-envoy-expected-rq-timeout-ms", "x-envoy-ip-tags", "x-envoy-force-trace",
		"x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url", "x-pavise-reason",
	}, policy.UntrustedHeaders...)
	var h1, h2 []string
	for _, n := range names {
		n = strings.TrimSuffix(n, "-")
		h1 = append(h1, strings.ToUpper(n)+": forged")
		h2 = append(h2, n, "forged")
	}
	want := allow("namespace:default/d#yes")
	rows := []row{
		{name: "HTTP/1.1", to: "denying", raw: get("/x", append(h1, "x-kept: forged")...), want: want, why: "rule stripped would deny it"},
		{name: "HTTP/2", to: "denying", h2: h2get("/x", "a.test", append(h2, "x-kept", "forged")...), want: want, why: "rule stripped would deny it"},
	}
	l.run(rows)
	for _, r := range rows {
		s, _ := l.upstream.request(r.id)
		var forged []string
		for name, values := range s.Header {
			if strings.Contains(strings.Join(values, ","), "forged") {
				forged = append(forged, name)
			}
		}
		if len(forged) != 1 || forged[0] != "X-Kept" {
			t.Errorf("%s: the workload saw forged %v, want X-Kept only", r.name, forged)
		}
		if s.Header.Get("x-envoy-internal") != "" {
			t.Errorf("%s: the client counts as internal; workloads trust that", r.name)
		}
	}
}

// TestForgedReason: a workload cannot give reasons in Pavise's name.
func TestForgedReason(t *testing.T) {
	l := start(t, headerPolicies)
	for _, status := range []string{"200", "403", "500"} {
		r := row{to: "denying", raw: get("/x", "x-forge: "+status)}
		l.send(&r)
		if told := r.resp.Header.Values(xds.ReasonHeader); itoa(r.resp.Status) != status || len(told) != 0 {
			t.Errorf("%s: the client got %d with the reasons %q, want none", status, r.resp.Status, told)
		}
		if d := l.decision(t, r.id); d.Verdict != policy.Allowed || d.Reason != "namespace:default/d#yes" {
			t.Errorf("%s: logged %s %s", status, d.Verdict, d.Reason)
		}
	}
	l.stillServes()
}
