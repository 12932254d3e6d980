package dns

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// plain reports whether a name has only octets that presentation form does not escape.
func plain(name string) bool {
	return strings.IndexFunc(name, func(c rune) bool {
		return c > 0x7e || c <= ' ' || strings.ContainsRune(`"();@$\`, c)
	}) < 0
}

func canonical(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }

func seeds(f *testing.F) {
	for _, s := range []struct {
		name    string
		records []string
	}{
		{"www.Example.", []string{"{} 60 CNAME b.example.", "b.example. 60 A 1.2.3.4"}},
		{"example.", []string{"example. 60 DNAME b.example.", "!example. 60 SOA a. b. 1 2 3 4 5"}},
		{"a.", []string{`{} 60 HTTPS 1 b.example. alpn="h2" ipv4hint="1.2.3.4" ipv6hint="2001:db8::1"`}},
		{"a.example.", []string{"{} 60 MX 1 m.example.", "{} 60 SRV 1 2 3 s.example.", "+m.example. 60 AAAA ::1", "!example. 60 NS n.example."}},
		{"4.3.2.1.in-addr.arpa.", []string{"{} 60 PTR x.example.", `+x.example. 60 TXT "text"`}},
	} {
		q := question(s.name, dns.TypeA)
		p, err := q.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
		m := reply(q, 0, s.records...)
		for _, m.Compress = range []bool{true, false} {
			if p, err = m.Pack(); err != nil {
				f.Fatal(err)
			}
			f.Add(p)
		}
	}
	q := question("x.example.", dns.TypeA)
	o := q.IsEdns0()
	o.Option = append(o.Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: []byte{192, 0, 2, 0}})
	p, _ := q.Pack()
	f.Add(p)
}

// FuzzQuery: what is taken for a question, another parser takes for the same, and what is
// answered to anything is a message.
func FuzzQuery(f *testing.F) {
	seeds(f)
	r, err := New(Config{Engine: engine(f, "evil Deny example")})
	if err != nil {
		f.Fatal(err)
	}
	w := r.newWorker(1)
	f.Fuzz(func(t *testing.T, p []byte) {
		in := bytes.Clone(p)
		var q query
		todo := q.read(p, 1232, true)
		if !bytes.Equal(in, p) {
			t.Fatal("the question was written to")
		}
		var m dns.Msg
		if todo != drop && todo != formErr && todo != notImp {
			if err := m.Unpack(p); err != nil {
				// It knows the data of more types, and types of options.
				if n := get16(p, 10); n == 0 {
					t.Fatalf("%v, which was taken for a question", err)
				}
			} else {
				got, opt := m.Question[0], m.IsEdns0()
				if len(m.Question) != 1 || plain(got.Name) && canonical(got.Name) != q.name() || int(got.Qtype) != q.qtype || int(got.Qclass) != q.qclass {
					t.Fatalf("%q %d %d, not %s", q.name(), q.qtype, q.qclass, got.String())
				}
				if (opt != nil) != q.edns || opt != nil && (opt.Do() != q.do || q.size != min(1232, max(512, int(opt.UDPSize())))) {
					t.Fatalf("EDNS %v DO %v size %d, not %v", q.edns, q.do, q.size, opt)
				}
				if m.RecursionDesired != q.rd || m.CheckingDisabled != q.cd || m.AuthenticatedData != q.ad || m.Id != q.id {
					t.Fatalf("%+v, not %+v", q.asker, m.MsgHdr)
				}
			}
		}
		for _, how := range []Blocked{NXDomain, Sinkhole, Refuse} {
			r.c.Blocked = how
			r.c.Sinkhole4 = netip.MustParseAddr("192.0.2.1")
			if todo == proceed {
				out := r.replyDenied(nil, &q.asker, extended{edeBlocked, bytes.Repeat([]byte("x"), 200)})
				if err := m.Unpack(out); err != nil || len(out) > maxReply {
					t.Fatalf("%d octets: %v", len(out), err)
				}
			}
		}
		if todo != drop && todo != proceed {
			w.q = q
			if err := m.Unpack(w.unfit(todo, nil)); err != nil || m.Id != q.id {
				t.Fatalf("%v: %s", err, m.String())
			}
		}
	})
}

// FuzzAnswer: of what can be read, another parser reads the same names and addresses; and
// what is answered from it is a message with the same records.
func FuzzAnswer(f *testing.F) {
	seeds(f)
	r, err := New(Config{Engine: engine(f)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var q query
		if len(p) < headerLen {
			return
		}
		end, ok := q.readQuestion(p)
		if !ok {
			return
		}
		var m dns.Msg
		other := m.Unpack(p)
		in := bytes.Clone(p)
		a, err := readAnswer(in, end-headerLen, r.lives)
		if err != nil || other != nil || len(m.Question) != 1 {
			return
		}
		var names []string
		var addrs []netip.Addr
		records := 0
		for _, rr := range slices.Concat(m.Answer, m.Ns, m.Extra) {
			if rr.Header().Rrtype == dns.TypeOPT {
				continue
			}
			records++
			if rr.Header().Class != dns.ClassINET {
				continue
			}
			ip := func(ips ...[]byte) {
				for _, b := range ips {
					x, _ := netip.AddrFromSlice(b)
					addrs = append(addrs, x)
				}
			}
			service := func(s *dns.SVCB) {
				names = append(names, s.Target)
				for _, v := range s.Value {
					switch h := v.(type) {
					case *dns.SVCBIPv4Hint:
						for _, x := range h.Hint {
							ip(x.To4())
						}
					case *dns.SVCBIPv6Hint:
						for _, x := range h.Hint {
							ip(x)
						}
					}
				}
			}
			switch d := rr.(type) {
			case *dns.A:
				ip(d.A.To4())
			case *dns.AAAA:
				ip(d.AAAA.To16())
			case *dns.CNAME:
				names = append(names, d.Target)
			case *dns.DNAME:
				names = append(names, d.Target)
			case *dns.SVCB:
				service(d)
			case *dns.HTTPS:
				service(&d.SVCB)
			}
		}
		names = slices.DeleteFunc(names, func(n string) bool { return n == "." })
		if len(names) != len(a.names) {
			t.Fatalf("names %q, not %q", a.names, names)
		}
		for i, n := range names {
			if plain(n) && canonical(n) != a.names[i] {
				t.Fatalf("names %q, not %q", a.names, names)
			}
		}
		if !slices.Equal(addrs, a.addrs) {
			t.Fatalf("addresses %v, not %v", a.addrs, addrs)
		}
		who := asker{id: 7, size: maxTCP, question: p[headerLen:end], edns: true}
		out, cut := r.replyFrom(nil, &who, a, time.Hour, 0, outdated)
		var back dns.Msg
		if err := back.Unpack(out); err != nil || cut {
			t.Fatalf("what is answered is no message: %v", err)
		}
		n := 0
		for _, rr := range slices.Concat(back.Answer, back.Ns, back.Extra) {
			if rr.Header().Rrtype != dns.TypeOPT {
				n++
				if rr.Header().Ttl > 86400 {
					t.Fatalf("TTL %d", rr.Header().Ttl)
				}
			}
		}
		if n != records {
			t.Fatalf("%d records became %d", records, n)
		}
	})
}

// TestNamesInMessages: long names, odd names, and the case of what is compressed.
func TestNamesInMessages(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 49)+".", 5) // 251 octets with the root
	for _, c := range []struct {
		name string
		ok   bool
	}{
		{".", true},
		{"a.", true},
		{"WWW.Example.", true},
		{"_srv._tcp.xn--bcher-kva.example.", true},
		{long, true},
		{long + "bb.", true}, // 254 octets
		{`a\.b.example.`, false},
		{`a\000b.example.`, true},
		{strings.Repeat("a.", 127), true},
	} {
		p, err := question(c.name, dns.TypeA).Pack()
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var q query
		if got := q.read(p, 1232, true); (got == proceed) != c.ok {
			t.Errorf("%s: %v", c.name, got)
		} else if c.ok && plain(c.name) && q.name() != canonical(c.name) {
			t.Errorf("%s became %s", c.name, q.name())
		}
		text, next, ok := appendName(nil, p, headerLen)
		if ok != c.ok || ok && (next != len(p)-4-optLen || string(text) != q.name()) {
			t.Errorf("%s: %q %d %v", c.name, text, next, ok)
		}
	}
}

// TestTTLsCountDown, and are not raised by time.
func TestTTLsCountDown(t *testing.T) {
	l := newLab(t, Config{}, serve(t, says("{} 60 CNAME b.example.", "b.example. 100 A 1.2.3.4")))
	l.ask("a.example.", dns.TypeA)
	w := l.r.newWorker(1)
	p, _ := question("a.example.", dns.TypeA).Pack()
	at := w.now
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{0, "60 100"}, {30 * time.Second, "30 70"}, {58 * time.Second, "2 42"}} {
		w.now = at + c.after + time.Second/2
		w.ask.peer = netip.MustParseAddrPort("127.0.0.1:1")
		var m dns.Msg
		if err := m.Unpack(w.handle(p, nil)); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%d %d", m.Answer[0].Header().Ttl, m.Answer[1].Header().Ttl); got != c.want {
			t.Errorf("after %s: %s, want %s", c.after, got, c.want)
		}
	}
}

// TestHandleAllocatesNothing for what is blocked or kept: the flood of a broken client must
// not become a flood for the garbage collector.
func TestHandleAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools forget")
	}
	l := newLab(t, Config{PerClient: 1e6, Engine: engine(t, "evil Deny bad.example")}, serve(t, says("{} 600 CNAME b.example.", "b.example. 600 A 1.2.3.4")))
	l.r.c.Decided = nil // whoever wants to be told gets memory of its own
	l.ask("a.example.", dns.TypeA)
	w := l.r.newWorker(1)
	w.ask.peer = netip.MustParseAddrPort("127.0.0.1:1234")
	w.ask.udp = l.r.packets[0]
	out := make([]byte, 0, 1232)
	for name, want := range map[string]int{"Some.long.name.below.BAD.example.": rcodeNX, "A.example.": rcodeOK, "resolver.arpa.": rcodeOK} {
		p, _ := question(name, dns.TypeA).Pack()
		if got := w.handle(p, out); get16(got, 2)&rcodeMask != want {
			t.Fatalf("%s: %x", name, got)
		}
		if n := testing.AllocsPerRun(1000, func() { w.handle(p, out) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkHandle(b *testing.B) {
	l := newLab(b, Config{Engine: engine(b, "evil Deny bad.example")}, serve(b, says("{} 600 CNAME b.example.", "b.example. 600 A 1.2.3.4")))
	l.r.c.Decided = nil
	l.ask("a.example.", dns.TypeA)
	w := l.r.newWorker(1)
	w.ask.peer = netip.MustParseAddrPort("127.0.0.1:1234")
	w.ask.udp = l.r.packets[0]
	out := make([]byte, 0, 1232)
	for what, name := range map[string]string{"blocked": "www.bad.example.", "cached": "a.example."} {
		p, _ := question(name, dns.TypeA).Pack()
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.handle(p, out)
			}
		})
	}
}
