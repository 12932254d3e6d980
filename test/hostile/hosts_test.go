package hostile

import (
	"testing"

	"pavise.dev/pavise/policy"
)

const hostPolicies = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: denying, labels: {hosts: deny}}
spec: {inbound: [{port: 8001, address: $ADDR, upstream: $UP}]}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: allowing, labels: {hosts: allow}}
spec: {inbound: [{port: 8002, address: $ADDR, upstream: $UP}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: d}
spec:
  selector: {matchLabels: {hosts: deny}}
  ingress:
  - name: "no"
    action: Deny
    http: [{hosts: [secret.com, "*.below.test", bücher.test, 127.0.0.1, "2001:db8::1"]}]
  - {name: "yes", action: Allow}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: a}
spec:
  selector: {matchLabels: {hosts: allow}}
  ingress:
  - name: "yes"
    action: Allow
    http: [{hosts: [secret.com, "*.below.test", bücher.test, 127.0.0.1, "2001:db8::1"]}]
`

// hostWants are what is right at a Deny of some hosts and at an Allow of the same.
//
//	in   one of them          out  another host
//	bad  malformed-host       400  Envoy's parser
//	raw  400, and Evaluate says malformed-host
//	tls  403, Envoy's parser
//	odd  one of them to Envoy; Evaluate says malformed-host
func hostWants(word string) (denying, allowing want) {
	switch word {
	case "in":
		return deny("namespace:default/d#no"), allow("namespace:default/a#yes")
	case "out":
		return allow("namespace:default/d#yes"), deny("default-deny:default/a")
	case "bad":
		return deny("malformed-host"), deny("malformed-host")
	case "raw":
		return malformed(policy.MalformedHost, 400), malformed(policy.MalformedHost, 400)
	case "odd":
		denying, allowing = hostWants("in")
		denying.evaluate, allowing.evaluate = string(policy.MalformedHost), string(policy.MalformedHost)
		return denying, allowing
	case "tls":
		return refused(403), refused(403)
	}
	return refused(400), refused(400)
}

func TestHosts(t *testing.T) {
	l := start(t, hostPolicies)
	var rows []row
	add := func(r row, word string) {
		d, a := hostWants(word)
		name := r.name
		r.name, r.to, r.want = name+" denying", "denying", d
		rows = append(rows, r)
		r.name, r.to, r.want = name+" allowing", "allowing", a
		rows = append(rows, r)
	}
	for _, x := range []struct{ host, word, why string }{
		{"secret.com", "in", "the plain case"},
		{"ok.test", "out", "the plain case"},
		{"Secret.COM", "in", "hosts have no case"},
		{"secret.com:8443", "in", "a port is no part of it (CVE-2021-39155)"},
		{"secret.com.", "in", "nor is the dot of the root"},
		{"SECRET.com.:80", "in", "all at once"},
		{"a.secret.com", "out", "exact is that name only"},
		{"notsecret.com", "out", "no suffix of letters"},
		{"secret.com.evil.test", "out", "no prefix"},
		{"x.below.test", "in", "a wildcard"},
		{"x.y.Below.Test.:1", "in", "of one or more labels"},
		{"below.test", "out", "not of none"},
		{".below.test", "bad", "nor of an empty one"},
		{"secret.com..", "bad", "one dot is the root, two are nothing"},
		{"secret..com", "bad", "an empty label"},
		{"secret.com:", "bad", "a port that is not there"},
		{"secret.com:0", "in", "a port, though nobody listens there"},
		{"secret.com:65536", "odd", "Envoy takes off any number"},
		{"secret.com:8a", "bad", "no port"},
		{"secret.com:+80", "odd", "with a sign"},
		{"secret.com:80:80", "bad", "two ports"},
		{"secret.com:00080", "in", "a port with zeros is one"},
		{"user@secret.com", "bad", "a user is no part of a Host"},
		{"", "bad", "no host"},
		{":80", "bad", "a port of none"},
		{".", "bad", "the root"},
		{"ok.test,secret.com", "bad", "what two lines look like once they are joined"},
		{"ok.test secret.com", "raw", "a space"},
		{"secret.com/", "raw", "a path"},
		{"secret.com?", "raw", "a query"},
		{"secret.com#", "raw", "a fragment"},
		{`secret.com\`, "raw", "a backslash"},
		{"secret%2ecom", "bad", "an escape"},
		{"secret.com%00", "bad", "an escaped NUL"},
		{"secret.com\x00", "400", "a NUL"},
		{"secret.com\x0b", "400", "a control character"},
		{"*.below.test", "bad", "the wildcard itself"},
		{"under_score.test", "out", "an underscore is in use"},
		{"xn--bcher-kva.test", "in", "what bücher.test is on the wire"},
		{"XN--Bcher-KVA.test", "in", "in any case"},
		{"bücher.test", "400", "raw octets"},
		{"secret\u3002com", "400", "a full stop that is not one"},
		{"127.0.0.1", "in", "an address"},
		{"127.0.0.1.", "in", "with the dot of the root"},
		{"127.0.0.2", "out", "another"},
		{"127.1", "bad", "127.0.0.1 to inet_aton"},
		{"0x7f.1", "bad", "the same in hex"},
		{"0x7f000001", "bad", "the same in one number"},
		{"0177.0.0.1", "bad", "the same in octal"},
		{"127.0.0.01", "bad", "the same with a zero"},
		{"2130706433", "bad", "the same in decimal"},
		{"127.0.0.0x1", "bad", "the same, mixed"},
		{"1.2.3.4.5", "bad", "ends in a number and is no address"},
		{"256.0.0.1", "bad", "no address"},
		{"a.0x1", "bad", "ends in a number, to a browser"},
		{"[2001:db8::1]", "in", "an IPv6 address"},
		{"[2001:DB8::1]:443", "in", "in capitals, with a port"},
		{"2001:db8::1", "bad", "without brackets the end is a port"},
		{"[2001:db8::1", "bad", "half a bracket"},
		{"[fe80::1%25eth0]", "bad", "a zone"},
		{"[2001:db8:0::1]", "out", "addresses are compared as text: a limit"},
		{"[::ffff:127.0.0.1]", "bad", "127.0.0.1 in another spelling"},
		{"[::ffff:7f00:1]", "bad", "the same in hex"},
		{"[0:0:0:0:0:ffff:7f00:1]", "bad", "the same at length"},
	} {
		add(row{name: x.host, raw: with(x.host), why: x.why}, x.word)
	}
	// More than one place to read a host from.
	absolute := func(target, host string) string {
		return "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	}
	asked := func(authority string) *policy.HTTPRequest {
		return &policy.HTTPRequest{Method: "GET", Authority: authority, Path: "/x"}
	}
	for _, x := range []struct {
		name, raw string
		h2        *h2Request
		asked     *policy.HTTPRequest
		word, why string
	}{
		{"absolute-form secret, Host ok", absolute("http://secret.com/x", "ok.test"), nil, nil, "in", "the target wins (RFC 9112, 3.2.2)"},
		{"absolute-form ok, Host secret", absolute("http://ok.test/x", "secret.com"), nil, nil, "out", "and the workload sees that host"},
		{"absolute-form with https", absolute("https://SECRET.com:443/x", "ok.test"), nil, nil, "tls", "there is no TLS here; a 403 of Envoy itself"},
		{"absolute-form with a user", absolute("http://ok.test@secret.com/x", "ok.test"), nil, asked("secret.com"), "in", "the host stands behind the @"},
		{"absolute-form without a host", absolute("http:///x", "ok.test"), nil, nil, "400", "no host"},
		{"two Host lines", "GET /x HTTP/1.1\r\nHost: ok.test\r\nHost: secret.com\r\n\r\n", nil, asked("ok.test,secret.com"), "bad", "Envoy joins and forwards them"},
		{"the same Host twice", "GET /x HTTP/1.1\r\nHost: secret.com\r\nHost: secret.com\r\n\r\n", nil, asked("secret.com,secret.com"), "bad", "also"},
		{"no Host", "GET /x HTTP/1.1\r\n\r\n", nil, nil, "400", "RFC 9112 wants one"},
		{"a space before the colon", "GET /x HTTP/1.1\r\nHost : secret.com\r\n\r\n", nil, nil, "400", "a header of another name to some"},
		{"white space around", "GET /x HTTP/1.1\r\nHOST: \t secret.com \t \r\n\r\n", nil, nil, "in", "is no part of the value"},
		{"h2 :authority", "", h2get("/x", "Secret.com:1"), nil, "in", "the same in HTTP/2"},
		{"h2 :authority secret, host ok", "", h2get("/x", "secret.com", "host", "ok.test"), nil, "in", ":authority wins"},
		{"h2 :authority ok, host secret", "", h2get("/x", "ok.test", "host", "secret.com"), nil, "out", "and the workload sees that host"},
		{"h2 host only", "", h2(":method", "GET", ":scheme", "http", ":path", "/x", "host", "secret.com"), nil, "in", "it stands in"},
		{"h2 no trailing port", "", h2get("/x", "secret.com:"), nil, "bad", "a port that is not there"},
		{"h2 odd number", "", h2get("/x", "0x7f.1"), nil, "bad", "the same in HTTP/2"},
	} {
		add(row{name: x.name, raw: x.raw, h2: x.h2, asked: x.asked, why: x.why}, x.word)
	}
	l.run(rows)
}
