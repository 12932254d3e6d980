package guard

import (
	"fmt"
	"net/netip"

	"pavise.dev/pavise/api"
)

// special is a range that means something else than a host on the internet.
type special struct {
	guard  string
	prefix netip.Prefix
}

// specials are asked in this order; what is asked for by name, protected, comes before
// private. The documentation ranges (192.0.2.0/24, 2001:db8::/32 and the like) are not
// among them: nobody is there to be harmed, and examples and tests are full of them.
var specials = []special{
	{api.GuardLoopback, netip.MustParsePrefix("127.0.0.0/8")},
	{api.GuardLoopback, netip.MustParsePrefix("::1/128")},
	{api.GuardLinkLocal, netip.MustParsePrefix("169.254.0.0/16")},
	{api.GuardLinkLocal, netip.MustParsePrefix("fe80::/10")},
	{api.GuardMulticast, netip.MustParsePrefix("224.0.0.0/4")},
	{api.GuardMulticast, netip.MustParsePrefix("ff00::/8")},
	{api.GuardReserved, netip.MustParsePrefix("0.0.0.0/8")},
	{api.GuardReserved, netip.MustParsePrefix("240.0.0.0/4")},
	{api.GuardReserved, netip.MustParsePrefix("::/8")},
	{api.GuardPrivate, netip.MustParsePrefix("10.0.0.0/8")},
	{api.GuardPrivate, netip.MustParsePrefix("172.16.0.0/12")},
	{api.GuardPrivate, netip.MustParsePrefix("192.168.0.0/16")},
	{api.GuardPrivate, netip.MustParsePrefix("100.64.0.0/10")},
	{api.GuardPrivate, netip.MustParsePrefix("fc00::/7")},
	{api.GuardPrivate, netip.MustParsePrefix("fec0::/10")},
}

// embedding are the ranges whose last 32 bits are an IPv4 address: NAT64, and mapped
// addresses, should a parser let one through.
var embedding = [...]netip.Prefix{netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("::ffff:0:0/96")}

// special4 and special6 say for a first octet whether anything behind it is special.
// Almost everything that feeds list is done with them.
var special4, special6 = firstOctets()

func firstOctets() (v4, v6 [256]bool) {
	for o := range 256 {
		four := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(o)}), 8)
		six := netip.PrefixFrom(netip.AddrFrom16([16]byte{byte(o)}), 8)
		for _, s := range specials {
			v4[o] = v4[o] || s.prefix.Overlaps(four)
			v6[o] = v6[o] || s.prefix.Overlaps(six)
		}
	}
	return v4, v6
}

func (g *Guard) prefix(p netip.Prefix) (name, reason string) {
	var odd bool
	if addr := p.Addr(); addr.Is4() {
		octets := addr.As4()
		if p.Bits() < g.minV4 {
			return api.GuardShortPrefix, fmt.Sprintf("%s is shorter than /%d", p, g.minV4)
		}
		odd = p.Bits() < 8 || special4[octets[0]]
	} else {
		octets := addr.As16()
		if p.Bits() < g.minV6 {
			return api.GuardShortPrefix, fmt.Sprintf("%s is shorter than /%d", p, g.minV6)
		}
		odd = p.Bits() < 8 || special6[octets[0]]
	}
	if odd {
		return g.oddPrefix(p)
	}
	return g.place(p)
}

// oddPrefix checks a range that may overlap a special one.
func (g *Guard) oddPrefix(p netip.Prefix) (name, reason string) {
	if four, ok := embedded(p); ok {
		if name, reason = g.prefix(four); name != "" {
			reason = p.String() + " stands for " + reason
		}
		return name, reason
	}
	if !g.specialRanges.overlaps(p) {
		return g.place(p)
	}
	private := len(g.specials)
	for i := range g.specials {
		if g.specials[i].guard == api.GuardPrivate {
			private = i
			break
		}
		if g.specials[i].prefix.Overlaps(p) {
			return g.specials[i].refuses(p)
		}
	}
	if name, reason = g.place(p); name != "" {
		return name, reason
	}
	for i := private; i < len(g.specials); i++ {
		if g.specials[i].prefix.Overlaps(p) {
			return g.specials[i].refuses(p)
		}
	}
	return "", ""
}

func (s *special) refuses(p netip.Prefix) (name, reason string) {
	return s.guard, fmt.Sprintf("%s overlaps %s", p, s.prefix)
}

// embedded is the IPv4 range that an IPv6 one stands for.
func embedded(p netip.Prefix) (netip.Prefix, bool) {
	if !p.Addr().Is6() || p.Bits() < 96 {
		return netip.Prefix{}, false
	}
	for _, e := range embedding {
		if e.Contains(p.Addr()) {
			a := p.Addr().As16()
			return netip.PrefixFrom(netip.AddrFrom4([4]byte(a[12:])), p.Bits()-96), true
		}
	}
	return netip.Prefix{}, false
}

// place checks a range against what has to stay reachable.
func (g *Guard) place(p netip.Prefix) (name, reason string) {
	for _, s := range [...]*Places{g.own, g.protected} {
		if s.overlaps(p) {
			at := s.at(p)
			return api.GuardProtected, fmt.Sprintf("%s overlaps %s: %s", p, at.Prefix, at.Why)
		}
	}
	return "", ""
}
