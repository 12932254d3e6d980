package hostile

import (
	"testing"

	"pavise.dev/pavise/policy"
)

// Five workloads behind the same Envoy, for one table.
const pathPolicies = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: exact, labels: {deny: exact}}
spec: {inbound: [{port: 8001, address: $ADDR, upstream: $UP}]}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: prefix, labels: {deny: prefix}}
spec: {inbound: [{port: 8002, address: $ADDR, upstream: $UP}]}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: list, labels: {list: allow}}
spec: {inbound: [{port: 8003, address: $ADDR, upstream: $UP}]}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: unescape, labels: {deny: prefix}}
spec: {inbound: [{port: 8004, address: $ADDR, upstream: $UP, http: {escapedSlashes: Unescape}}]}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: literal, labels: {deny: prefix}}
spec: {inbound: [{port: 8005, address: $ADDR, upstream: $UP, http: {pathParameters: Literal}}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: e}
spec:
  selector: {matchLabels: {deny: exact}}
  ingress:
  - {name: "no", action: Deny, http: [{paths: [{exact: /admin}]}]}
  - {name: "yes", action: Allow}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p}
spec:
  selector: {matchLabels: {deny: prefix}}
  ingress:
  - {name: "no", action: Deny, http: [{paths: [{prefix: /admin}]}]}
  - {name: "yes", action: Allow}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: l}
spec:
  selector: {matchLabels: {list: allow}}
  ingress:
  - {name: "yes", action: Allow, http: [{paths: [{prefix: /public}, {exact: /caf%c3%a9}]}]}
`

// pathRow is a path and what is right at a Deny of exactly /admin, at a Deny of /admin
// and what is below it, at an Allow of /public only, and at the second with either
// option of the workload.
type pathRow struct {
	path                                   string
	exact, prefix, list, unescape, literal string
	why                                    string
}

// TestPaths is what the words of its table mean.
//
//	no   denied by the rule          ok   passes
//	amb  denied as ambiguous-path    def  denied by default: not on the list
//	bad  400, Envoy's parser, and Evaluate says malformed-request
//	raw  400, Envoy's parser, in HTTP/1.1 only
func TestPaths(t *testing.T) {
	l := start(t, pathPolicies)
	const ok, no, amb, def, bad, raw = "ok", "no", "amb", "def", "bad", "raw"
	table := []pathRow{
		{"/admin", no, no, def, no, no, "the plain case"},
		{"/admin/", ok, no, def, no, no, "exact is that path and no other: a prefix is what to write"},
		{"/public", ok, ok, ok, ok, ok, "the plain case"},
		{"/public/a", ok, ok, ok, ok, ok, "below the prefix"},
		{"/publicity", ok, ok, def, ok, ok, "a prefix ends at a segment"},
		{"/", ok, ok, def, ok, ok, "the root"},

		// Slashes.
		{"//admin", no, no, def, no, no, "CVE-2026-26205 read it as an authority"},
		{"///admin", no, no, def, no, no, "merged"},
		{"//admin//", ok, no, def, no, no, "merged"},
		{"/public//../admin", ok, ok, ok, ok, ok, "dot segments go before slashes are merged: /public/admin, also for the workload"},
		{"//", amb, amb, amb, amb, amb, "Envoy leaves a path of slashes as it is"},
		{"///", amb, amb, amb, amb, amb, "the same"},
		{`/x\..\admin`, no, no, def, no, no, "a backslash is a slash to some servers, so it is made one"},
		{`/\admin`, no, no, def, no, no, "the same at the start"},
		{`\admin`, bad, bad, bad, bad, bad, "no path begins so"},

		// Dot segments.
		{"/./admin", no, no, def, no, no, "resolved before matching"},
		{"/x/../admin", no, no, def, no, no, "CVE-2019-9901"},
		{"/public/../admin", no, no, def, no, no, "out of what is allowed"},
		{"/../../admin", no, no, def, no, no, "above the root there is nothing"},
		{"/%2e/admin", no, no, def, no, no, "an escaped dot is a dot"},
		{"/public/.%2e/admin", no, no, def, no, no, "half escaped"},
		{"/public/%2E%2e/admin", no, no, def, no, no, "in either case"},
		{"/public/..", ok, ok, def, ok, ok, "the root"},
		{"/admin/.", ok, no, def, no, no, "/admin/"},
		{"/x/.../admin", ok, ok, def, ok, ok, "three dots are a name"},

		// Escapes of what needs none.
		{"/%61dmin", no, no, def, no, no, "undone before matching"},
		{"/%70ublic/a", ok, ok, ok, ok, ok, "also for an Allow"},
		{"/caf%c3%a9", ok, ok, ok, ok, ok, "the hex case of an escape is no difference"},
		{"/caf%C3%A9", ok, ok, ok, ok, ok, "the same"},
		{"/café", raw, raw, raw, raw, raw, "raw octets: HTTP/2 escapes them"},

		// Escaped slashes: refused, or unescaped for the policy and the workload alike.
		{"/%2fadmin", amb, amb, amb, no, amb, "CVE-2021-29492"},
		{"/%2Fadmin", amb, amb, amb, no, amb, "in either case"},
		{"/x%2f..%2fadmin", amb, amb, amb, no, amb, "a dot segment made of it"},
		{"/public/..%2fadmin", amb, amb, amb, no, amb, "out of what is allowed"},
		{"/x%5c..%5cadmin", amb, amb, amb, no, amb, "the same with a backslash"},
		{"/%5Cadmin", amb, amb, amb, no, amb, "in either case"},
		{"/public/a%2fb", amb, amb, amb, ok, amb, "an application that means it asks for Unescape"},
		{"/admin%2f", amb, amb, amb, no, amb, "/admin/"},

		// Double encodings: what a server that decodes twice would make of it.
		{"/%252fadmin", amb, amb, amb, amb, amb, "Calico rejects, Istio passes through"},
		{"/%2561dmin", amb, amb, amb, amb, amb, "a letter"},
		{"/public/%252e%252e/admin", amb, amb, amb, amb, amb, "a dot segment"},
		{"/%25252fadmin", amb, amb, amb, amb, amb, "thrice"},
		{"/100%25", ok, ok, def, ok, ok, "an escaped percent sign is no encoding by itself"},

		// Path parameters.
		{"/admin;v=1", amb, amb, amb, amb, ok, "/admin to some servers; with Literal it is another path"},
		{"/admin%3Bv=1", amb, amb, amb, amb, ok, "the same, for what decodes first"},
		{"/;/admin", amb, amb, amb, amb, amb, "an empty segment with a parameter, whatever the option"},
		{"/public/..;/admin", amb, amb, amb, amb, amb, "Tomcat resolves it (istio 27409), whatever the option"},
		{"/public/..;x=1/admin", amb, amb, amb, amb, amb, "with a name"},
		{"/public/.;/a", amb, amb, amb, amb, amb, "a single dot"},
		{"/public/..%3B/admin", amb, amb, amb, amb, amb, "a proxy behind that decodes it makes it /..;/"},
		{"/public;x/../admin", no, no, def, no, no, "a segment with a parameter is gone with its dot segment"},

		// Octets that end strings, split lines or hide.
		{"/admin%00", amb, amb, amb, amb, amb, "cut short by what is written in C"},
		{"/admin%00/../public", amb, amb, amb, amb, amb, "before anything is resolved"},
		{"/admin\x00", bad, bad, bad, bad, bad, "raw"},
		{"/admin%09", amb, amb, amb, amb, amb, "trimmed by some"},
		{"/ad\tmin", bad, bad, bad, bad, bad, "raw"},
		{"/admin%0d%0aX:%20y", amb, amb, amb, amb, amb, "splits lines for what logs or forwards it decoded"},
		{"/admin%7f", amb, amb, amb, amb, amb, "a control character"},
		{"/admin%20", ok, ok, def, ok, ok, "another path: an allow-list denies it, a Deny does not"},
		{"/admin.", ok, ok, def, ok, ok, "another path, though not to Windows"},
		{"/ADMIN", ok, ok, def, ok, ok, "another path, though not to every server"},
		{"/admin%23x", ok, ok, def, ok, ok, "an escaped # is a character like others"},

		// Broken and overlong.
		{"/%", amb, amb, amb, amb, amb, "servers differ on what it is"},
		{"/%zz", amb, amb, amb, amb, amb, "the same"},
		{"/admin%2", amb, amb, amb, amb, amb, "cut short"},
		{"/%u002fadmin", amb, amb, amb, amb, amb, "IIS"},
		{"/%c0%afadmin", amb, amb, amb, amb, amb, "a slash in two octets of bad UTF-8"},
		{"/adm\xc0\xafin", raw, raw, raw, raw, raw, "the same raw"},
		{"/%e0%80%afadmin", amb, amb, amb, amb, amb, "a slash in three"},
		{"/%f0%80%80%afadmin", amb, amb, amb, amb, amb, "and in four"},
		{"/%ef%bc%8fadmin", ok, ok, def, ok, ok, "a full-width slash is good UTF-8 and another path"},

		// Query and fragment.
		{"/admin?x=/public", no, no, def, no, no, "the query is no part of the path"},
		{"/public?x=/../admin", ok, ok, ok, ok, ok, "nor the path of the query"},
		{"/public?x=%2f%5c%00%zz;..//", ok, ok, ok, ok, ok, "nothing in it makes a path ambiguous"},
		{"/public?", ok, ok, ok, ok, ok, "an empty one"},
		{"/admin??", no, no, def, no, no, "it begins at the first"},
		{"/admin%3Fx", ok, ok, def, ok, ok, "an escaped ? does not end the path (CVE-2026-32811)"},
		{"/public%3F/../admin", no, no, def, no, no, "so what follows it is resolved"},
		{"/public/%3F/../../admin", no, no, def, no, no, "the same"},
		{"/a#b", amb, amb, amb, amb, amb, "CVE-2021-39156"},
		{"/admin#", amb, amb, amb, amb, amb, "the same"},
		{"/public?x=1#/../admin", amb, amb, amb, amb, amb, "in the query"},

		// What is no path.
		{"admin", bad, bad, bad, bad, bad, "no slash"},
		{"*", bad, bad, bad, bad, bad, "only OPTIONS has it"},
	}
	words := func(name, word string) want {
		switch word {
		case ok:
			return allow("namespace:default/" + name + "#yes")
		case no:
			return deny("namespace:default/" + name + "#no")
		case amb:
			return deny("ambiguous-path")
		case def:
			return deny("default-deny:default/" + name)
		case raw:
			return refused(400)
		}
		return malformed(policy.MalformedRequest, 400)
	}
	var rows []row
	for _, p := range table {
		for _, x := range []struct{ to, policy, word string }{
			{"exact", "e", p.exact}, {"prefix", "p", p.prefix}, {"list", "l", p.list}, {"unescape", "p", p.unescape}, {"literal", "p", p.literal},
		} {
			rows = append(rows, row{name: p.path + " " + x.to, to: x.to, raw: get(p.path), want: words(x.policy, x.word), why: p.why})
		}
	}
	l.run(rows)
}
