package policy

import (
	"crypto/sha256"
	"iter"
	"net/netip"
	"slices"
	"sync"

	"go4.org/netipx"
)

// AddrSet is an immutable set of addresses. IPv4-mapped IPv6 addresses are the
// IPv4 addresses they stand for.
type AddrSet struct {
	set      *netipx.IPSet
	prefixes []netip.Prefix

	once   sync.Once
	digest [sha256.Size]byte
}

// sum is the SHA-256 of the prefixes, made once: large sets are shared by many rules.
func (s *AddrSet) sum() [sha256.Size]byte {
	s.once.Do(func() {
		b := make([]byte, 0, 17*len(s.prefixes))
		for _, p := range s.prefixes {
			a := p.Addr().As16()                                                 // a set has no mapped addresses: four octets have one meaning
			b = append(append(b, a[:]...), byte(p.Bits()+128-p.Addr().BitLen())) //nolint:gosec // 0 to 128
		}
		s.digest = sha256.Sum256(b)
	})
	return s.digest
}

// newAddrSet is the union of in less the union of except.
func newAddrSet(in, except []netip.Prefix) *AddrSet {
	var b netipx.IPSetBuilder
	for _, p := range in {
		b.AddPrefix(p)
	}
	for _, p := range except {
		b.RemovePrefix(p)
	}
	s, err := b.IPSet()
	if err != nil { // only for invalid prefixes, which api.ParseCIDR does not let through
		s = &netipx.IPSet{}
	}
	return &AddrSet{set: s, prefixes: s.Prefixes()}
}

// union of sets, nil for none.
func unionAddrs(sets []*AddrSet) *AddrSet {
	switch len(sets) {
	case 0:
		return nil
	case 1:
		return sets[0]
	}
	var b netipx.IPSetBuilder
	for _, s := range sets {
		b.AddSet(s.set)
	}
	u, err := b.IPSet()
	if err != nil {
		u = &netipx.IPSet{}
	}
	return &AddrSet{set: u, prefixes: u.Prefixes()}
}

// Contains reports whether a is in the set.
func (s *AddrSet) Contains(a netip.Addr) bool { return s.set.Contains(a.Unmap()) }

// Prefixes are the set in its shortest form: disjoint and sorted.
func (s *AddrSet) Prefixes() []netip.Prefix { return s.prefixes }

// Empty reports whether nothing is in the set.
func (s *AddrSet) Empty() bool { return len(s.prefixes) == 0 }

// ContainsPrefix reports whether every address of p is in the set.
func (s *AddrSet) ContainsPrefix(p netip.Prefix) bool { return s.set.ContainsPrefix(p) }

// NewAddrSet is the set of the addresses in the prefixes.
func NewAddrSet(prefixes iter.Seq[netip.Prefix]) *AddrSet {
	return newAddrSet(slices.Collect(prefixes), nil)
}
