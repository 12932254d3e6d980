package dns

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// closedPort is one that nobody listens on.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

// TestUpstreamDown: the next one answers, the one that is down is left alone, and found
// again when it is back.
func TestUpstreamDown(t *testing.T) {
	silent := rawUpstream(t, func([]byte) []byte { return nil })
	refusing := &upstreamServer{addr: closedPort(t)}
	failing := serve(t, func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(reply(q, dns.RcodeServerFailure)) })
	fine := serve(t, says("{} 0 A 1.2.3.4"))
	for name, down := range map[string]*upstreamServer{"silent": silent, "nobody listens": refusing, "SERVFAIL": failing} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, Config{Attempt: 300 * time.Millisecond, Timeout: 10 * time.Second}, down, fine)
			for range 5 {
				if got := l.ask("a.example.", dns.TypeA); got != "NOERROR A 1.2.3.4" {
					t.Error(got)
				}
			}
			s := l.r.Stats().Upstreams
			if name != "SERVFAIL" && (!s[0].Down || s[0].Asked >= 5) {
				t.Errorf("it is asked again and again: %+v", s[0])
			}
			if s[1].Down || s[1].Asked != 5 || s[1].Total == 0 {
				t.Errorf("the one that answers: %+v", s[1])
			}
		})
	}
	t.Run("all", func(t *testing.T) {
		l := newLab(t, Config{Attempt: 50 * time.Millisecond, Timeout: 300 * time.Millisecond}, silent, refusing)
		if got := l.ask("a.example.", dns.TypeA); got != `SERVFAIL EDE 22 "no resolver of this network gave an answer"` {
			t.Error(got)
		}
		if s := l.r.Stats(); s.Failed != 1 || s.Flights != 0 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("back again", func(t *testing.T) {
		var away atomic.Bool
		away.Store(true)
		first := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
			if !away.Load() {
				says("{} 0 A 1.1.1.1")(w, q)
			}
		})
		l := newLab(t, Config{Attempt: 50 * time.Millisecond, Timeout: 10 * time.Second}, first, fine)
		for range 3 {
			l.ask("a.example.", dns.TypeA)
		}
		away.Store(false)
		wait(t, "it is asked again", func() bool { return l.ask("a.example.", dns.TypeA) == "NOERROR A 1.1.1.1" })
	})
}

// TestRcodesOfUpstreams: what only one upstream will not answer the next is asked for, and
// what none will the client is told.
func TestRcodesOfUpstreams(t *testing.T) {
	refuses := func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(reply(q, dns.RcodeRefused)) }
	l := newLab(t, Config{}, serve(t, refuses), serve(t, refuses))
	if got := l.ask("a.example.", dns.TypeA); got != "REFUSED" {
		t.Error(got)
	}
	// One that knows no EDNS is asked without.
	l = newLab(t, Config{}, serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if q.IsEdns0() != nil {
			q.Extra = nil
			_ = w.WriteMsg(reply(q, dns.RcodeFormatError))
			return
		}
		says("{} 60 A 1.2.3.4")(w, q)
	}))
	if got := l.ask("a.example.", dns.TypeA); got != "NOERROR A 1.2.3.4" {
		t.Error(got)
	}
}

// TestStale: when no upstream answers, the last good answer stands (RFC 8767), but not
// against the feeds, and not for ever.
func TestStale(t *testing.T) {
	var away atomic.Bool
	up := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if !away.Load() {
			says("{} 1 A 1.2.3.4")(w, q)
		}
	})
	e := engine(t)
	for _, never := range []bool{false, true} {
		away.Store(false)
		e.Swap(lists(t))
		c := Config{Engine: e, Attempt: 300 * time.Millisecond, Timeout: 2 * time.Second}
		if never {
			c.Stale = -1
		}
		l := newLab(t, c, up)
		if got := l.ask("a.example.", dns.TypeA); got != "NOERROR A 1.2.3.4" {
			t.Fatal(got)
		}
		away.Store(true)
		if never {
			wait(t, "the answer ends", func() bool { return strings.HasPrefix(l.ask("a.example.", dns.TypeA), "SERVFAIL") })
			continue
		}
		wait(t, "a stale answer", func() bool { return l.ask("a.example.", dns.TypeA) == `NOERROR A 1.2.3.4 EDE 3 ""` })
		if m := l.exchange("udp", question("a.example.", dns.TypeA)); m.Answer[0].Header().Ttl != 30 {
			t.Errorf("%s", m)
		}
		e.Swap(lists(t, "evil Deny 1.2.3.4/32"))
		if got := l.ask("a.example.", dns.TypeA); !strings.HasPrefix(got, "NXDOMAIN") {
			t.Error(got)
		}
		if s := l.r.Stats(); s.Stale < 2 {
			t.Errorf("%+v", s)
		}
	}
}

// TestNeverAsksItself, which would be asking for ever.
func TestNeverAsksItself(t *testing.T) {
	pc, tcp := bothPorts(t)
	own := netip.MustParseAddrPort(pc.LocalAddr().String())
	_, _ = pc.Close(), tcp.Close()
	for _, a := range []netip.AddrPort{own, netip.AddrPortFrom(netip.MustParseAddr("::ffff:127.0.0.1"), own.Port())} {
		r, err := New(Config{Engine: engine(t), Listen: []netip.AddrPort{own}, Upstreams: []Upstream{{Addr: a}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "this resolver itself") {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// pki makes a CA and a certificate for a name.
func pki(t *testing.T, name string) (cert tls.Certificate, ca string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, DNSNames: []string{name},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, ca
}

// counting counts the connections it accepts.
type counting struct {
	net.Listener
	n atomic.Int32
}

func (c *counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

// TestDNSOverTLSUpstream: verified by name, and one connection for many questions, whose
// answers may come in any order.
func TestDNSOverTLSUpstream(t *testing.T) {
	cert, ca := pki(t, "dns.example")
	inner, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	listener := &counting{Listener: inner}
	release := make(chan struct{})
	run(t, &dns.Server{Listener: listener, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if strings.HasPrefix(strings.ToLower(q.Question[0].Name), "slow") {
			go func() { <-release; says("{} 60 A 1.2.3.4")(w, q) }()
			return
		}
		says("{} 60 A 1.2.3.4")(w, q)
	})})
	parse := func(s string) Upstream {
		u, err := ParseUpstream("tls://" + inner.Addr().String() + s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	l := newLab(t, Config{Upstreams: []Upstream{parse("?name=dns.example&ca=" + ca)}})
	var slow sync.WaitGroup
	slow.Go(func() { l.ask("slow.example.", dns.TypeA) })
	wait(t, "the slow one waits", func() bool { return l.r.Stats().Flights == 1 })
	for _, name := range []string{"a.example.", "b.example.", "c.example."} {
		if got := l.ask(name, dns.TypeA); got != "NOERROR A 1.2.3.4" {
			t.Error(got)
		}
	}
	close(release)
	slow.Wait()
	if n := listener.n.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	for _, wrong := range []string{"?name=other.example&ca=" + ca, "?ca=" + ca, "?name=dns.example"} {
		l := newLab(t, Config{Attempt: time.Second, Timeout: 5 * time.Second, Upstreams: []Upstream{parse(wrong)}})
		if got := l.ask("a.example.", dns.TypeA); !strings.HasPrefix(got, "SERVFAIL") {
			t.Errorf("%s: %s", wrong, got)
		}
	}
}

// TestConnectionThatEnds: a server may close a connection when it likes; the question that
// was under way is asked again.
func TestConnectionThatEnds(t *testing.T) {
	var n atomic.Int32
	up := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if n.Add(1) == 2 {
			_ = w.Close()
			return
		}
		says("{} 0 A 1.2.3.4")(w, q)
	})
	l := newLab(t, Config{Upstreams: []Upstream{{Addr: up.addr, Network: TCP}}})
	for range 3 {
		if got := l.ask("a.example.", dns.TypeA); got != "NOERROR A 1.2.3.4" {
			t.Error(got)
		}
	}
	if n.Load() != 4 || l.r.Stats().Upstreams[0].Failures != 0 {
		t.Errorf("asked %d times, failures %d", n.Load(), l.r.Stats().Upstreams[0].Failures)
	}
}

func TestParseUpstream(t *testing.T) {
	_, ca := pki(t, "x")
	for in, want := range map[string]string{
		"192.0.2.1":                        "udp://192.0.2.1:53",
		"192.0.2.1:5353":                   "udp://192.0.2.1:5353",
		"2001:db8::1":                      "udp://[2001:db8::1]:53",
		"udp://[2001:db8::1]":              "udp://[2001:db8::1]:53",
		"tcp://192.0.2.1":                  "tcp://192.0.2.1:53",
		"tls://9.9.9.9?name=dns.example":   "tls://9.9.9.9:853?name=dns.example",
		"tls://9.9.9.9?ca=" + ca:           "tls://9.9.9.9:853?ca=" + ca,
		"tls://9.9.9.9:8853":               "tls://9.9.9.9:8853",
		"dns.example":                      `upstream "dns.example": "dns.example" is no address, with or without a port`,
		"https://9.9.9.9/dns-query":        `upstream "https://9.9.9.9/dns-query": the scheme is "https"; it can be udp, tcp or tls`,
		"9.9.9.9?name=x":                   `upstream "9.9.9.9?name=x": only tls:// takes name= and ca=, each once`,
		"tls://9.9.9.9?nane=x":             `upstream "tls://9.9.9.9?nane=x": "nane" is not known; it can be name or ca`,
		"0.0.0.0":                          `upstream "0.0.0.0": 0.0.0.0:53 is nothing that can be asked`,
		"192.0.2.1:0":                      `upstream "192.0.2.1:0": 192.0.2.1:0 is nothing that can be asked`,
		"tls://9.9.9.9?ca=/does/not/exist": `upstream "tls://9.9.9.9?ca=/does/not/exist": stat /does/not/exist: no such file or directory`,
	} {
		u, err := ParseUpstream(in)
		got := u.String()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// TestFloodOfFailuresCountsOnce: when an upstream goes away, all that was under way fails;
// that is no reason to leave it alone for the longest time there is.
func TestFloodOfFailuresCountsOnce(t *testing.T) {
	r, err := New(Config{Engine: engine(t)})
	if err != nil {
		t.Fatal(err)
	}
	u := r.newUpstream(Upstream{})
	for range 100 {
		u.fail(10*time.Second, 11*time.Second, "")
	}
	if u.down(11 * time.Second) {
		t.Error("down after one failure")
	}
	u.fail(12*time.Second, 13*time.Second, "")
	if !u.down(13*time.Second) || u.down(14*time.Second) {
		t.Errorf("down until %s after two", time.Duration(u.downUntil.Load()))
	}
	u.ok(0)
	if u.down(13 * time.Second) {
		t.Error("down although it answers")
	}
}

// TestPortsAndIDs: an answer is guessed only by who guesses port and id, so neither may
// stand still.
func TestPortsAndIDs(t *testing.T) {
	var mu sync.Mutex
	ports, ids := map[string]bool{}, map[uint16]bool{}
	up := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		mu.Lock()
		ports[w.RemoteAddr().String()], ids[q.Id] = true, true
		mu.Unlock()
		says("{} 0 A 1.2.3.4")(w, q)
	})
	l := newLab(t, Config{}, up)
	for range 64 {
		l.ask("a.example.", dns.TypeA)
	}
	mu.Lock()
	if len(ports) < 4 || len(ids) < 60 {
		t.Errorf("%d ports, %d ids for 64 questions", len(ports), len(ids))
	}
	mu.Unlock()
	// A socket that was used enough is replaced, and closed when nothing waits for it.
	u := l.r.group.Load().list[0]
	before := u.pool.sockets(nil)
	for _, s := range before {
		s.mu.Lock()
		s.uses = socketUses
		s.mu.Unlock()
	}
	for range 64 {
		l.ask("a.example.", dns.TypeA)
	}
	for _, s := range before {
		wait(t, "old sockets are closed", func() bool {
			u.pool.sockets(nil)
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.closed
		})
	}
}

// TestControl: every socket to an upstream is shown to the caller before it is used.
func TestControl(t *testing.T) {
	up := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := reply(q, 0, "{} 60 A 1.2.3.4")
		m.Truncated = w.LocalAddr().Network() == "udp"
		_ = w.WriteMsg(m)
	})
	var mu sync.Mutex
	seen := map[string]bool{}
	l := newLab(t, Config{Control: func(network, _ string, _ syscall.RawConn) error {
		mu.Lock()
		defer mu.Unlock()
		seen[network] = true
		return nil
	}}, up)
	if got := l.ask("a.example.", dns.TypeA); got != "NOERROR A 1.2.3.4" {
		t.Error(got)
	}
	mu.Lock()
	defer mu.Unlock()
	if !seen["udp4"] || !seen["tcp4"] {
		t.Errorf("%v", seen)
	}
}
