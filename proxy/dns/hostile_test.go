package dns

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestCNAMEToABlockedName: looking at the question alone would let everything by that
// hides behind a name nobody lists.
func TestCNAMEToABlockedName(t *testing.T) {
	for name, c := range map[string]struct {
		records []string
		qtype   uint16
		want    string
		decided string
	}{
		"one step": {
			[]string{"{} 60 CNAME bad.example.", "bad.example. 60 A 1.2.3.4"},
			dns.TypeA,
			`NXDOMAIN SOA 10 10 EDE 15 "feed evil line 1"`, "deny www.example A feed:evil NXDOMAIN via bad.example line 1 bad.example",
		},
		"three steps, below, in capitals": {
			[]string{"{} 60 CNAME a.example.", "a.example. 60 CNAME b.example.", "b.example. 60 CNAME C.BAD.Example.", "c.bad.example. 60 A 1.2.3.4"},
			dns.TypeA,
			`NXDOMAIN SOA 10 10 EDE 15 "feed evil line 1"`, "deny www.example A feed:evil NXDOMAIN via c.bad.example line 1 bad.example",
		},
		"the address is listed": {
			[]string{"{} 60 CNAME a.example.", "a.example. 60 A 198.18.0.1", "a.example. 60 A 192.0.2.7"},
			dns.TypeA,
			`NXDOMAIN SOA 10 10 EDE 15 "feed evil line 2"`, "deny www.example A feed:evil NXDOMAIN at 192.0.2.7 line 2 192.0.2.0/24",
		},
		"DNAME": {
			[]string{"example. 60 DNAME bad.example.", "{} 60 CNAME x.fine.example.", "x.fine.example. 60 A 1.2.3.4"},
			dns.TypeA,
			`NXDOMAIN SOA 10 10 EDE 15 "feed evil line 1"`, "deny www.example A feed:evil NXDOMAIN via bad.example line 1 bad.example",
		},
		"HTTPS alias": {
			[]string{"{} 60 HTTPS 0 bad.example."},
			dns.TypeHTTPS,
			`NXDOMAIN SOA 10 10 EDE 15 "feed evil line 1"`, "deny www.example HTTPS feed:evil NXDOMAIN via bad.example line 1 bad.example",
		},
		"HTTPS hint": {
			[]string{`{} 60 HTTPS 1 . alpn="h2" ipv4hint="1.2.3.4,192.0.2.9"`},
			dns.TypeHTTPS,
			`NXDOMAIN SOA 10 10 EDE 15 "feed evil line 2"`, "deny www.example HTTPS feed:evil NXDOMAIN at 192.0.2.9 line 2 192.0.2.0/24",
		},
		"additional section": {
			[]string{"{} 60 MX 1 m.example.", "+m.example. 60 AAAA ::ffff:192.0.2.1"},
			dns.TypeMX,
			`NXDOMAIN SOA 10 10 EDE 15 "feed evil line 2"`, "deny www.example MX feed:evil NXDOMAIN at ::ffff:192.0.2.1 line 2 192.0.2.0/24",
		},
		"only an alert": {
			[]string{"{} 60 CNAME seen.example.", "seen.example. 60 A 1.2.3.4"},
			dns.TypeA,
			"NOERROR CNAME seen.example. A 1.2.3.4", "alert www.example A feed:watch NOERROR via seen.example line 1 seen.example",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, Config{Engine: engine(t, "evil Deny bad.example 192.0.2.0/24", "watch Alert seen.example"), Rebind: RebindIgnore}, serve(t, says(c.records...)))
			for _, from := range []string{"upstream", "cache"} { // what is kept is judged each time
				if got := l.ask("www.example.", c.qtype); got != c.want {
					t.Errorf("from the %s: %s, want %s", from, got, c.want)
				}
				if got := l.decisions(); len(got) != 1 || got[0] != c.decided {
					t.Errorf("from the %s: decided %q, want %q", from, got, c.decided)
				}
			}
		})
	}
}

// TestPrivateAddressForAPublicName: DNS rebinding.
func TestPrivateAddressForAPublicName(t *testing.T) {
	denied := `NXDOMAIN SOA 10 10 EDE 15 "a private address for a public name"`
	for _, c := range []struct{ name, record, want string }{
		{"public.example.", "A 10.0.0.1", denied},
		{"public.example.", "A 127.0.0.1", denied},
		{"public.example.", "A 0.0.0.0", denied},
		{"public.example.", "A 169.254.169.254", denied},
		{"public.example.", "A 100.100.100.200", denied},
		{"public.example.", "AAAA ::1", denied},
		{"public.example.", "AAAA ::ffff:10.0.0.1", denied},
		{"public.example.", "AAAA 64:ff9b::7f00:1", denied},
		{"public.example.", "AAAA 2002:a9fe:a9fe::1", denied},
		{"public.example.", "AAAA fd00:ec2::254", denied},
		{"public.example.", "AAAA fe80::1", denied},
		{"public.example.", "HTTPS 1 . ipv4hint=192.168.0.1", denied},
		{"public.example.", "A 93.184.216.34", "NOERROR A 93.184.216.34"},
		{"public.example.", "AAAA 2606:2800::1", "NOERROR AAAA 2606:2800::1"},
		{"db.svc.cluster.local.", "A 10.0.0.1", "NOERROR A 10.0.0.1"},
		{"notcluster.local.example.", "A 10.0.0.1", denied},
		{"host.", "A 10.0.0.1", "NOERROR A 10.0.0.1"},
		{"x.corp.example.", "A 10.0.0.1", "NOERROR A 10.0.0.1"},
		{"CORP.example.", "A 10.0.0.1", "NOERROR A 10.0.0.1"},
		{"xcorp.example.", "A 10.0.0.1", denied},
		{"a.site.example.", "A 10.0.0.1", "NOERROR A 10.0.0.1"}, // a search domain of resolv.conf
	} {
		t.Run(c.name+c.record, func(t *testing.T) {
			conf := resolvConfFile(t, "search site.example com\n")
			l := newLab(t, Config{RebindAllow: []string{"Corp.Example."}, ResolvConf: conf}, serve(t, says("{} 60 "+c.record)))
			kind := dns.StringToType[strings.Fields(c.record)[0]]
			if got := l.ask(c.name, kind); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if d := l.decisions(); (c.want == denied) != (len(d) == 1 && strings.Contains(d[0], ReasonRebind)) {
				t.Errorf("decided %q", d)
			}
		})
	}
	l := newLab(t, Config{Rebind: RebindReport}, serve(t, says("{} 60 A 10.0.0.1")))
	if got := l.ask("public.example.", dns.TypeA); got != "NOERROR A 10.0.0.1" {
		t.Errorf("to be reported: %s", got)
	}
	if d := l.decisions(); len(d) != 1 || d[0] != "alert public.example A private-answer NOERROR at 10.0.0.1" {
		t.Errorf("to be reported: %q", d)
	}
}

// TestTTL0And2To31: neither is kept, and the second is no large number (RFC 2181 8).
func TestTTL0And2To31(t *testing.T) {
	for _, c := range []struct {
		ttl, want uint32
		asked     int
	}{{0, 0, 2}, {1 << 31, 0, 2}, {1<<32 - 1, 0, 2}, {1<<31 - 1, 86400, 1}, {60, 60, 1}} {
		up := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
			m := reply(q, 0, "{} 1 A 1.2.3.4")
			m.Answer[0].Header().Ttl = c.ttl
			_ = w.WriteMsg(m)
		})
		l := newLab(t, Config{MinTTL: 30 * time.Second}, up)
		for range 2 {
			m := l.exchange("udp", question("a.example.", dns.TypeA))
			if got := m.Answer[0].Header().Ttl; got > c.want || got+2 < c.want {
				t.Errorf("TTL %d became %d, want %d", c.ttl, got, c.want)
			}
		}
		if n, _ := up.asked(); n != c.asked {
			t.Errorf("TTL %d: asked %d times, want %d", c.ttl, n, c.asked)
		}
	}
}

// TestMoreThan512OctetsTruncationAndTCP: each client gets what it can take, and the rest
// over TCP; from an upstream that truncates, too.
func TestMoreThan512OctetsTruncationAndTCP(t *testing.T) {
	var records []string
	for i := range 60 { // 60 addresses take 976 octets
		records = append(records, fmt.Sprintf("{} 60 A 1.2.3.%d", i))
	}
	for range 4 {
		records = append(records, `+x.example. 60 TXT "`+strings.Repeat("x", 200)+`"`)
	}
	for _, c := range []struct {
		name    string
		records int
		network string
		edns    uint16
		want    bool // whole
	}{
		{"512 without EDNS", 60, "udp", 0, false},
		{"little without EDNS", 5, "udp", 0, true},
		{"EDNS that says less than 512", 60, "udp", 100, false},
		{"EDNS that is enough", 60, "udp", 1232, true},
		{"EDNS that is too little", 60, "udp", 900, false},
		{"more than MaxUDP", 64, "udp", 4096, false},
		{"TCP", 64, "tcp", 0, true},
		{"TCP with EDNS", 64, "tcp", 512, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
				m := reply(q, 0, records[:c.records]...)
				if w.LocalAddr().Network() == "udp" {
					m.Truncate(int(q.IsEdns0().UDPSize()))
				}
				_ = w.WriteMsg(m)
			})
			l := newLab(t, Config{}, up)
			q := new(dns.Msg)
			q.SetQuestion("many.example.", dns.TypeA)
			if c.edns > 0 {
				q.SetEdns0(c.edns, false)
			}
			m := l.exchange(c.network, q)
			if whole := !m.Truncated && len(m.Answer) == min(c.records, 60); whole != c.want {
				t.Errorf("whole %v, want %v: TC %v, %d records", whole, c.want, m.Truncated, len(m.Answer))
			}
			if (m.IsEdns0() != nil) != (c.edns > 0) {
				t.Errorf("OPT %v for a question that has it: %v", m.IsEdns0(), c.edns > 0)
			}
			if m.Truncated && len(m.Answer) > 0 {
				t.Error("a truncated answer has records")
			}
		})
	}
}

// send sends octets over UDP and returns what comes back.
func (l *lab) send(p []byte) *dns.Msg {
	l.t.Helper()
	c, err := net.Dial("udp", l.at)
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = c.Write(p)
	in := make([]byte, 4096)
	n, err := c.Read(in)
	if err != nil {
		l.t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(in[:n]); err != nil {
		l.t.Fatalf("%x: %v", in[:n], err)
	}
	return m
}

// TestManyQuestions and other messages that are no plain question.
func TestManyQuestions(t *testing.T) {
	up := serve(t, says("{} 60 A 1.2.3.4"))
	l := newLab(t, Config{}, up)
	for _, c := range []struct {
		name  string
		to    func(q *dns.Msg)
		rcode int
	}{
		{"two questions", func(q *dns.Msg) { q.Question = append(q.Question, q.Question[0]) }, dns.RcodeFormatError},
		{"none", func(q *dns.Msg) { q.Question = nil }, dns.RcodeFormatError},
		{"a record in the answer", func(q *dns.Msg) { q.Answer = reply(q, 0, "{} 1 A 1.2.3.4").Answer }, dns.RcodeFormatError},
		{"two OPT", func(q *dns.Msg) { q.Extra = append(q.Extra, q.Extra[0]) }, dns.RcodeFormatError},
		{"NOTIFY", func(q *dns.Msg) { q.Opcode = dns.OpcodeNotify }, dns.RcodeNotImplemented},
		{"UPDATE", func(q *dns.Msg) { q.Opcode = dns.OpcodeUpdate }, dns.RcodeNotImplemented},
		{"CHAOS", func(q *dns.Msg) { q.Question[0].Qclass = dns.ClassCHAOS }, dns.RcodeRefused},
		{"AXFR", func(q *dns.Msg) { q.Question[0].Qtype = dns.TypeAXFR }, dns.RcodeNotImplemented},
		{"EDNS version 1", func(q *dns.Msg) { q.IsEdns0().SetVersion(1) }, dns.RcodeBadVers},
	} {
		q := question("a.example.", dns.TypeA)
		c.to(q)
		p, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if m := l.send(p); m.Rcode != c.rcode || m.Id != q.Id || !m.Response || m.Opcode != dns.OpcodeQuery && m.Rcode != dns.RcodeNotImplemented {
			t.Errorf("%s: %s", c.name, m)
		}
	}
	if n, _ := up.asked(); n != 0 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// TestCompressionLoops: a question has nothing that a pointer could point to. Loops in
// answers are rows of TestMalformedAnswers.
func TestCompressionLoops(t *testing.T) {
	l := newLab(t, Config{}, serve(t, says("{} 60 A 1.2.3.4")))
	for _, name := range [][]byte{{0xc0, 12}, {0xc0, 0}, {1, 'a', 0xc0, 12}, {0xc0, 14}, {0x40}, {0x80, 0}, {64}} {
		p := append([]byte{1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, name...)
		if m := l.send(append(p, 0, 1, 0, 1)); m.Rcode != dns.RcodeFormatError || m.Id != 0x102 {
			t.Errorf("%x: %s", name, m)
		}
	}
}

// TestCaseRandomisation: the answer has the case of the question, and the upstream is asked
// in a case that nobody can guess.
func TestCaseRandomisation(t *testing.T) {
	up := serve(t, says("{} 60 A 1.2.3.4"))
	l := newLab(t, Config{}, up)
	cases := map[string]bool{}
	for i := range 20 {
		name := fmt.Sprintf("wWw.rAnDoMiSe-ThIs-%d.ExAmPlE.", i)
		for range 2 { // the second from the cache
			if got := l.ask(name, dns.TypeA); got != "NOERROR A 1.2.3.4" { // exchange compares the question
				t.Errorf("%s: %s", name, got)
			}
		}
		cases[strings.Split(up.last().Question[0].Name, ".")[0]] = true
	}
	if len(cases) < 4 { // of 8; 20 tries miss 5 of them once in ten million
		t.Errorf("the upstream was asked for %v only", cases)
	}
	if n, _ := up.asked(); n != 20 {
		t.Errorf("asked %d times", n)
	}

	// An upstream that does not keep the case is believed over TCP, and then known.
	low := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		q.Question[0].Name = strings.ToLower(q.Question[0].Name)
		says("{} 60 A 1.2.3.4")(w, q)
	})
	l = newLab(t, Config{}, low)
	for i := range 5 {
		if got := l.ask(fmt.Sprintf("some-name-with-letters-%d.example.", i), dns.TypeA); got != "NOERROR A 1.2.3.4" {
			t.Error(got)
		}
	}
	if _, tcp := low.asked(); tcp != 1 || l.r.Stats().CaseChanged != 2 {
		t.Errorf("%d over TCP, %d changed; want one over TCP", tcp, l.r.Stats().CaseChanged)
	}
}

// TestANY: one small record (RFC 8482), and blocked names stay so.
func TestANY(t *testing.T) {
	up := serve(t, says("{} 60 A 1.2.3.4"))
	l := newLab(t, Config{Engine: engine(t, "evil Deny bad.example")}, up)
	if got := l.ask("a.example.", dns.TypeANY); got != `NOERROR HINFO "RFC8482" ""` {
		t.Error(got)
	}
	if got := l.ask("bad.example.", dns.TypeANY); !strings.HasPrefix(got, "NXDOMAIN") {
		t.Error(got)
	}
	if n, _ := up.asked(); n != 0 {
		t.Error("the upstream was asked")
	}
}

// TestDNSSECRecordsPassedThrough, with AD and CD, and kept apart from what is answered to
// who does not want them.
func TestDNSSECRecordsPassedThrough(t *testing.T) {
	sig := "{} 60 RRSIG A 8 2 60 20300101000000 20200101000000 1 example. AAAA"
	up := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := reply(q, 0, "{} 60 A 1.2.3.4")
		if q.IsEdns0().Do() {
			m = reply(q, 0, "{} 60 A 1.2.3.4", sig)
			m.AuthenticatedData = true
		}
		if q.CheckingDisabled {
			m = reply(q, 0, "{} 60 A 1.2.3.5")
		}
		_ = w.WriteMsg(m)
	})
	l := newLab(t, Config{}, up)
	for range 2 {
		for _, c := range []struct {
			do, cd  bool
			records int
			first   string
		}{{false, false, 1, "1.2.3.4"}, {true, false, 2, "1.2.3.4"}, {false, true, 1, "1.2.3.5"}} {
			q := new(dns.Msg)
			q.SetQuestion("a.example.", dns.TypeA)
			q.SetEdns0(1232, c.do)
			q.CheckingDisabled = c.cd
			m := l.exchange("udp", q)
			if len(m.Answer) != c.records || m.Answer[0].(*dns.A).A.String() != c.first || m.AuthenticatedData != c.do || m.CheckingDisabled != c.cd || m.IsEdns0().Do() != c.do {
				t.Errorf("DO %v CD %v: %s", c.do, c.cd, m)
			}
		}
	}
	if n, _ := up.asked(); n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}
}

// TestNXDOMAINCachedTooLong: for no longer than the SOA record allows, nor than the bound.
func TestNXDOMAINCachedTooLong(t *testing.T) {
	for _, c := range []struct {
		name  string
		rcode int
		soa   string
		asked int
		want  uint32
	}{
		{"the minimum", dns.RcodeNameError, "!example. 3600 SOA a. b. 1 2 3 4 60", 1, 60},
		{"the TTL of the SOA", dns.RcodeNameError, "!example. 30 SOA a. b. 1 2 3 4 86400", 1, 30},
		{"five minutes at the most", dns.RcodeNameError, "!example. 86400 SOA a. b. 1 2 3 4 86400", 1, 300},
		{"nothing of that type", dns.RcodeSuccess, "!example. 86400 SOA a. b. 1 2 3 4 86400", 1, 300},
		{"minimum 0", dns.RcodeNameError, "!example. 3600 SOA a. b. 1 2 3 4 0", 2, 0},
		{"no SOA", dns.RcodeNameError, "!example. 3600 NS a.", 2, 0},
	} {
		up := serve(t, func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(reply(q, c.rcode, c.soa)) })
		l := newLab(t, Config{}, up)
		for range 2 {
			m := l.exchange("udp", question("a.example.", dns.TypeA))
			if m.Rcode != c.rcode {
				t.Errorf("%s: %s", c.name, m)
			}
			if got := m.Ns[0].Header().Ttl; c.want > 0 && (got > c.want || got+2 < c.want) {
				t.Errorf("%s: TTL %d, want %d", c.name, got, c.want)
			}
		}
		if n, _ := up.asked(); n != c.asked {
			t.Errorf("%s: asked %d times, want %d", c.name, n, c.asked)
		}
	}
}

// TestSameQuestionAThousandTimesAtOnce asks the upstream once.
func TestSameQuestionAThousandTimesAtOnce(t *testing.T) {
	const all, most = 1000, 400
	release := make(chan struct{})
	up := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		<-release
		says("{} 60 A 1.2.3.4")(w, q)
	})
	l := newLab(t, Config{MaxWaiters: most}, up)
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	for range all {
		wg.Go(func() {
			a := l.ask("a.example.", dns.TypeA)
			mu.Lock()
			defer mu.Unlock()
			got[a]++
		})
	}
	wait(t, "everybody asked", func() bool { return l.r.Stats().UDP == all })
	close(release)
	wg.Wait()
	if got["NOERROR A 1.2.3.4"] != most || got[`SERVFAIL EDE 0 "too many questions wait for an answer"`] != all-most {
		t.Errorf("%v", got)
	}
	if n, _ := up.asked(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	if s := l.r.Stats(); s.Forwarded != 1 || s.Merged != most-1 || s.Overload != all-most || s.Flights != 0 {
		t.Errorf("%+v", s)
	}
}

// TestResponseFromTheWrongSource: of all that arrives at the port, only what comes from the
// upstream, has the id and the question, is an answer.
func TestResponseFromTheWrongSource(t *testing.T) {
	other, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	up := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		forged := func(change func(m *dns.Msg)) []byte {
			m := reply(q, 0, "{} 60 A 6.6.6.6")
			change(m)
			p, err := m.Pack()
			if err != nil {
				panic(err)
			}
			return p
		}
		_, _ = other.WriteTo(forged(func(*dns.Msg) {}), w.RemoteAddr()) // right in everything but its source
		for _, p := range [][]byte{
			forged(func(m *dns.Msg) { m.Id++ }),
			forged(func(m *dns.Msg) { m.Question[0].Name = "b.example." }),
			forged(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }),
			forged(func(m *dns.Msg) { m.Question = nil }),
			forged(func(m *dns.Msg) { m.Response = false }),
			{1},
			{},
		} {
			_, _ = w.Write(p)
		}
		says("{} 60 A 1.2.3.4")(w, q)
	})
	l := newLab(t, Config{}, up)
	if got := l.ask("a.example.", dns.TypeA); got != "NOERROR A 1.2.3.4" {
		t.Error(got)
	}
	if s := l.r.Stats(); s.Stray < 6 {
		t.Errorf("%d were counted as stray", s.Stray)
	}
}

// TestEDNSClientSubnet: what a client says of its network stays here, unless configured.
func TestEDNSClientSubnet(t *testing.T) {
	for _, forward := range []bool{false, true} {
		up := serve(t, says("{} 60 A 1.2.3.4"))
		l := newLab(t, Config{ForwardSubnet: forward}, up)
		for range 2 {
			q := question("a.example.", dns.TypeA)
			o := q.IsEdns0()
			o.Option = append(o.Option,
				&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IP{198, 51, 100, 0}},
				&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"})
			if got := line(l.exchange("udp", q)); got != "NOERROR A 1.2.3.4" {
				t.Error(got)
			}
			got := up.last().IsEdns0().Option
			if forward != (len(got) == 1 && strings.HasPrefix(got[0].String(), "198.51.100.0/24")) || !forward && len(got) != 0 {
				t.Errorf("forward %v: the upstream got %v", forward, got)
			}
		}
		if n, _ := up.asked(); forward != (n == 2) {
			t.Errorf("forward %v: asked %d times; an answer for one subnet is not for all", forward, n)
		}
	}
}

// TestDoHAndDoTToKnownResolvers: what makes clients pass the resolver by is not there.
func TestDoHAndDoTToKnownResolvers(t *testing.T) {
	for _, allow := range []bool{false, true} {
		up := serve(t, says("{} 60 A 93.184.216.34"))
		l := newLab(t, Config{Engine: engine(t, "resolvers Deny dns.example 93.184.216.0/24"), AllowUpgrade: allow}, up)
		if got := l.ask("dns.example.", dns.TypeA); !strings.HasPrefix(got, "NXDOMAIN") { // a feed lists it
			t.Error(got)
		}
		l.decisions()
		for name, want := range map[string]string{
			"use-application-dns.net.": `NXDOMAIN SOA 10 10 EDE 15 "this network has its own resolver"`,
			"_dns.resolver.arpa.":      `NOERROR SOA 10 10 EDE 15 "this network has its own resolver"`,
			"Resolver.ARPA.":           `NOERROR SOA 10 10 EDE 15 "this network has its own resolver"`,
		} {
			got := l.ask(name, dns.TypeA)
			if (got == want) == allow {
				t.Errorf("allow %v: %s: %s", allow, name, got)
			}
			if d := l.decisions(); !allow && (len(d) != 1 || !strings.Contains(d[0], ReasonUpgrade)) {
				t.Errorf("decided %q", d)
			}
		}
		if got := l.ask("notresolver.arpa.", dns.TypeA); strings.Contains(got, "own resolver") {
			t.Error(got)
		}
	}
}
