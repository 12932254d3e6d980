package hostile

import "testing"

const queryPolicies = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: denying, labels: {query: deny}}
spec: {inbound: [{port: 8001, address: $ADDR, upstream: $UP}]}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: allowing, labels: {query: allow}}
spec: {inbound: [{port: 8002, address: $ADDR, upstream: $UP}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: d}
spec:
  selector: {matchLabels: {query: deny}}
  ingress:
  - {name: exact, action: Deny, http: [{query: [{name: role, exact: evil}]}]}
  - {name: prefix, action: Deny, http: [{query: [{name: team, prefix: evil}]}]}
  - {name: regex, action: Deny, http: [{query: [{name: re, regex: "evil.*"}]}]}
  - {name: present, action: Deny, http: [{query: [{name: debug}]}]}
  - {name: absent, action: Deny, http: [{methods: [PUT], query: [{name: token, present: false}]}]}
  - {name: space, action: Deny, http: [{query: [{name: a b, exact: c d}]}]}
  - {name: "yes", action: Allow}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: a}
spec:
  selector: {matchLabels: {query: allow}}
  ingress:
  - {name: exact, action: Allow, http: [{query: [{name: role, exact: ok}]}]}
  - {name: prefix, action: Allow, http: [{query: [{name: team, prefix: ok}]}]}
  - {name: regex, action: Allow, http: [{query: [{name: re, regex: "ok.*"}]}]}
  - {name: absent, action: Allow, http: [{methods: [PUT], query: [{name: debug, present: false}]}]}
`

func TestQuery(t *testing.T) {
	l := start(t, queryPolicies)
	put := func(target string) string { return "PUT " + target + " HTTP/1.1\r\nHost: a.test\r\n\r\n" }
	var rows []row
	for _, x := range []struct{ name, to, raw, word, why string }{
		{"", "denying", get("/?role=evil"), "exact", "the plain case"},
		{"", "denying", get("/?role=ok"), "yes", "the plain case"},
		{"", "denying", get("/x?a=1&role=evil&b=2"), "exact", "among others, whatever the path"},
		{"", "denying", get("/?role=ok&role=evil"), "exact", "the last counts for some"},
		{"", "denying", get("/?role=evil&role=ok"), "exact", "the first for others"},
		{"", "denying", get("/?role=%65vil"), "exact", "an escaped value"},
		{"", "denying", get("/?r%6Fle=evil"), "exact", "an escaped name"},
		{"", "denying", get("/?%72%6f%6c%65=%65%76%69%6c"), "exact", "both, all of it"},
		{"", "denying", get("/?a=1;role=evil"), "exact", "a semicolon separates for some"},
		{"", "denying", get("/?role=evil;a=1"), "exact", "the same behind it"},
		{"", "denying", get("/?&role=evil&"), "exact", "empty parameters are none"},
		{"", "denying", get("/?ROLE=evil"), "yes", "names have case"},
		{"", "denying", get("/?role=EVIL"), "yes", "values have"},
		{"", "denying", get("/?xrole=evil"), "yes", "a whole name"},
		{"", "denying", get("/?role=evil2"), "yes", "a whole value"},
		{"", "denying", get("/?role=evil?"), "yes", "a ? is a character of it"},
		{"", "denying", get("/?x=role=evil"), "yes", "the first = ends the name"},
		{"", "denying", get("/?x=%26role=evil"), "yes", "an escaped & separates nothing"},
		{"", "denying", get("/?role=%2565vil"), "yes", "undone once, as servers do"},
		{"", "denying", get("/role=evil"), "yes", "no query"},
		{"", "denying", get("/%3Frole=evil"), "yes", "an escaped ? begins none"},
		{"", "denying", get("/?role[]=evil"), "yes", "another name, though an array to PHP"},
		{"", "denying", get("/?team=evil2"), "prefix", "a prefix"},
		{"", "denying", get("/?team=%65vil2"), "prefix", "escaped"},
		{"", "denying", get("/?team=not-evil"), "yes", "at the start"},
		{"", "denying", get("/?re=evil2"), "regex", "an expression"},
		{"", "denying", get("/?re=ok&re=evil2"), "regex", "of any of them"},
		{"", "denying", get("/?re=ok"), "yes", "the plain case"},
		{"", "denying", get("/?re=%65vil"), "regex", "it sees what was sent, so what is escaped counts as a match"},
		{"", "denying", get("/?re=o%6b"), "regex", "too wide, never too narrow"},
		{"", "denying", get("/?debug"), "present", "without a value"},
		{"", "denying", get("/?debug="), "present", "with an empty one"},
		{"", "denying", get("/?a=1;%64ebug=1"), "present", "escaped, behind a semicolon"},
		{"", "denying", get("/?a=debug"), "yes", "a value is no name"},
		{"", "denying", get("/?a+b=c%20d"), "space", "a space in either spelling"},
		{"", "denying", get("/?a%20b=c+d"), "space", "a space in either spelling"},
		{"PUT", "denying", put("/"), "absent", "a Deny of what lacks a parameter"},
		{"PUT", "denying", put("/?a=token"), "absent", "a value is no name"},
		{"PUT", "denying", put("/?t%6fken"), "yes", "has it"},

		{"", "allowing", get("/?role=ok"), "exact", "the plain case"},
		{"", "allowing", get("/?role=evil"), "", "the plain case"},
		{"", "allowing", get("/"), "", "no parameter, no value"},
		{"", "allowing", get("/?role=%6fk"), "exact", "escaped"},
		{"", "allowing", get("/?a=1&role=ok&b=%zz"), "exact", "whatever the others are"},
		{"", "allowing", get("/?role=ok&role=evil"), "", "the last counts for some"},
		{"", "allowing", get("/?role=evil&role=ok"), "", "the first for others"},
		{"", "allowing", get("/?role=ok&role=ok"), "", "once only: some make a list of it"},
		{"", "allowing", get("/?role=ok&r%6fle=evil"), "", "an escaped name is the same"},
		{"", "allowing", get("/?role=ok;role=evil"), "", "a semicolon separates for some"},
		{"", "allowing", get("/?role=ok&a=1;role=evil"), "", "the same"},
		{"", "allowing", get("/?role=ok;x=1"), "", "a server that does not split there sees ok;x=1"},
		{"", "allowing", get("/?role=ok&role"), "", "also without a value"},
		{"", "allowing", get("/?team=okay"), "prefix", "a prefix"},
		{"", "allowing", get("/?team=okay&team=evil"), "", "of one"},
		{"", "allowing", get("/?re=ok1"), "regex", "an expression"},
		{"", "allowing", get("/?re=ok1&re=evil"), "", "it does not run over a &"},
		{"", "allowing", get("/?re=ok1%26re=evil"), "", "what is escaped is no match"},
		{"", "allowing", get("/?re=ok+1"), "", "nor a plus, which may be a space"},
		{"PUT", "allowing", put("/"), "absent", "an Allow of what lacks a parameter"},
		{"PUT", "allowing", put("/?x=debug"), "absent", "a value is no name"},
		{"PUT", "allowing", put("/?x=1;d%65bug"), "", "has it, to some"},
	} {
		_, target, _ := cut3(x.raw)
		r := row{name: x.to + " " + x.name + target, to: x.to, raw: x.raw, why: x.why}
		name := x.to[:1]
		switch {
		case x.word == "":
			r.want = deny("default-deny:default/" + name)
		case x.word == "yes" || x.to == "allowing":
			r.want = allow("namespace:default/" + name + "#" + x.word)
		default:
			r.want = deny("namespace:default/" + name + "#" + x.word)
		}
		rows = append(rows, r)
	}
	rows = append(rows,
		row{name: "h2 raw octets", to: "denying", h2: h2get("/?role=\xff", "a.test"), want: deny("namespace:default/d#exact"), why: "what cannot be read counts as a match for a Deny"},
		row{name: "h2 raw octets elsewhere", to: "denying", h2: h2get("/?a=\xff&role=ok", "a.test"), want: deny("namespace:default/d#exact"), why: "of the whole query"},
		row{name: "h2 raw octets, allowing", to: "allowing", h2: h2get("/?re=ok\xff", "a.test"), want: deny("default-deny:default/a"), why: "and as none for an Allow"},
		row{name: "raw octets", to: "denying", raw: get("/?role=\xff"), want: refused(400), why: "HTTP/1.1 has none"},
		row{name: "space", to: "denying", raw: get("/?role=e vil"), want: refused(400), why: "ends the target"},
	)
	l.run(rows)
}
