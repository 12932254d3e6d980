package api

import (
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// validatePeer checks one item of from or to. The namespace is that of the
// policy, "" in a ClusterAccessPolicy.
func validatePeer(r *reporter, p *Peer, names []string, namespace string) {
	// A list that is given and empty counts too: one that was generated and came out empty
	// would otherwise leave the peer to its other field.
	var given []string
	for _, k := range []struct {
		name  string
		given bool
	}{
		{"cidrs", p.CIDRs != nil},
		{"selectors", p.NamespaceSelector != nil || p.PodSelector != nil},
		{"serviceAccounts", p.ServiceAccounts != nil},
		{"networkSets", p.NetworkSets != nil},
		{"domains", names != nil},
	} {
		if k.given {
			given = append(given, k.name)
		}
	}
	exceptAlone := len(p.Except) > 0 && len(p.CIDRs) == 0
	switch {
	case exceptAlone:
		r.reportIn("except", CodeExceptAlone, "give cidrs in the same item", "except takes ranges out of cidrs, and there are none")
	case len(p.CIDRs)+len(p.ServiceAccounts)+len(p.NetworkSets)+len(names) == 0 && p.NamespaceSelector == nil && p.PodSelector == nil:
		r.report(CodePeerEmpty, "for anybody leave the whole list out", "the peer names nobody")
	}
	if len(given) > 1 {
		r.report(CodePeerMixed, "make one item of the list of each", "the peer gives %s at once", enumerate(given))
	}
	lengths(r, maxPeerItems, list{"cidrs", len(p.CIDRs)}, list{"except", len(p.Except)},
		list{"serviceAccounts", len(p.ServiceAccounts)}, list{"networkSets", len(p.NetworkSets)}, list{"domains", len(names)})
	if !exceptAlone {
		ranges(r, p.CIDRs, p.Except)
	}
	selector(r, "namespaceSelector", p.NamespaceSelector)
	selector(r, "podSelector", p.PodSelector)
	references(r, "serviceAccounts", p.ServiceAccounts, namespace)
	references(r, "networkSets", p.NetworkSets, namespace)
	domains(r, "domains", names)
}

// ranges checks cidrs and except, and that each exception is inside a range.
func ranges(r *reporter, cidrs, except []string) {
	var known map[netip.Prefix]bool
	if len(except) > 0 {
		known = make(map[netip.Prefix]bool, len(cidrs))
	}
	r.in("cidrs")
	for i, s := range cidrs {
		r.at(i)
		prefix, f := parseCIDR(s)
		r.reportFault(f)
		if f == nil && known != nil {
			known[prefix] = true
		}
		r.out()
	}
	r.out()
	r.in("except")
	for i, s := range except {
		r.at(i)
		prefix, f := parseCIDR(s)
		r.reportFault(f)
		if f == nil && !covered(known, prefix) {
			r.report(CodeExceptOutside, "", "%s is not inside any range of cidrs and takes nothing out", prefix)
		}
		r.out()
	}
	r.out()
}

// covered asks for each shorter prefix instead of comparing with each range: both
// lists may be long.
func covered(known map[netip.Prefix]bool, p netip.Prefix) bool {
	for bits := p.Bits(); bits >= 0; bits-- {
		if wider, err := p.Addr().Prefix(bits); err == nil && known[wider] {
			return true
		}
	}
	return false
}

// references checks NAME and NAMESPACE/NAME.
func references(r *reporter, field string, list []string, namespace string) {
	r.in(field)
	for i, s := range list {
		r.at(i)
		space, name, both := strings.Cut(s, "/")
		if !both {
			name = s
		}
		switch {
		case !both && namespace == "":
			r.report(CodeReference, "write NAMESPACE/"+printable(shorten(s)), "a ClusterAccessPolicy has no namespace that %s could be in", quote(s))
		case both && len(validation.IsDNS1123Label(space)) > 0, len(validation.IsDNS1123Subdomain(name)) > 0:
			r.report(CodeReference, "write NAME or NAMESPACE/NAME", "%s refers to nothing that could exist", quote(s))
		}
		r.out()
	}
	r.out()
}

// ParseCIDR reads a range or a single address the way policies do: without leading
// zeros, zones or host bits, and with an IPv4 address mapped into IPv6 as the IPv4
// address it is. The error says what to write instead, where that is known.
func ParseCIDR(s string) (netip.Prefix, error) {
	p, f := parseCIDR(s)
	return p, f.asError()
}

func parseCIDR(s string) (netip.Prefix, *fault) {
	address, _, isRange := strings.Cut(s, "/")
	addr, f := parseAddr(address, s)
	if f != nil {
		return netip.Prefix{}, f
	}
	if !isRange {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, faultf(CodeAddress, "", "%s has no valid length after the /", quote(s))
	}
	// ::ffff:10.0.0.0/104 is 10.0.0.0/8. A length below 96 takes in more than IPv4
	// and has bits of ::ffff set behind it, which the check below refuses.
	if addr.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(addr.Unmap(), p.Bits()-96)
	}
	if masked := p.Masked(); masked != p {
		return netip.Prefix{}, faultf(CodeHostBits, "write "+masked.String(), "%s has host bits set", s)
	}
	return p, nil
}

// parseAddr reads a single address out of the text that a message shows.
func parseAddr(s, shown string) (netip.Addr, *fault) {
	addr, err := netip.ParseAddr(s)
	switch {
	case err == nil && addr.Zone() != "":
		return netip.Addr{}, faultf(CodeAddress, "remove the zone", "%s has a zone, which is different on every machine", quote(shown))
	case err == nil:
		return addr, nil
	case strings.ContainsAny(s, " \t\r\n"):
		return netip.Addr{}, faultf(CodeAddress, "remove the space", "%s has a space in it", quote(shown))
	case leadingZero(s):
		return netip.Addr{}, faultf(CodeAddress, "remove the zeros", "%s has leading zeros, which some programs read as octal", quote(shown))
	}
	return netip.Addr{}, faultf(CodeAddress, "", "%s is not an IP address", quote(shown))
}

// leadingZero reports four numbers of which one begins with a 0.
func leadingZero(s string) bool {
	parts := strings.Split(s, ".")
	zero := false
	for _, p := range parts {
		if p == "" || strings.Trim(p, "0123456789") != "" {
			return false
		}
		zero = zero || len(p) > 1 && p[0] == '0'
	}
	return zero && len(parts) == 4
}
