package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"pavise.dev/pavise/test/netlab"
)

// name is what the resolver outside says of one.
type name struct {
	// host is the last number of its addresses, see family.host.
	host int
	// v4 and v6 are its addresses where they are others.
	v4, v6 string
	cname  string
	ttl    uint32
	many   int // of addresses from host on
}

// zone is all that the resolver outside knows.
var zone = map[string]name{
	"api.example":           {host: 10, ttl: 60},
	"shared.example":        {host: 11, ttl: 60},
	"x.evil.example":        {host: 11, ttl: 60},
	"web.example":           {host: 12, ttl: 60},
	"neighbour.example":     {host: 12, ttl: 60},
	"case.example":          {host: 13, ttl: 60},
	"xn--bcher-kva.example": {host: 14, ttl: 60},
	"ttl0.example":          {host: 15},
	"tcp.example":           {host: 16, ttl: 60},
	"alias.example":         {cname: "target.example", ttl: 60},
	"target.example":        {host: 17, ttl: 60},
	"a.partner.example":     {host: 20, ttl: 60},
	"front.evil.example":    {host: 21, ttl: 60},
	"b.partner.example":     {host: 22, ttl: 60},
	"other.example":         {host: 24, ttl: 60},
	"many.example":          {host: 100, many: 100, ttl: 60},
	"watched.example":       {host: 69, ttl: 60},
	"bad.example":           {host: 30, ttl: 60},
	"c.bad.example":         {host: 30, ttl: 60},
	"www.cname.example":     {cname: "c.bad.example", ttl: 60},
	"poisoned.example":      {host: 66, ttl: 60},
	"rebind.example":        {v4: "10.77.0.1", v6: "fd77::1", ttl: 60},
	"metadata.example":      {v4: "169.254.169.254", v6: "fe80::1", ttl: 60},
	"late.partner.example":  {host: 31, ttl: 60},
}

// upstream is the resolver outside.
type upstream struct {
	mu    sync.Mutex
	asked []string // NETWORK NAME TYPE
}

// serveDNS answers at port 53 of what is outside, over UDP and TCP.
func (w *world) serveDNS() *upstream {
	w.t.Helper()
	u := &upstream{}
	at := netip.AddrPortFrom(netlab.Outside4, 53).String()
	var pc net.PacketConn
	var l net.Listener
	err := w.Outside.Do(func() (err error) {
		if pc, err = net.ListenPacket("udp", at); err == nil {
			l, err = net.Listen("tcp", at)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	var running sync.WaitGroup
	w.t.Cleanup(running.Wait) // after the others: the last is called first
	for _, s := range []*dns.Server{{PacketConn: pc}, {Listener: l}} {
		s.Handler = dns.HandlerFunc(u.answer)
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		running.Go(func() { _ = s.ActivateAndServe() })
		<-started
		w.t.Cleanup(func() { _ = s.Shutdown() })
	}
	return u
}

func (u *upstream) answer(rw dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	asked := q.Question[0]
	u.mu.Lock()
	u.asked = append(u.asked, rw.LocalAddr().Network()+" "+strings.ToLower(asked.Name)+" "+dns.TypeToString[asked.Qtype])
	u.mu.Unlock()
	m.Rcode = dns.RcodeNameError
	for at := asked.Name; ; {
		n, ok := zone[strings.ToLower(strings.TrimSuffix(at, "."))]
		if !ok {
			break
		}
		m.Rcode = dns.RcodeSuccess
		h := dns.RR_Header{Name: at, Rrtype: asked.Qtype, Class: dns.ClassINET, Ttl: n.ttl}
		if n.cname != "" {
			h.Rrtype, at = dns.TypeCNAME, n.cname+"."
			m.Answer = append(m.Answer, &dns.CNAME{Hdr: h, Target: at})
			continue
		}
		for i := range max(1, n.many) {
			switch asked.Qtype {
			case dns.TypeA:
				m.Answer = append(m.Answer, &dns.A{Hdr: h, A: n.address(ipv4, i).AsSlice()})
			case dns.TypeAAAA:
				m.Answer = append(m.Answer, &dns.AAAA{Hdr: h, AAAA: n.address(ipv6, i).AsSlice()})
			}
		}
		break
	}
	if _, udp := rw.RemoteAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
		m.Truncate(size)
	}
	_ = rw.WriteMsg(m) // the client may have gone
}

func (n name) address(f family, i int) netip.Addr {
	switch {
	case f == ipv4 && n.v4 != "":
		return netip.MustParseAddr(n.v4)
	case f == ipv6 && n.v6 != "":
		return netip.MustParseAddr(n.v6)
	}
	return f.host(n.host + i)
}

// ask asks a resolver as the application does: its own, which it believes to be the one
// outside. network is udp or tcp.
func (w *world) ask(network, name string, f family) (*dns.Msg, error) {
	qtype := map[family]uint16{ipv4: dns.TypeA, ipv6: dns.TypeAAAA}[f]
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), qtype)
	q.SetEdns0(1232, false)
	conn, err := w.dial(w.Pod, application, network, f.resolver())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	c := dns.Client{Net: network, Timeout: 5 * time.Second, UDPSize: 1232}
	m, _, err := c.ExchangeWithConn(q, &dns.Conn{Conn: conn, UDPSize: 1232})
	return m, err
}

// resolve is the first address of a name.
func (w *world) resolve(name string, f family) (netip.Addr, error) {
	m, err := w.ask("udp", name, f)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("resolve %s: %w", name, err)
	}
	if all := addresses(m); len(all) > 0 {
		return all[0], nil
	}
	return netip.Addr{}, fmt.Errorf("resolve %s: %s", name, said(m))
}

func addresses(m *dns.Msg) (all []netip.Addr) {
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			a, _ := netip.AddrFromSlice(rr.A.To4())
			all = append(all, a)
		case *dns.AAAA:
			a, _ := netip.AddrFromSlice(rr.AAAA)
			all = append(all, a)
		}
	}
	return all
}

// said is an answer in a line: the code, what it has of addresses, and why not more.
func said(m *dns.Msg) string {
	s := dns.RcodeToString[m.Rcode]
	switch all := addresses(m); {
	case len(all) > 2:
		s += fmt.Sprintf(" %d addresses", len(all))
	default:
		for _, a := range all {
			s += " " + a.String()
		}
	}
	if m.Truncated {
		s += " truncated"
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
