package hostile

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
	"pavise.dev/pavise/xds/envoytest"
)

const proxyPolicies = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app, labels: {egress: some}}
spec: {outbound: [{port: 15001, address: $ADDR}]}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: inner, labels: {egress: names}}
spec: {outbound: [{port: 15002, address: $ADDR}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: proxied}
spec:
  selector: {matchLabels: {egress: some}}
  egress:
  - {name: no-metadata, action: Deny, to: [{cidrs: [127.0.9.0/24]}]}
  - {name: no-secret, action: Deny, to: [{domains: [secret.test, "*.secret.test"]}]}
  - {name: no-smtp, action: Deny, ports: [{port: 25}]}
  - {name: no-delete, action: Deny, to: [{domains: [l7.test]}], http: [{methods: [DELETE]}]}
  - {name: no-admin, action: Deny, to: [{domains: [ok.test]}], http: [{paths: [{prefix: /admin}], hosts: [ok.test]}]}
  - {name: get, action: Allow, to: [{domains: [get.test]}], http: [{methods: [GET]}]}
  - {name: names, action: Allow, to: [{domains: ["*.ok.test", tunnel.test, l7.test, rebind.test, both.test, both2.test, nowhere.test, bücher.test]}]}
  - {name: ok, action: Allow, to: [{domains: [ok.test]}], http: [{methods: [GET, POST]}]}
  - {name: address, action: Allow, to: [{cidrs: [127.0.0.1, "::1"]}]}
---
# Names are allowed, and the addresses of this machine denied: what a rebinding attack
# is about.
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: q}
spec:
  selector: {matchLabels: {egress: names}}
  egress:
  - {name: inside, action: Deny, to: [{cidrs: [127.0.0.0/8, "::1", 169.254.0.0/16, 10.0.0.0/8, 0.0.0.0/8, "::"]}]}
  - {name: any, action: Allow}
`

var proxyHosts = envoytest.Hosts(map[string]string{
	"ok.test": "127.0.0.1", "a.ok.test": "127.0.0.1", "secret.test": "127.0.0.1", "a.secret.test": "127.0.0.1",
	"get.test": "127.0.2.2", "l7.test": "127.0.0.1", "other.test": "127.0.0.1", "tunnel.test": "127.0.0.1",
	"rebind.test": "127.0.9.9", "both.test": "127.0.0.1 127.0.9.9", "both2.test": "127.0.9.9 127.0.0.1", "xn--bcher-kva.test": "127.0.0.1",
	"mapped.test": "::ffff:127.0.0.1", "six.test": "::1", "zero.test": "0.0.0.0", "link.test": "169.254.169.254",
})

func TestProxy(t *testing.T) {
	l := start(t, proxyPolicies, proxyHosts)
	port := itoa(int(l.upstream.addr.Port()))
	at := func(s string) string { return strings.ReplaceAll(s, "$P", port) }
	// do is a request to a proxy for an absolute URL.
	do := func(method, target string, headers ...string) string {
		return at(method + " " + target + " HTTP/1.1\r\nHost: elsewhere.test\r\n" + lines(headers) + "\r\n")
	}
	asked := func(authority string) *policy.HTTPRequest {
		return &policy.HTTPRequest{Method: "GET", Authority: at(authority), Path: "/x"}
	}
	p := func(rule string) string { return "namespace:default/proxied#" + rule }
	q := func(rule string) string { return "namespace:default/q#" + rule }
	const here = "127.0.0.1"
	l.run([]row{
		// By name, absolute-form; the Host header counts for nothing.
		{name: "allowed", to: "app", raw: do("GET", "http://ok.test:$P/x"), destination: here, want: allow(p("ok")), why: "the plain case"},
		{name: "allowed in capitals", to: "app", raw: do("GET", "http://OK.Test.:$P/x"), destination: here, want: allow(p("ok")), why: "one canonical host"},
		{name: "allowed by wildcard", to: "app", raw: do("PUT", "http://a.ok.test:$P/x?y=/../z"), destination: here, want: allow(p("names")), why: "the plain case"},
		{name: "allowed IDN", to: "app", raw: do("GET", "http://XN--Bcher-kva.test:$P/x"), destination: here, want: allow(p("names")), why: "punycode on the wire, the name in the policy"},
		{name: "no path", to: "app", raw: do("GET", "http://ok.test:$P"), destination: here, want: allow(p("ok")), why: "is the root"},
		{name: "denied by domain", to: "app", raw: do("GET", "http://secret.test:$P/x"), want: deny(p("no-secret")), why: "the plain case"},
		{name: "denied in capitals", to: "app", raw: do("GET", "http://Secret.TEST.:$P/x"), want: deny(p("no-secret")), why: "one canonical host"},
		{name: "denied by wildcard", to: "app", raw: do("GET", "http://a.Secret.test.:$P/x"), want: deny(p("no-secret")), why: "the same"},
		{name: "denied path", to: "app", raw: do("GET", "http://ok.test:$P/x/..//admin"), destination: here, want: deny(p("no-admin")), why: "paths as at any listener"},
		{name: "ambiguous path", to: "app", raw: do("GET", "http://ok.test:$P/x%2fadmin"), want: deny("ambiguous-path"), why: "the same"},
		{name: "origin-form", to: "app", raw: at("GET /x HTTP/1.1\r\nHost: ok.test:$P\r\n\r\n"), destination: here, want: allow(p("ok")), why: "the Host says where to"},
		{name: "origin-form denied", to: "app", raw: at("GET /x HTTP/1.1\r\nHost: secret.test:$P\r\n\r\n"), want: deny(p("no-secret")), why: "the same"},
		{name: "https without a tunnel", to: "app", raw: do("GET", "https://ok.test/x"), want: refused(403), why: "there is no TLS here; a 403 of Envoy itself"},
		{name: "h2", to: "app", h2: h2get("/x", at("ok.test:$P")), destination: here, want: allow(p("ok")), why: "the same in HTTP/2"},
		{name: "h2 denied", to: "app", h2: h2get("/x", at("Secret.test:$P")), want: deny(p("no-secret")), why: "the same in HTTP/2"},

		// A name that is denied is not looked up: it does not exist, which would be 503.
		{name: "denied and not there", to: "app", raw: do("GET", "http://nowhere.secret.test:$P/x"), want: deny(p("no-secret")), why: "its look-up would tell somebody"},
		{name: "denied CONNECT and not there", to: "app", raw: do("CONNECT", "nowhere.secret.test:$P"), want: deny(p("no-secret")), why: "the same"},
		{name: "denied port and not there", to: "app", raw: do("GET", "http://nowhere.test:25/x"), want: deny(p("no-smtp")), why: "the same"},

		// By address, whatever the name.
		{name: "rebinding", to: "app", raw: do("GET", "http://rebind.test:$P/x"), destination: "127.0.9.9", want: deny(p("no-metadata")), why: "the name is allowed, its address is not"},
		{name: "rebinding, CONNECT", to: "app", raw: do("CONNECT", "rebind.test:$P"), destination: "127.0.9.9", want: deny(p("no-metadata")), why: "the same"},
		{name: "rebinding, h2 CONNECT", to: "app", h2: h2(":method", "CONNECT", ":authority", at("rebind.test:$P")), destination: "127.0.9.9", want: deny(p("no-metadata")), why: "the same"},
		{name: "two addresses", to: "app", raw: do("GET", "http://both.test:$P/x"), destination: here, want: allow(p("names")), why: "the one that is decided on is the one that is connected to"},
		{name: "two addresses, denied first", to: "app", raw: do("GET", "http://both2.test:$P/x"), destination: "127.0.9.9", want: deny(p("no-metadata")), why: "the same"},
		{name: "literal", to: "app", raw: do("GET", "http://127.0.9.9:$P/x"), destination: "127.0.9.9", want: deny(p("no-metadata")), why: "the plain case"},
		{name: "literal allowed", to: "app", raw: do("GET", "http://127.0.0.1:$P/x"), destination: here, want: allow(p("address")), why: "the plain case"},
		{name: "literal other", to: "app", raw: do("GET", "http://127.0.0.9:$P/x"), destination: "127.0.0.9", want: deny("default-deny:default/proxied"), why: "the plain case"},
		{name: "literal IPv6", to: "app", raw: do("GET", "http://[::1]:$P/x"), destination: "::1", want: allow(p("address")), why: "the plain case"},
		{name: "literal IPv6 at length", to: "app", raw: do("GET", "http://[0:0:0:0:0:0:0:1]:$P/x"), destination: "::1", want: allow(p("address")), why: "an address by any spelling"},
		{name: "name of an allowed address", to: "app", raw: do("GET", "http://other.test:$P/x"), destination: here, want: allow(p("address")), why: "looked up, since an address may allow it"},
		{name: "inside", to: "inner", raw: do("GET", "http://ok.test:$P/x"), destination: here, want: deny(q("inside")), why: "any name, no address of this machine"},
		{name: "inside localhost", to: "inner", raw: do("GET", "http://localhost:$P/x"), destination: here, want: deny(q("inside")), why: "the resolver knows it by itself"},
		{name: "inside below localhost", to: "inner", raw: do("GET", "http://a.localhost:$P/x"), destination: here, want: deny(q("inside")), why: "the same"},
		{name: "inside IPv6 name", to: "inner", raw: do("GET", "http://six.test:$P/x"), destination: "::1", want: deny(q("inside")), why: "the other family"},
		{name: "inside IPv6", to: "inner", raw: do("GET", "http://[::1]:$P/x"), destination: "::1", want: deny(q("inside")), why: "the other family"},
		{name: "inside IPv6 at length", to: "inner", raw: do("GET", "http://[0000::0:1]:$P/x"), destination: "::1", want: deny(q("inside")), why: "an address by any spelling"},
		{name: "inside mapped", to: "inner", raw: do("GET", "http://[::ffff:127.0.0.1]:$P/x"), want: deny("malformed-host"), why: "127.0.0.1 in the spelling that most lists forget"},
		{name: "inside mapped in hex", to: "inner", raw: do("CONNECT", "[::FFFF:7f00:1]:$P"), want: deny("malformed-host"), why: "the same"},
		{name: "inside compatible", to: "inner", raw: do("GET", "http://[::127.0.0.1]:$P/x"), want: deny("malformed-host"), why: "the same, obsolete"},
		{name: "inside zero", to: "inner", raw: do("GET", "http://0.0.0.0:$P/x"), destination: "0.0.0.0", want: deny(q("inside")), why: "this machine, to Linux"},
		{name: "inside zero by name", to: "inner", raw: do("GET", "http://zero.test:$P/x"), destination: "0.0.0.0", want: deny(q("inside")), why: "the same"},
		{name: "inside unspecified", to: "inner", raw: do("GET", "http://[::]:$P/x"), destination: "::", want: deny(q("inside")), why: "the same"},
		{name: "inside metadata", to: "inner", raw: do("GET", "http://link.test/x"), destination: "169.254.169.254", want: deny(q("inside")), why: "credentials of the cloud"},
		{name: "inside 127.1", to: "inner", raw: do("GET", "http://127.1:$P/x"), want: deny("malformed-host"), why: "127.0.0.1 to inet_aton"},
		{name: "inside hex", to: "inner", raw: do("GET", "http://0x7f000001:$P/x"), want: deny("malformed-host"), why: "the same"},
		{name: "inside octal", to: "inner", raw: do("GET", "http://0177.0.0.1:$P/x"), want: deny("malformed-host"), why: "the same"},
		{name: "inside decimal", to: "inner", raw: do("GET", "http://2130706433:$P/x"), want: deny("malformed-host"), why: "the same"},
		{name: "inside 0", to: "inner", raw: do("GET", "http://0:$P/x"), want: deny("malformed-host"), why: "the same"},

		// A target that is read in two ways.
		{name: "user", to: "app", raw: do("GET", "http://ok.test@127.0.9.9:$P/x"), asked: asked("127.0.9.9:$P"), destination: "127.0.9.9", want: deny(p("no-metadata")), why: "the host stands behind the @"},
		{name: "user and port", to: "app", raw: do("GET", "http://ok.test:80@127.0.9.9:$P/x"), asked: asked("127.0.9.9:$P"), destination: "127.0.9.9", want: deny(p("no-metadata")), why: "the same"},
		{name: "two users", to: "app", raw: do("GET", "http://a@ok.test@127.0.9.9:$P/x"), want: refused(400), why: "which?"},
		{name: "fragment and user", to: "app", raw: do("GET", "http://127.0.9.9:$P#@ok.test/x"), want: refused(400), why: "which?"},
		{name: "backslash and user", to: "app", raw: do("GET", `http://127.0.9.9:$P\@ok.test/x`), want: refused(400), why: "which?"},
		{name: "backslash", to: "app", raw: do("GET", `http://ok.test\.127.0.9.9:$P/x`), want: refused(400), why: "which?"},
		{name: "escaped dot", to: "app", raw: do("GET", "http://secret%2etest:$P/x"), want: refused(400), why: "no name"},
		{name: "query at once", to: "app", raw: do("GET", "http://ok.test:$P?/x"), want: refused(404), why: "no path"},
		{name: "CONNECT with a user", to: "app", raw: do("CONNECT", "tunnel.test@127.0.9.9:$P"), want: refused(400), why: "no authority"},
		{name: "CONNECT with a URL", to: "app", raw: do("CONNECT", "http://tunnel.test:$P"), want: refused(400), why: "no authority"},
		{name: "CONNECT without a port", to: "app", raw: do("CONNECT", "tunnel.test"), want: refused(400), why: "no port"},
		{name: "CONNECT port 0", to: "app", raw: do("CONNECT", "tunnel.test:0"), want: deny("malformed-host"), why: "no port"},

		// Ports.
		{name: "port", to: "app", raw: do("GET", "http://ok.test:25/x"), want: deny(p("no-smtp")), why: "the plain case"},
		{name: "port with zeros", to: "app", raw: do("GET", "http://ok.test:00025/x"), want: deny(p("no-smtp")), why: "the same number"},
		{name: "port that wraps", to: "app", raw: do("GET", "http://ok.test:65561/x"), want: refused(400), why: "25 in 16 bits"},
		{name: "port 0", to: "app", raw: do("GET", "http://ok.test:0/x"), want: deny("malformed-host"), why: "no port"},
		{name: "port missing", to: "app", raw: do("GET", "http://ok.test:/x"), want: refused(400), why: "no port"},
		{name: "port, CONNECT", to: "app", raw: do("CONNECT", "tunnel.test:25"), want: deny(p("no-smtp")), why: "the plain case"},

		// Layer 7 and tunnels.
		{name: "L7 Allow", to: "app", raw: do("GET", "http://get.test:$P/x"), destination: "127.0.2.2", want: allow(p("get")), why: "the plain case"},
		{name: "L7 Allow, other method", to: "app", raw: do("POST", "http://get.test:$P/x"), destination: "127.0.2.2", want: deny("default-deny:default/proxied"), why: "the plain case"},
		{name: "L7 Allow, CONNECT", to: "app", raw: do("CONNECT", "get.test:$P"), destination: "127.0.2.2", want: deny("default-deny:default/proxied"), why: "what is in a tunnel is not seen: nothing to allow it for"},
		{name: "L7 Deny", to: "app", raw: do("DELETE", "http://l7.test:$P/x"), want: deny(p("no-delete")), why: "the plain case"},
		{name: "L7 Deny, other method", to: "app", raw: do("GET", "http://l7.test:$P/x"), destination: here, want: allow(p("names")), why: "the plain case"},
		{name: "L7 Deny, CONNECT", to: "app", raw: do("CONNECT", "l7.test:$P"), want: deny(p("no-delete")), why: "it may be in the tunnel, so the rest of the rule decides"},
		{name: "L7 Deny with hosts, CONNECT", to: "app", raw: do("CONNECT", "ok.test:$P"), want: deny(p("no-admin")), why: "the same; the host is known"},
		{name: "CONNECT denied by domain", to: "app", raw: do("CONNECT", "Secret.test.:$P"), want: deny(p("no-secret")), why: "the plain case"},
		{name: "CONNECT denied by address", to: "app", raw: do("CONNECT", "127.0.9.9:$P"), destination: "127.0.9.9", want: deny(p("no-metadata")), why: "the plain case"},
		{name: "CONNECT not allowed", to: "app", raw: do("CONNECT", "127.0.0.9:$P"), destination: "127.0.0.9", want: deny("default-deny:default/proxied"), why: "the plain case"},
		{name: "CONNECT, h2", to: "app", h2: h2(":method", "CONNECT", ":authority", at("secret.test:$P")), want: deny(p("no-secret")), why: "the same in HTTP/2"},
		{name: "extended CONNECT", to: "app", h2: h2(":method", "CONNECT", ":scheme", "http", ":authority", at("ok.test:$P"), ":path", "/admin", ":protocol", "websocket"), asked: &policy.HTTPRequest{Method: "GET", Authority: at("ok.test:$P"), Path: "/admin"}, destination: here, want: deny(p("no-admin")), why: "a WebSocket: HTTP, with its path"},
		{name: "extended CONNECT of something", to: "app", h2: h2(":method", "CONNECT", ":scheme", "http", ":authority", at("l7.test:$P"), ":path", "/x", ":protocol", "bytestream"), want: deny(p("no-delete")), why: "a tunnel"},
	})
}

// TestTunnel: bytes go both ways through an allowed CONNECT, and none through a denied
// one, not even those that were sent right behind it.
func TestTunnel(t *testing.T) {
	l := start(t, proxyPolicies, proxyHosts)
	echo := newEcho(t)
	port := itoa(int(echo.addr.Port()))
	const early, late = "early: GET /admin HTTP/1.1\r\n\r\n", "late \x00\xff\r\n"
	open := func(t *testing.T, authority, id string) (net.Conn, *bufio.Reader, *http.Response) {
		t.Helper()
		conn := dial(t, netip.Addr{}, l.listener("app").Address)
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, "CONNECT "+authority+" HTTP/1.1\r\nHost: "+authority+"\r\nx-request-id: "+id+"\r\n\r\n"+early); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
		if err != nil {
			t.Fatal(err)
		}
		return conn, in, resp
	}
	t.Run("allowed", func(t *testing.T) {
		conn, in, resp := open(t, "Tunnel.test.:"+port, "row-tunnel-1")
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%d, want 200", resp.StatusCode)
		}
		if _, err := io.WriteString(conn, late); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(early+late))
		if _, err := io.ReadFull(in, got); err != nil || string(got) != early+late {
			t.Errorf("came back %q, %v; want %q", got, err, early+late)
		}
		_ = conn.Close()
		if d := l.shield.Decision(t, "row-tunnel-1"); d.Verdict != policy.Allowed || d.Reason != "namespace:default/proxied#names" || d.Destination != "127.0.0.1:"+port {
			t.Errorf("logged %+v", d)
		}
	})
	t.Run("denied", func(t *testing.T) {
		before := echo.accepted()
		_, _, resp := open(t, "secret.test:"+port, "row-tunnel-2")
		if told := xds.ReasonIn(resp.Header.Get(xds.ReasonHeader)); resp.StatusCode != http.StatusForbidden || told != "namespace:default/proxied#no-secret" {
			t.Errorf("%d %q", resp.StatusCode, told)
		}
		l.shield.Decision(t, "row-tunnel-2") // logged when Envoy is done with it
		if n := echo.accepted() - before; n != 0 {
			t.Errorf("%d connections were opened", n)
		}
	})
	t.Run("h2", func(t *testing.T) {
		conn := dial(t, netip.Addr{}, l.listener("app").Address)
		defer conn.Close()
		c := newH2(t, conn)
		c.headers(1, fields(":method", "CONNECT", ":authority", "tunnel.test:"+port, "x-request-id", "row-tunnel-3"), false)
		c.write(c.framer.WriteData(1, false, []byte(late)))
		got, status := "", ""
		for got != late {
			f, err := c.framer.ReadFrame()
			if err != nil {
				t.Fatalf("%v after %q", err, got)
			}
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				status = f.PseudoValue("status")
			case *http2.DataFrame:
				got += string(f.Data())
			case *http2.RSTStreamFrame:
				t.Fatalf("reset: %v", f.ErrCode)
			}
		}
		if status != "200" {
			t.Errorf("%s, want 200", status)
		}
	})
	l.stillServes()
}

// TestNotResolved: a name that the rules let through and that has no address is 503, and
// the log does not call that allowed.
func TestNotResolved(t *testing.T) {
	l := start(t, proxyPolicies, proxyHosts)
	for _, raw := range []string{
		"GET http://nowhere.test/x HTTP/1.1\r\nHost: nowhere.test\r\n\r\n",
		"CONNECT nowhere.test:443 HTTP/1.1\r\nHost: nowhere.test\r\n\r\n",
		"GET http://mapped.test/x HTTP/1.1\r\nHost: mapped.test\r\n\r\n", // an AAAA record of ::ffff:127.0.0.1
	} {
		r := row{to: "app", raw: raw}
		l.send(&r)
		d := l.decision(t, r.id)
		if r.resp.Status != http.StatusServiceUnavailable || d.Verdict != policy.Denied || d.Reason != string(policy.NotResolved) {
			t.Errorf("%q: %d, logged %s %s", raw, r.resp.Status, d.Verdict, d.Reason)
		}
	}
	l.stillServes()
}
