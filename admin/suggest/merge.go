package suggest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"
	"golang.org/x/net/publicsuffix"
)

// wildcards takes names out of by that are more than Siblings below one parent, and makes a group of
// each parent. A parent under which anybody may register a name stays apart.
func (w *writer) wildcards(by map[peer]did) []*group {
	children := map[string][]peer{}
	for _, p := range sortedKeys(by, comparePeers) {
		if p.kind != namePeer {
			continue
		}
		if _, parent, ok := strings.Cut(p.value, "."); ok {
			children[parent] = append(children[parent], p)
		}
	}
	var out []*group
	for _, parent := range sortedKeys(children, strings.Compare) {
		names := children[parent]
		if suffix, _ := publicsuffix.PublicSuffix(parent); len(names) <= w.opt.Siblings || suffix == parent || !strings.Contains(parent, ".") {
			continue
		}
		wild := "*." + parent
		g := &group{peers: []peer{{namePeer, wild}}, did: did{}}
		shown := make([]string, len(names))
		for i, n := range names {
			shown[i] = n.value
			for a, c := range by[n] {
				g.did.add(a, c)
			}
			delete(by, n)
		}
		g.said = []Generalised{
			{ByWildcard, wild, fmt.Sprintf("any name below %s: %d were seen, %s", parent, len(names), list(shown))},
			{Together, "", "each of these names may be asked for what any of them was"},
		}
		out = append(out, g)
	}
	return out
}

// addresses takes the addresses out of by where they are more than most, and makes one group of
// them, in ranges.
func addresses(by map[peer]did, most int) []*group {
	var of []peer
	for _, p := range sortedKeys(by, comparePeers) {
		if p.kind == addressPeer {
			of = append(of, p)
		}
	}
	if len(of) <= most {
		return nil
	}
	g := &group{did: did{}}
	seen := make([]netip.Prefix, 0, len(of))
	for _, p := range of {
		seen = append(seen, netip.MustParsePrefix(p.value)) // made by netip
		for a, c := range by[p] {
			g.did.add(a, c)
		}
		delete(by, p)
	}
	exact := union(seen)
	for _, r := range widen(exact, most) {
		g.peers = append(g.peers, peer{addressPeer, r.String()})
		n := 0
		for _, p := range seen {
			if r.Overlaps(p) {
				n++
			}
		}
		if !slices.Contains(exact, r) {
			g.said = append(g.said, Generalised{ByRange, r.String(), fmt.Sprintf("%s: %d addresses or ranges in it were seen", r, n)})
		}
	}
	g.said = append(g.said, Generalised{Together, "", fmt.Sprintf("each of these %d addresses may do what any of them did", len(of))})
	return []*group{g}
}

// union is the shortest list of ranges that are exactly the given ones.
func union(in []netip.Prefix) []netip.Prefix {
	var b netipx.IPSetBuilder
	for _, p := range in {
		b.AddPrefix(p)
	}
	set, err := b.IPSet()
	if err != nil { // only for invalid ranges
		return in
	}
	return set.Prefixes()
}

// widen makes at most that many ranges out of disjoint ones, which hold them all: steps of an
// octet for IPv4, and from /64 on of 16 bits for IPv6.
func widen(in []netip.Prefix, most int) []netip.Prefix {
	for _, bits := range [][2]int{{32, 128}, {24, 64}, {16, 48}, {8, 32}, {0, 0}} {
		out := make([]netip.Prefix, len(in))
		for i, p := range in {
			n := bits[1]
			if p.Addr().Is4() {
				n = bits[0]
			}
			out[i] = netip.PrefixFrom(p.Addr(), min(n, p.Bits())).Masked()
		}
		if in = union(out); len(in) <= max(most, 2) {
			return in
		}
	}
	return in
}
