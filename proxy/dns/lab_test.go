package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/proxy/filter"
)

// lists makes a snapshot. Each list is a feed, "NAME ACTION entry entry…", and its entries
// are in lines 1, 2, ….
func lists(t testing.TB, lists ...string) *snapshot.Snapshot {
	t.Helper()
	var feeds []snapshot.Feed
	for _, l := range lists {
		w := strings.Fields(l)
		feeds = append(feeds, snapshot.Feed{Name: w[0], Action: w[1], Direction: "Both", Loaded: true})
	}
	b, err := snapshot.NewBuilder(feeds, snapshot.KeyOf(feeds))
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range lists {
		for j, e := range strings.Fields(l)[2:] {
			line := uint32(j + 1)
			if p, perr := netip.ParsePrefix(e); perr == nil {
				err = b.AddPrefix(i, p, line)
			} else {
				err = b.AddDomain(i, []byte(e), snapshot.Self|snapshot.Below, line)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "snapshot")
	if _, err := snapshot.Save(path, b); err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func engine(t testing.TB, all ...string) *filter.Engine {
	e := &filter.Engine{}
	e.Swap(lists(t, all...))
	return e
}

// upstreamServer is a real server on loopback that answers as it is told.
type upstreamServer struct {
	addr netip.AddrPort

	mu   sync.Mutex
	seen []*dns.Msg
	tcp  int // of them, over TCP
}

type handler func(w dns.ResponseWriter, q *dns.Msg)

func (u *upstreamServer) asked() (n, tcp int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.seen), u.tcp
}

func (u *upstreamServer) last() *dns.Msg {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.seen[len(u.seen)-1]
}

// serve starts one, over UDP and TCP.
func serve(t testing.TB, h handler) *upstreamServer {
	t.Helper()
	pc, l := bothPorts(t)
	u := &upstreamServer{addr: netip.MustParseAddrPort(pc.LocalAddr().String())}
	run(t, &dns.Server{PacketConn: pc, Handler: u.handler(h)})
	run(t, &dns.Server{Listener: l, Handler: u.handler(h)})
	return u
}

// bothPorts listens on a port that is free for UDP and TCP.
func bothPorts(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for try := 0; ; try++ {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, l
		}
		_ = pc.Close()
		if try == anyPort {
			t.Fatal(err)
		}
	}
}

func (u *upstreamServer) handler(h handler) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		u.mu.Lock()
		u.seen = append(u.seen, q)
		if w.LocalAddr().Network() == "tcp" {
			u.tcp++
		}
		u.mu.Unlock()
		h(w, q)
	})
}

func run(t testing.TB, s *dns.Server) {
	t.Helper()
	up := make(chan struct{})
	s.NotifyStartedFunc = func() { close(up) }
	go func() { _ = s.ActivateAndServe() }()
	<-up
	t.Cleanup(func() { _ = s.Shutdown() })
}

// says answers with records in zone file syntax; {} is the name of the question as it came.
func says(records ...string) handler {
	return func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(reply(q, dns.RcodeSuccess, records...)) }
}

// reply makes an answer. A record that begins with ! belongs to the authority section, one
// with + to the additional one.
func reply(q *dns.Msg, rcode int, records ...string) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(q, rcode)
	m.Compress = true
	for _, s := range records {
		section := &m.Answer
		switch s[0] {
		case '!':
			section, s = &m.Ns, s[1:]
		case '+':
			section, s = &m.Extra, s[1:]
		}
		rr, err := dns.NewRR(strings.ReplaceAll(s, "{}", q.Question[0].Name))
		if err != nil {
			panic(err)
		}
		*section = append(*section, rr)
	}
	if o := q.IsEdns0(); o != nil {
		m.SetEdns0(4096, o.Do())
	}
	return m
}

// lab is a Resolver that runs, its upstreams, and what it decided.
type lab struct {
	t    testing.TB
	r    *Resolver
	at   string
	stop func() // and wait

	mu      sync.Mutex
	decided []string
}

// newLab starts a resolver. Nothing it starts may be left when the test ends.
func newLab(t testing.TB, c Config, upstreams ...*upstreamServer) *lab {
	t.Helper()
	l := &lab{t: t}
	for _, u := range upstreams {
		c.Upstreams = append(c.Upstreams, Upstream{Addr: u.addr})
	}
	if c.Engine == nil {
		c.Engine = engine(t)
	}
	if c.Listen == nil {
		c.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	}
	if c.ResolvConf == "" {
		c.ResolvConf = filepath.Join(t.TempDir(), "none")
	}
	if c.Timeout == 0 && c.Attempt == 0 {
		c.Attempt, c.Timeout = 5*time.Second, 20*time.Second // a busy machine is not a failure
	}
	if testing.Verbose() && c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	c.Decided = func(d Decision) {
		l.mu.Lock()
		defer l.mu.Unlock()
		s := fmt.Sprintf("%s %s %s %s %s", d.Action, d.Name, dns.TypeToString[d.Type], d.Reason, dns.RcodeToString[int(d.Rcode)])
		if d.Via != "" {
			s += " via " + d.Via
		}
		if d.Addr.IsValid() {
			s += " at " + d.Addr.String()
		}
		if e := d.Verdict.Entry(); e != "" {
			s += fmt.Sprintf(" line %d %s", d.Verdict.Line, e)
		}
		if !d.Client.IsValid() || d.Time.IsZero() {
			s += " without client or time"
		}
		l.decided = append(l.decided, s)
	}
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := r.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	l.r, l.at = r, addrs[0].String()
	l.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run does not end")
		}
	})
	t.Cleanup(func() { l.stop() })
	return l
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// question makes one with EDNS.
func question(name string, qtype uint16) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	q.SetEdns0(1232, false)
	return q
}

func (l *lab) exchange(network string, q *dns.Msg) *dns.Msg {
	l.t.Helper()
	c := dns.Client{Net: network, Timeout: 30 * time.Second, UDPSize: 4096}
	m, _, err := c.Exchange(q, l.at)
	if err != nil {
		l.t.Fatalf("%s: %v", q.Question[0].Name, err)
	}
	if m.Id != q.Id || !m.Response || len(m.Question) > 0 && m.Question[0] != q.Question[0] {
		l.t.Errorf("%s: the answer is to something else: %s", q.Question[0].Name, m)
	}
	return m
}

// ask asks over UDP and says what came in one line.
func (l *lab) ask(name string, qtype uint16) string {
	l.t.Helper()
	return line(l.exchange("udp", question(name, qtype)))
}

// line is an answer as rows of tests write it.
func line(m *dns.Msg) string {
	s := dns.RcodeToString[m.Rcode]
	if m.Truncated {
		s += " TC"
	}
	for _, rr := range m.Answer {
		h := rr.Header()
		s += fmt.Sprintf(" %s %s", dns.TypeToString[h.Rrtype], strings.ReplaceAll(strings.TrimPrefix(rr.String(), h.String()), "\t", " "))
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			s += fmt.Sprintf(" SOA %d %d", soa.Hdr.Ttl, soa.Minttl)
		}
	}
	if o := m.IsEdns0(); o != nil {
		for _, x := range o.Option {
			if e, ok := x.(*dns.EDNS0_EDE); ok {
				s += fmt.Sprintf(" EDE %d %q", e.InfoCode, e.ExtraText)
			}
		}
	}
	return s
}

// decisions takes what was decided since it was last asked.
func (l *lab) decisions() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.decided
	l.decided = nil
	return d
}

// wait waits until something is so.
func wait(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
