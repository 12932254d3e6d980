package dns

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"pavise.dev/pavise/proxy/filter"
)

// Blocked is what is answered about what a feed denies.
type Blocked uint8

const (
	// NXDomain says that the name does not exist: programs stop at once and try no other
	// family of addresses.
	NXDomain Blocked = iota
	// Sinkhole gives Config.Sinkhole4 and Sinkhole6, and nothing for other types.
	Sinkhole
	// Refuse says that the question is not answered: some programs then ask the next
	// resolver they know.
	Refuse
)

// Rebind is what becomes of a private address for a public name.
type Rebind uint8

const (
	RebindDeny Rebind = iota
	// RebindReport answers, and reports.
	RebindReport
	// RebindIgnore does not look.
	RebindIgnore
)

// Names is told what a client may connect to next, and by which name it knows it.
type Names interface {
	// Learn is called before the answer leaves, and again, about once a second at the most,
	// while it is given from the cache: with the name that was asked for first, then with
	// each it led to. Names are canonical. The name must be copied if it is kept. It is
	// called from several goroutines, must not wait, and ttl may be 0.
	Learn(addr netip.Addr, name string, ttl time.Duration)
}

// Config says how a Resolver works. The zero value works, but for Engine.
type Config struct {
	// Listen are the addresses for UDP and TCP. Default 127.0.0.1:15053 and [::1]:15053, the
	// second only where there is IPv6. Addresses that stand for all of a machine are
	// refused: answers would leave from another one than was asked.
	Listen []netip.AddrPort
	// Sockets for UDP on each address, 1 to 64, default 1. Several share the load between
	// processors (SO_REUSEPORT); they help where clients are many.
	Sockets int
	// Batch is how many packets are received or sent at once, 1 to 256, default 32. It does
	// not wait for them.
	Batch int

	// Upstreams are asked in this order; if empty, those of ResolvConf.
	Upstreams []Upstream
	// ResolvConf is read anew when it changes, and its last good content stands. Default
	// /etc/resolv.conf. Its search list only names zones that may have private addresses.
	ResolvConf string
	// Attempt bounds one question to one upstream, default 1 s, over TCP or TLS twice that.
	// Timeout bounds all attempts together, default 4 s.
	Attempt, Timeout time.Duration
	// Control is called for every socket to an upstream before it is connected, as in
	// net.Dialer; to mark it, for instance.
	Control func(network, address string, c syscall.RawConn) error

	// Engine knows the feeds. Needed.
	Engine *filter.Engine
	// Blocked is what is answered about what is denied; BlockedTTL for how long, default 10 s,
	// which is also how long a name stays unreachable for a client after its feed lets it go.
	Blocked              Blocked
	BlockedTTL           time.Duration
	Sinkhole4, Sinkhole6 netip.Addr
	// Rebind says what becomes of private addresses for public names. RebindAllow are zones
	// that may have them, beside cluster.local, localhost, local, internal, home.arpa, the
	// reverse zones, names of one label and the search domains of resolv.conf.
	Rebind      Rebind
	RebindAllow []string
	// AllowUpgrade lets clients find encrypted resolvers by use-application-dns.net and
	// resolver.arpa.
	AllowUpgrade bool

	// MaxUDP bounds a packet with an answer, 512 to 4096 octets, default 1232: what does not
	// fit is asked again over TCP. It is also what upstreams are told.
	MaxUDP int
	// CacheOctets and CacheEntries bound the cache, default 8 MiB and 32,768. Negative: none.
	CacheOctets, CacheEntries int
	// MinTTL, default 0, and MaxTTL, default and at most a day, bound for how long an answer
	// is kept; MaxNegative does for denials, default and at most 5 minutes, within what
	// RFC 2308 allows. A TTL of 0 is not kept, whatever MinTTL says.
	MinTTL, MaxTTL, MaxNegative time.Duration
	// Stale is for how long an answer is still given behind its time if no upstream answers
	// (RFC 8767), with a TTL of 30 s. Default 1 hour, at most a day. Negative: never.
	Stale time.Duration
	// ForwardSubnet sends the client's subnet (RFC 7871) on. What it says of the client is
	// the upstream's to know only if the operator wants that. Answers to such questions are
	// not kept.
	ForwardSubnet bool

	// PerClient is how many questions a second one address may ask, with Burst at once, default
	// one second's. Default 0: no limit; a sidecar has one client.
	PerClient, Burst int
	// MaxFlights bounds questions that wait for an upstream, default 4096. MaxWaiters bounds
	// who waits for the answer to one of them, default 256.
	MaxFlights, MaxWaiters int
	// MaxConns bounds TCP connections of clients, default 256.
	MaxConns int

	// Names, if any, is told of every address that is answered.
	Names Names
	// Decided, if any, is told of every denial and alert. It is called from several
	// goroutines, before the answer leaves, and must not wait.
	Decided func(Decision)
	// Logger is told of failures of upstreams and sockets; silent when nil.
	Logger *slog.Logger

	// explicit: Listen was given.
	explicit bool
}

// staleTTL is what RFC 8767 4 recommends.
const staleTTL = 30 * time.Second

func orElse[T int | time.Duration](v *T, other T) {
	if *v == 0 {
		*v = other
	}
}

// complete fills in the defaults and says what is wrong.
func (c *Config) complete() error {
	c.explicit = len(c.Listen) > 0
	if !c.explicit {
		c.Listen = []netip.AddrPort{
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 15053),
			netip.AddrPortFrom(netip.IPv6Loopback(), 15053),
		}
	}
	for v, other := range map[*int]int{
		&c.Sockets: 1, &c.Batch: 32, &c.MaxUDP: 1232, &c.CacheOctets: 8 << 20, &c.CacheEntries: 32768,
		&c.MaxFlights: 4096, &c.MaxWaiters: 256, &c.MaxConns: 256, &c.Burst: c.PerClient,
	} {
		orElse(v, other)
	}
	for v, other := range map[*time.Duration]time.Duration{
		&c.Attempt: time.Second, &c.Timeout: 4 * time.Second, &c.BlockedTTL: 10 * time.Second, &c.MaxTTL: 24 * time.Hour,
		&c.MaxNegative: 5 * time.Minute, &c.Stale: time.Hour,
	} {
		orElse(v, other)
	}
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c.check()
}

func (c *Config) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("resolver: "+format, args...)) }
	if c.Engine == nil {
		bad("there is no engine to ask about names")
	}
	for _, a := range c.Listen {
		if !a.IsValid() || a.Addr().IsUnspecified() || a.Addr().Zone() != "" || a.Addr().IsMulticast() {
			bad("it cannot listen on %s; name one address of this machine, without a zone", a)
		}
	}
	for _, b := range []struct {
		name             string
		v, least, beyond int
	}{
		{"Sockets", c.Sockets, 1, 64},
		{"Batch", c.Batch, 1, 256},
		{"MaxUDP", c.MaxUDP, 512, 4096},
		{"MaxFlights", c.MaxFlights, 1, 1 << 16},
		{"MaxWaiters", c.MaxWaiters, 1, 1 << 16},
		{"MaxConns", c.MaxConns, 1, 1 << 16},
		{"PerClient", c.PerClient, 0, 1e6},
		{"Burst", c.Burst, 0, 1e6},
		{"Blocked", int(c.Blocked), 0, int(Refuse)},
		{"Rebind", int(c.Rebind), 0, int(RebindIgnore)},
	} {
		if b.v < b.least || b.v > b.beyond {
			bad("%s is %d; it can be from %d to %d", b.name, b.v, b.least, b.beyond)
		}
	}
	for _, b := range []struct {
		name             string
		v, least, beyond time.Duration
	}{
		{"Attempt", c.Attempt, time.Millisecond, time.Minute},
		{"Timeout", c.Timeout, c.Attempt, 5 * time.Minute},
		{"BlockedTTL", c.BlockedTTL, time.Second, 24 * time.Hour},
		{"MaxTTL", c.MaxTTL, time.Second, 24 * time.Hour},
		{"MinTTL", c.MinTTL, 0, c.MaxTTL},
		{"MaxNegative", c.MaxNegative, time.Second, 5 * time.Minute},
		{"Stale", max(c.Stale, 0), 0, 24 * time.Hour},
	} {
		if b.v < b.least || b.v > b.beyond {
			bad("%s is %s; it can be from %s to %s", b.name, b.v, b.least, b.beyond)
		}
	}
	if c.Blocked == Sinkhole && !c.Sinkhole4.IsValid() && !c.Sinkhole6.IsValid() {
		bad("there is no sinkhole; set Sinkhole4, Sinkhole6 or both")
	}
	if a := c.Sinkhole4; a.IsValid() && !a.Is4() {
		bad("Sinkhole4 is %s, which is no IPv4 address", a)
	}
	if a := c.Sinkhole6; a.IsValid() && (!a.Is6() || a.Is4In6() || a.Zone() != "") {
		bad("Sinkhole6 is %s, which is no IPv6 address without a zone", a)
	}
	for _, z := range c.RebindAllow {
		if strings.Trim(z, ".") == "" || strings.ContainsAny(z, "* /") {
			bad("RebindAllow has %q; it takes names of zones, such as corp.example, and what is below them is meant", z)
		}
	}
	return errors.Join(errs...)
}

// Decision is what the resolver decided about one question, if it was denied or is to be
// reported.
type Decision struct {
	Time   time.Time
	Client netip.AddrPort
	// Name that was asked for, canonical, and the type it was asked for.
	Name string
	Type uint16
	// Action of what was decided; Verdict is that of the feeds, whose strings are its own. It
	// passes where something else decided: see Reason.
	Action  filter.Action
	Verdict filter.Verdict
	// Addr is the address in the answer that was met, if one was.
	Addr netip.Addr
	// Via is the name that the question led to and that was met, if it was not Name.
	Via string
	// Reason is that of the verdict, or ReasonRebind or ReasonUpgrade.
	Reason string
	// Rcode that was answered.
	Rcode uint8
	// Upstream that gave the answer, empty if none was asked.
	Upstream string
}

// Reasons that no feed gives.
const (
	// ReasonRebind: a public name has a private address.
	ReasonRebind = "private-answer"
	// ReasonUpgrade: the client looks for an encrypted resolver.
	ReasonUpgrade = "resolver-bypass"
)
