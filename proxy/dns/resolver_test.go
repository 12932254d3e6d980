package dns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"pavise.dev/pavise/proxy/filter"
)

// TestBlockedNames: in each of the ways, with and without EDNS, over UDP and TCP.
func TestBlockedNames(t *testing.T) {
	up := serve(t, says("{} 60 A 1.2.3.4"))
	e := engine(t, "evil Deny other.example bad.example", "watch Alert seen.example")
	ede := ` EDE 15 "feed evil line 2"`
	for _, c := range []struct {
		how    Blocked
		qtype  uint16
		want   string
		answer string
	}{
		{NXDomain, dns.TypeA, "NXDOMAIN SOA 10 10", ""},
		{Refuse, dns.TypeA, "REFUSED", ""},
		{Sinkhole, dns.TypeA, "NOERROR A 192.0.2.53", ""},
		{Sinkhole, dns.TypeAAAA, "NOERROR AAAA 2001:db8::53", ""},
		{Sinkhole, dns.TypeTXT, "NOERROR SOA 10 10", ""},
	} {
		l := newLab(t, Config{Engine: e, Blocked: c.how, Sinkhole4: netip.MustParseAddr("192.0.2.53"), Sinkhole6: netip.MustParseAddr("2001:db8::53")}, up)
		for _, network := range []string{"udp", "tcp"} {
			q := question("WWW.Bad.Example.", c.qtype)
			if got := line(l.exchange(network, q)); got != c.want+ede {
				t.Errorf("%s, want %s", got, c.want+ede)
			}
			q.Extra = nil
			m := l.exchange(network, q)
			if got := line(m); got != c.want || m.IsEdns0() != nil {
				t.Errorf("without EDNS: %s, want %s", got, c.want)
			}
		}
		want := fmt.Sprintf("deny www.bad.example %s feed:evil %s line 2 bad.example", dns.TypeToString[c.qtype], strings.Fields(c.want)[0])
		if d := l.decisions(); len(d) != 4 || d[0] != want {
			t.Errorf("decided %q, want %q", d, want)
		}
		wait(t, "all is counted", func() bool {
			s := l.r.Stats()
			return s.Blocked == 4 && s.UDP == 2 && s.TCP == 2 && s.Forwarded == 0
		})
	}
	if n, _ := up.asked(); n != 0 {
		t.Errorf("the upstream was told of %d blocked names", n)
	}
	l := newLab(t, Config{Engine: e}, up)
	if got := l.ask("seen.example.", dns.TypeA); got != "NOERROR A 1.2.3.4" {
		t.Error(got)
	}
	if d := l.decisions(); len(d) != 1 || d[0] != "alert seen.example A feed:watch NOERROR line 1 seen.example" {
		t.Errorf("%q", d)
	}
}

// TestDecisionsAreCopies: what is told of one question is not overwritten by the next.
func TestDecisionsAreCopies(t *testing.T) {
	l := newLab(t, Config{Engine: engine(t, "evil Deny bad.example")}, serve(t, says()))
	w := l.r.newWorker(1)
	w.ask.peer, w.ask.udp = netip.MustParseAddrPort("127.0.0.1:1"), l.r.packets[0]
	var kept []Decision
	l.r.c.Decided = func(d Decision) { kept = append(kept, d) }
	for _, name := range []string{"first.bad.example.", "other.bad.example."} {
		p, _ := question(name, dns.TypeA).Pack()
		w.handle(p, nil)
	}
	if kept[0].Name != "first.bad.example" || kept[0].Verdict.Domain != "bad.example" || kept[1].Name != "other.bad.example" {
		t.Errorf("%+v", kept)
	}
}

// TestFeedsThatAreNotThere: what an engine without feeds denies is denied here, and said.
func TestFeedsThatAreNotThere(t *testing.T) {
	l := newLab(t, Config{Engine: &filter.Engine{Missing: filter.Closed}}, serve(t, says("{} 60 A 1.2.3.4")))
	if got := l.ask("a.example.", dns.TypeA); got != `NXDOMAIN SOA 10 10 EDE 15 "no feeds were loaded yet"` {
		t.Error(got)
	}
	l.r.c.Engine.Swap(lists(t))
	if got := l.ask("a.example.", dns.TypeA); got != "NOERROR A 1.2.3.4" {
		t.Error(got)
	}
}

// TestSwapJudgesKeptAnswersAgain: an answer in the cache must not outlive what the feeds
// think of it, in either direction.
func TestSwapJudgesKeptAnswersAgain(t *testing.T) {
	up := serve(t, says("{} 60 CNAME c.example.", "c.example. 60 A 1.2.3.4"))
	e := engine(t)
	l := newLab(t, Config{Engine: e}, up)
	ok := "NOERROR CNAME c.example. A 1.2.3.4"
	for _, c := range []struct{ feed, want string }{
		{"f Deny none.example", ok},
		{"f Deny a.example", `NXDOMAIN SOA 10 10 EDE 15 "feed f line 1"`},
		{"f Deny c.example", `NXDOMAIN SOA 10 10 EDE 15 "feed f line 1"`},
		{"f Deny 1.2.3.0/24", `NXDOMAIN SOA 10 10 EDE 15 "feed f line 1"`},
		{"f Alert 1.2.3.0/24", ok},
		{"f Deny none.example", ok},
	} {
		e.Swap(lists(t, c.feed))
		for range 2 {
			if got := l.ask("a.example.", dns.TypeA); got != c.want {
				t.Errorf("%s: %s, want %s", c.feed, got, c.want)
			}
		}
	}
	if n, _ := up.asked(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// learned notes what Names is told, in order.
type learned struct {
	mu  sync.Mutex
	all []string
}

func (l *learned) Learn(addr netip.Addr, name string, ttl time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, fmt.Sprintf("%s %s %d", addr, name, ttl/time.Second))
}

// TestNamesAreLearned before the answer leaves, the name that was asked for first, and
// nothing of what is denied.
func TestNamesAreLearned(t *testing.T) {
	n := &learned{}
	l := newLab(t, Config{Names: n, Engine: engine(t, "evil Deny bad.example 5.5.5.5/32")}, serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if strings.HasPrefix(strings.ToLower(q.Question[0].Name), "evil") {
			says("{} 60 A 5.5.5.5", "{} 60 A 1.2.3.9")(w, q)
			return
		}
		says("{} 60 CNAME b.example.", "b.example. 600 CNAME c.example.", "c.example. 60 AAAA ::ffff:1.2.3.4", "c.example. 60 A 1.2.3.5", "+x.example. 60 A 9.9.9.9")(w, q)
	}))
	l.ask("Evil.example.", dns.TypeA)
	l.ask("bad.example.", dns.TypeA)
	l.ask("A.example.", dns.TypeA)
	n.mu.Lock()
	defer n.mu.Unlock()
	want := "1.2.3.4 a.example 60, 1.2.3.4 b.example 60, 1.2.3.4 c.example 60, 1.2.3.5 a.example 60, 1.2.3.5 b.example 60, 1.2.3.5 c.example 60"
	if got := strings.Join(n.all, ", "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestLimitPerClient: who asks too much is told so, others are answered.
func TestLimitPerClient(t *testing.T) {
	l := newLab(t, Config{PerClient: 1, Burst: 3, Engine: engine(t, "evil Deny bad.example")}, serve(t, says()))
	got := map[string]int{}
	for range 10 {
		got[strings.Fields(l.ask("bad.example.", dns.TypeA))[0]]++
	}
	if got["NXDOMAIN"] < 3 || got["REFUSED"] < 5 || l.r.Stats().Limited != uint64(got["REFUSED"]) {
		t.Errorf("%v", got)
	}
	var lim *limiter
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for {
		lim = newLimiter(10, 2)
		if lim.allow(a, 1) && lim.allow(b, 1) && lim.allow(a, 1) && lim.allow(b, 1) {
			break // they share no bucket
		}
	}
	if lim.allow(a, 1) || lim.allow(a, 99*time.Millisecond) || !lim.allow(a, 101*time.Millisecond) || lim.allow(a, 102*time.Millisecond) {
		t.Error("the bucket does not fill at its rate")
	}
}

// TestFlightsAreBounded: a client that asks for ever new names holds no more than that.
func TestFlightsAreBounded(t *testing.T) {
	release := make(chan struct{})
	up := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		<-release
		says("{} 60 A 1.2.3.4")(w, q)
	})
	l := newLab(t, Config{MaxFlights: 2}, up)
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() { l.ask(fmt.Sprintf("n%d.example.", i), dns.TypeA) })
	}
	wait(t, "two wait", func() bool { return l.r.Stats().Flights == 2 })
	if got := l.ask("n3.example.", dns.TypeA); got != `SERVFAIL EDE 0 "too many questions wait for an answer"` {
		t.Error(got)
	}
	close(release)
	wg.Wait()
	if got := l.ask("n3.example.", dns.TypeA); got != "NOERROR A 1.2.3.4" {
		t.Error(got)
	}
}

// TestTCPClients: many questions on one connection, bounds on connections, and none that
// does nothing is waited for when the resolver ends.
func TestTCPClients(t *testing.T) {
	l := newLab(t, Config{MaxConns: 2, Engine: engine(t, "evil Deny bad.example")}, serve(t, says("{} 60 A 1.2.3.4")))
	conn, err := dns.Dial("tcp", l.at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	ids := map[uint16]bool{}
	for i := range 20 {
		q := question(fmt.Sprintf("n%d.example.", i), dns.TypeA)
		if i%2 == 0 {
			q = question("bad.example.", dns.TypeA)
		}
		ids[q.Id] = true
		if err := conn.WriteMsg(q); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		m, err := conn.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		delete(ids, m.Id)
	}
	if len(ids) != 0 {
		t.Errorf("not answered: %v", ids)
	}
	for range 2 {
		c, err := net.Dial("tcp", l.at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	wait(t, "the third is refused", func() bool { s := l.r.Stats(); return s.ConnsRefused == 1 && s.Conns == 2 })
	l.stop()
}

// TestTakenAddress is known before Run.
func TestTakenAddress(t *testing.T) {
	l := newLab(t, Config{}, serve(t, says()))
	r, err := New(Config{Engine: engine(t), Listen: []netip.AddrPort{netip.MustParseAddrPort(l.at)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Listen(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v", err)
	}
}

// TestSeveralSockets share an address, and a question to any of them is answered by it.
func TestSeveralSockets(t *testing.T) {
	l := newLab(t, Config{Sockets: 4, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("[::1]:0")}},
		serve(t, says("{} 60 A 1.2.3.4")))
	for _, a := range l.r.addrs {
		l.at = a.String()
		for i := range 30 {
			if got := l.ask(fmt.Sprintf("n%d.example.", i%3), dns.TypeA); got != "NOERROR A 1.2.3.4" {
				t.Error(got)
			}
		}
	}
}

// TestEndsWithQuestionsUnderWay: nothing that waits for an upstream holds Run.
func TestEndsWithQuestionsUnderWay(t *testing.T) {
	silent := rawUpstream(t, func([]byte) []byte { return nil })
	l := newLab(t, Config{Upstreams: []Upstream{{Addr: silent.addr}, {Addr: silent.addr, Network: TCP}}})
	c, err := net.Dial("udp", l.at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, _ := question("a.example.", dns.TypeA).Pack()
	_, _ = c.Write(p)
	wait(t, "it is under way", func() bool { return l.r.Stats().Flights == 1 })
	l.stop()
}

func TestConfigIsChecked(t *testing.T) {
	e := &filter.Engine{}
	for want, c := range map[string]Config{
		"no engine":                       {},
		"cannot listen on 0.0.0.0:53":     {Engine: e, Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:53")}},
		"Batch is 1000; it can be from 1": {Engine: e, Batch: 1000},
		"MaxTTL is 48h0m0s":               {Engine: e, MaxTTL: 48 * time.Hour},
		"there is no sinkhole":            {Engine: e, Blocked: Sinkhole},
		"Sinkhole4 is ::1":                {Engine: e, Sinkhole4: netip.MustParseAddr("::1")},
		`RebindAllow has "*.corp"`:        {Engine: e, RebindAllow: []string{"*.corp"}},
		"Timeout is 1s; it can be from 2": {Engine: e, Attempt: 2 * time.Second, Timeout: time.Second},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := New(Config{Engine: e}); err != nil {
		t.Error(err)
	}
}
