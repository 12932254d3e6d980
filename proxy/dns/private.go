package dns

import (
	"net/netip"
	"strings"
)

// within are the ranges, beside what netip tells itself, that are inside somebody's
// network (RFC 6890).
var within = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),     // this host
	netip.MustParsePrefix("100.64.0.0/10"), // carrier-grade NAT, and some clouds' services
	netip.MustParsePrefix("192.0.0.0/24"),  // protocol assignments, and some clouds' services
	netip.MustParsePrefix("198.18.0.0/15"), // benchmarks, and many an overlay
	netip.MustParsePrefix("fec0::/10"),     // site-local, deprecated
	netip.MustParsePrefix("64:ff9b:1::/48"),
}

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixToFour  = netip.MustParsePrefix("2002::/16")    // RFC 3056
	compatible = netip.MustParsePrefix("::/96")        // RFC 4291 2.5.5.1
)

// private reports whether an address leads into a network rather than the Internet, also
// when it is written as an IPv6 address that is translated to such a one.
func private(a netip.Addr) bool {
	a = a.Unmap()
	if a.Is6() && !a.IsLoopback() && !a.IsUnspecified() {
		b := a.As16()
		switch {
		case nat64.Contains(a), compatible.Contains(a):
			a = netip.AddrFrom4([4]byte(b[12:]))
		case sixToFour.Contains(a):
			a = netip.AddrFrom4([4]byte(b[2:6]))
		}
	}
	if a.IsPrivate() || a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range within {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// ownZones have private addresses by their nature: RFC 6761, RFC 6762, RFC 8375, the name
// ICANN reserved for private use, the cluster's, and the reverse zones.
var ownZones = []string{
	"cluster.local", "localhost", "local", "internal", "home.arpa", "in-addr.arpa", "ip6.arpa",
}

// zones is a set of names and all that is below each.
type zones map[string]bool

func (z *zones) add(names ...string) {
	for _, n := range names {
		(*z)[strings.ToLower(strings.Trim(n, "."))] = true
	}
}

// has reports whether a canonical name is one of them or below one.
func (z *zones) has(name string) bool {
	for {
		if (*z)[name] {
			return true
		}
		dot := strings.IndexByte(name, '.')
		if dot < 0 {
			return false
		}
		name = name[dot+1:]
	}
}
