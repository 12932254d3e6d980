package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// ttl is how long an answer may be kept, in seconds. The answers of the system's
	// resolver come without one.
	ttl = 30
	// patience bounds one look-up.
	patience = 5 * time.Second
	// maxLookups bounds how many are under way at once; more are told to try later.
	maxLookups = 512
)

// Lookup finds the addresses of a name; network is ip4 or ip6. It is the method of
// net.Resolver.
type Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// Server answers Envoy, for the names that an explicit proxy is asked for, with one address
// each. One, because a rule by address is asked about one: Envoy itself would keep all
// the addresses of a name, have the first judged, and connect to the next if the first
// does not answer, so that whoever answers for an allowed name could reach an address
// that is denied.
//
// It answers A and AAAA questions only. It is safe for concurrent use.
type Server struct {
	// Lookup finds the addresses; that of net.DefaultResolver when nil, which reads the
	// hosts file and the search list as the workload itself would.
	Lookup Lookup
	// Address to listen at; a loopback port of the server's own when zero.
	Address netip.AddrPort
	// Logger is told of failures; silent when nil.
	Logger *slog.Logger

	conn  net.PacketConn
	slots chan struct{}
}

// Listen opens the port; Run answers there.
func (s *Server) Listen(ctx context.Context) (netip.AddrPort, error) {
	if s.Lookup == nil {
		s.Lookup = net.DefaultResolver.LookupNetIP
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	if !s.Address.IsValid() {
		s.Address = netip.MustParseAddrPort("127.0.0.1:0")
	}
	s.slots = make(chan struct{}, maxLookups)
	conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", s.Address.String())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen for DNS questions: %w", err)
	}
	s.conn = conn
	return netip.ParseAddrPort(conn.LocalAddr().String())
}

// Run answers until the context ends. An answer with one address fits every UDP
// packet, so there is no TCP.
func (s *Server) Run(ctx context.Context) error {
	srv := &dns.Server{PacketConn: s.conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.answer(ctx, w, q) })}
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	defer stop()
	if err := srv.ActivateAndServe(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("answer DNS questions: %w", err)
	}
	return nil
}

func (s *Server) answer(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
		s.resolve(ctx, q, m)
	default:
		m.Rcode = dns.RcodeServerFailure
		s.Logger.Warn("too many look-ups at once", "most", maxLookups)
	}
	if err := w.WriteMsg(m); err != nil && ctx.Err() == nil {
		s.Logger.Warn("a DNS answer could not be sent", "error", err)
	}
}

// resolve fills in the answer.
func (s *Server) resolve(ctx context.Context, q, m *dns.Msg) {
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery || q.Question[0].Qclass != dns.ClassINET {
		m.Rcode = dns.RcodeNotImplemented
		return
	}
	question := q.Question[0]
	network := "ip4"
	switch question.Qtype {
	case dns.TypeA:
	case dns.TypeAAAA:
		network = "ip6"
	default:
		return // there is such a name, but nothing of that kind
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	addrs, err := s.Lookup(ctx, network, strings.TrimSuffix(question.Name, "."))
	if err != nil {
		m.Rcode = dns.RcodeServerFailure
		if e := (*net.DNSError)(nil); errors.As(err, &e) && e.IsNotFound {
			m.Rcode = dns.RcodeNameError
		} else {
			s.Logger.Warn("a name could not be resolved", "name", question.Name, "error", err)
		}
		return
	}
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		if a.Is4() != (question.Qtype == dns.TypeA) {
			continue // a v4-mapped one is no answer to AAAA
		}
		m.Answer = append(m.Answer, record(question, a))
		return
	}
}

func record(q dns.Question, a netip.Addr) dns.RR {
	h := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: ttl}
	if a.Is4() {
		return &dns.A{Hdr: h, A: a.AsSlice()}
	}
	return &dns.AAAA{Hdr: h, AAAA: a.AsSlice()}
}
