package hostile

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/envoytest"
)

const tcpPolicies = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: bytes, labels: {proto: tcp}}
spec: {inbound: [{port: 9001, address: $ADDR, upstream: $UP, protocol: TCP}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: t}
spec:
  selector: {matchLabels: {proto: tcp}}
  ingress:
  - {name: "no", action: Deny, from: [{cidrs: [127.0.0.8]}]}
  - {name: l7-no, action: Deny, from: [{cidrs: [127.0.0.9]}], http: [{paths: [{prefix: /admin}]}]}
  - {name: other-port, action: Deny, ports: [{port: 8080}], http: [{methods: [DELETE]}]}
  - {name: l7-yes, action: Allow, from: [{cidrs: [127.0.0.10]}], http: [{methods: [GET]}]}
  - {name: sni, action: Allow, from: [{cidrs: [127.0.0.11]}], tls: {serverNames: [ok.test]}}
  - {name: "yes", action: Allow, from: [{cidrs: [127.0.0.0/30, 127.0.0.12]}]}
`

// connection is a row for a listener that is not HTTP.
type connection struct {
	name, to, from string
	sni            string
	want
	why string
}

// TestTCP: a client that is denied gets nothing, not even the greeting of a workload that
// speaks first, and no connection is opened to the workload for it, whether it says
// something or not.
func TestTCP(t *testing.T) {
	l := &lab{T: t, shield: envoytest.Start(t), upstream: newUpstream(t), started: time.Now()}
	greeter := newGreeter(t)
	l.upstream.addr = greeter.addr
	l.apply(tcpPolicies)
	ok, no := func(rule string) want { return allow("namespace:default/t#" + rule) }, func(rule string) want { return deny("namespace:default/t#" + rule) }
	byDefault := deny("default-deny:default/t")
	rows := []connection{
		{name: "allowed", from: "127.0.0.1", want: ok("yes"), why: "the plain case"},
		{name: "denied", from: "127.0.0.8", want: no("no"), why: "the plain case"},
		{name: "L7 Deny", from: "127.0.0.9", want: no("l7-no"), why: "what it asks of HTTP may be in there: it matches on the rest"},
		{name: "L7 Allow", from: "127.0.0.10", want: byDefault, why: "what it asks of HTTP is not seen: it does not match"},
		{name: "SNI Allow", from: "127.0.0.11", want: byDefault, why: "nothing is read here"},
		{name: "not named", from: "127.0.0.77", want: byDefault, why: "the plain case"},
	}
	greet := func() {
		conn := dial(t, netip.MustParseAddr("127.0.0.1"), l.listener("bytes").Address)
		defer conn.Close()
		if _, err := io.ReadFull(conn, make([]byte, len(greeting))); err != nil {
			t.Fatalf("an allowed connection: %v", err)
		}
	}
	greet()
	before, allowed := greeter.n.Load(), int64(0)
	for _, r := range rows {
		for _, sends := range []string{"", "x", "GET / HTTP/1.1\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n", "PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n"} {
			t.Run(r.name+" "+strings.Fields(sends + " silent")[0], func(t *testing.T) {
				conn := dial(t, netip.MustParseAddr(r.from), l.listener("bytes").Address)
				defer conn.Close()
				source := conn.LocalAddr().String()
				_, _ = io.WriteString(conn, sends)
				got := make([]byte, len(greeting))
				n, err := io.ReadFull(conn, got)
				if r.verdict == policy.Allowed {
					if err != nil || string(got) != greeting {
						t.Errorf("the client got %q, %v, want the greeting: %s", got[:n], err, r.why)
					}
				} else if n != 0 || !closedByPeer(err) {
					t.Errorf("the client got %q, %v, want nothing and an end: %s", got[:n], err, r.why)
				}
				_ = conn.Close()
				l.judgeConnection(t, r, source)
			})
			if r.verdict == policy.Allowed {
				allowed++
			}
		}
	}
	greet() // connections are accepted in order, so all before this one are counted
	if got := greeter.n.Load() - before; got != allowed+1 {
		t.Errorf("%d connections were opened to the workload, for %d that were allowed", got-1, allowed)
	}
	l.stillServes()
}

// judgeConnection compares the log and Evaluate with what is right.
func (l *lab) judgeConnection(t *testing.T, r connection, source string) {
	t.Helper()
	to := l.listener(first(r.to, "bytes"))
	d := l.shield.Await(t, "connection from "+source, func(d decisions.Record) bool {
		return d.Source == source && strings.HasSuffix(d.Listener, "/"+to.Name)
	})
	if d.Verdict != r.verdict || d.Reason != r.reason {
		t.Errorf("Envoy logged %s %s, want %s %s: %s", d.Verdict, d.Reason, r.verdict, r.reason, r.why)
	}
	got := to.Evaluate(&policy.Request{Source: netip.MustParseAddrPort(source).Addr(), ServerName: r.sni})
	if got.Verdict != r.verdict || got.Reason.String() != r.reason {
		t.Errorf("Evaluate says %s %s, want %s %s: %s", got.Verdict, got.Reason, r.verdict, r.reason, r.why)
	}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// closedByPeer is an end that Envoy made, with FIN or RST, and not one of patience.
func closedByPeer(err error) bool {
	var timeout net.Error
	return err != nil && (!errors.As(err, &timeout) || !timeout.Timeout())
}

const greeting = "220 hello\r\n"

// greeter is a workload that speaks first, and counts connections.
type greeter struct {
	addr netip.AddrPort
	n    atomic.Int64
}

func newGreeter(t testing.TB) *greeter {
	t.Helper()
	ln := listen(t, "127.0.0.1:0")
	g := &greeter{addr: netip.MustParseAddrPort(ln.Addr().String())}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			g.n.Add(1)
			go func() {
				defer conn.Close()
				_, _ = io.WriteString(conn, greeting)
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}()
	return g
}

const tlsPolicies = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: allowing, labels: {sni: allow}}
spec: {inbound: [{port: 9443, address: $ADDR, upstream: $UP, protocol: TLS}]}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: denying, labels: {sni: deny}}
spec: {inbound: [{port: 9444, address: $ADDR, upstream: $UP, protocol: TLS}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: a}
spec:
  selector: {matchLabels: {sni: allow}}
  ingress:
  - {name: "no", action: Deny, tls: {serverNames: [evil.ok.test]}}
  - {name: "yes", action: Allow, tls: {serverNames: [ok.test, "*.ok.test", bücher.test]}}
  - {name: l7, action: Allow, http: [{hosts: [other.test]}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: d}
spec:
  selector: {matchLabels: {sni: deny}}
  ingress:
  - {name: "no", action: Deny, tls: {serverNames: [evil.test, "*.evil.test"]}}
  - {name: "yes", action: Allow}
`

func TestTLS(t *testing.T) {
	l := &lab{T: t, shield: envoytest.Start(t), upstream: newUpstream(t), started: time.Now()}
	var opened atomic.Int64
	server := httptest.NewUnstartedServer(nil)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	l.upstream.addr = netip.MustParseAddrPort(server.Listener.Addr().String())
	l.apply(tlsPolicies)
	a := func(rule string) string { return "namespace:default/a#" + rule }
	d := func(rule string) string { return "namespace:default/d#" + rule }
	byDefault := deny("default-deny:default/a")
	handshake := func(to, from, sni string) (string, error) {
		conn := dial(t, netip.MustParseAddr(from), l.listener(to).Address)
		defer conn.Close()
		return conn.LocalAddr().String(), tls.Client(conn, &tls.Config{ServerName: sni, InsecureSkipVerify: true}).Handshake()
	}
	// Connections are accepted in order, so after a handshake all before it are counted.
	count := func() int64 {
		if _, err := handshake("allowing", "127.0.0.1", "ok.test"); err != nil {
			t.Fatal(err)
		}
		return opened.Load()
	}
	before, allowed := count(), int64(0)
	for _, r := range []connection{
		{name: "exact", to: "allowing", sni: "ok.test", want: allow(a("yes")), why: "the plain case"},
		{name: "wildcard", to: "allowing", sni: "a.b.ok.test", want: allow(a("yes")), why: "any depth"},
		{name: "capitals", to: "allowing", sni: "OK.Test", want: allow(a("yes")), why: "names have no case"},
		{name: "IDN", to: "allowing", sni: "xn--bcher-kva.test", want: allow(a("yes")), why: "punycode on the wire"},
		{name: "denied", to: "allowing", sni: "evil.ok.test", want: deny(a("no")), why: "before what a wildcard allows"},
		{name: "denied in capitals", to: "allowing", sni: "EVIL.ok.TEST", want: deny(a("no")), why: "names have no case"},
		{name: "other", to: "allowing", sni: "other.test", want: byDefault, why: "the plain case"},
		{name: "suffix of letters", to: "allowing", sni: "notok.test", want: byDefault, why: "no label"},
		{name: "absent", to: "allowing", want: byDefault, why: "no name is none of them"},
		{name: "absent, denying", to: "denying", want: allow(d("yes")), why: "so a Deny does not match either: allow by name instead"},
		{name: "deny-list", to: "denying", sni: "evil.test", want: deny(d("no")), why: "the plain case"},
		{name: "deny-list, other", to: "denying", sni: "ok.test", want: allow(d("yes")), why: "the plain case"},
		{name: "deny-list, wildcard in capitals", to: "denying", sni: "A.Evil.Test", want: deny(d("no")), why: "names have no case"},
	} {
		t.Run(r.name, func(t *testing.T) {
			source, err := handshake(r.to, "127.0.0.1", r.sni)
			if (err == nil) != (r.verdict == policy.Allowed) {
				t.Errorf("handshake: %v: %s", err, r.why)
			}
			if r.verdict == policy.Allowed {
				allowed++
			}
			l.judgeConnection(t, r, source)
		})
	}

	if got := count() - before - 1; got != allowed {
		t.Errorf("%d connections were opened to the workload, for %d that were allowed", got, allowed)
	}

	// A ClientHello as no honest client cuts or writes it.
	hello := func(name string) []byte { return clientHello(t, name) }
	record := func(b []byte) []byte { return append([]byte{22, 3, 1, byte(len(b) >> 8), byte(len(b))}, b...) }
	evil := hello("evil.test")
	for _, r := range []struct {
		connection
		parts [][]byte
	}{
		{connection{name: "in two segments", to: "denying", sni: "evil.test", want: deny(d("no")), why: "it is waited for"}, [][]byte{evil[:40], evil[40:]}},
		{connection{name: "octet by octet", to: "denying", sni: "evil.test", want: deny(d("no")), why: "the same"}, split(evil, 1)},
		{connection{name: "in two records", to: "denying", sni: "evil.test", want: deny(d("no")), why: "TLS may cut it where it likes"}, [][]byte{record(evil[5:60]), record(evil[60:])}},
		{connection{name: "in many records", to: "denying", sni: "evil.test", want: deny(d("no")), why: "the same"}, records(evil[5:], 7, record)},
		{connection{name: "no TLS", to: "allowing", want: byDefault, why: "no name"}, [][]byte{[]byte("GET / HTTP/1.1\r\nHost: ok.test\r\n\r\n")}},
		{connection{name: "no TLS, denying", to: "denying", want: allow(d("yes")), why: "no name that is denied; the workload's TLS refuses it"}, [][]byte{[]byte("GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n")}},
		{connection{name: "trailing dot", to: "denying", sni: "evil.test.", want: deny("malformed-host"), why: "evil.test to many servers, though RFC 6066 forbids it"}, [][]byte{bytes.Replace(hello("evil.test-"), []byte("evil.test-"), []byte("evil.test."), 1)}},
	} {
		t.Run(r.name, func(t *testing.T) {
			conn := dial(t, netip.MustParseAddr("127.0.0.1"), l.listener(r.to).Address)
			defer conn.Close()
			source := conn.LocalAddr().String()
			for _, p := range r.parts {
				if _, err := conn.Write(p); err != nil {
					break
				}
			}
			// Whatever comes, it ends: the server waits for the rest of a handshake
			// that it can make nothing of, so the client hangs up.
			if r.verdict == policy.Denied {
				if n, err := conn.Read(make([]byte, 1)); n != 0 || !closedByPeer(err) {
					t.Errorf("the client got %d octets, %v: %s", n, err, r.why)
				}
			} else if _, err := conn.Read(make([]byte, 1)); err != nil && !closedByPeer(err) {
				t.Errorf("no answer: %v: %s", err, r.why)
			}
			_ = conn.Close()
			l.judgeConnection(t, r.connection, source)
		})
	}
	t.Run("with a NUL", func(t *testing.T) {
		// ok.test in C. Some Envoys end such a connection themselves, and log nothing.
		conn := dial(t, netip.Addr{}, l.listener("allowing").Address)
		defer conn.Close()
		_, _ = conn.Write(bytes.Replace(hello("ok.test-evil"), []byte("ok.test-"), []byte("ok.test\x00"), 1))
		if n, err := conn.Read(make([]byte, 1)); n != 0 || !closedByPeer(err) {
			t.Errorf("the client got %d octets, %v", n, err)
		}
	})
	l.stillServes()
}

// clientHello is what a client sends first, in one record.
func clientHello(t *testing.T, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	go func() { _ = tls.Client(client, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake() }()
	_ = server.SetDeadline(time.Now().Add(envoytest.Patience))
	head := make([]byte, 5)
	if _, err := io.ReadFull(server, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(server, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

func split(b []byte, n int) [][]byte {
	var out [][]byte
	for len(b) > 0 {
		k := min(n, len(b))
		out, b = append(out, b[:k]), b[k:]
	}
	return out
}

func records(b []byte, n int, record func([]byte) []byte) [][]byte {
	var out [][]byte
	for _, p := range split(b, n) {
		out = append(out, record(p))
	}
	return out
}
