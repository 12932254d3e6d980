package guard

import (
	"net/netip"
	"strings"

	"github.com/gaissmai/bart"

	"pavise.dev/pavise/feeds/parse"
)

// Place is something that must not be blocked: a range or a name.
type Place struct {
	// Prefix is invalid where the place is a name.
	Prefix netip.Prefix
	// Domain is canonical, as api.CanonicalHost returns it, without *.
	Domain string
	// Below makes every name below Domain part of the place.
	Below bool
	// Why is shown in the reason: "the API server".
	Why string
}

// Places is a set of places, compiled once and shared. It does not change.
type Places struct {
	ranges  *bart.Lite // of every prefix, to say no fast
	list    []Place    // those with a prefix, to say why
	exact   map[string]*Place
	parents map[string]*Place // the names above each exact one
	below   map[string]*Place // those of which names below are meant, too
}

// NewPlaces compiles places. One without prefix and name is nothing.
func NewPlaces(list ...Place) *Places {
	s := &Places{
		ranges: new(bart.Lite),
		exact:  map[string]*Place{}, parents: map[string]*Place{}, below: map[string]*Place{},
	}
	for _, p := range list {
		if p.Prefix.IsValid() {
			p.Prefix = unmap(p.Prefix)
			s.ranges.Insert(p.Prefix)
			s.list = append(s.list, p)
			continue
		}
		if p.Domain != "" {
			s.name(&p)
		}
	}
	return s
}

func (s *Places) name(p *Place) {
	first := func(m map[string]*Place, key string) {
		if m[key] == nil {
			m[key] = p
		}
	}
	first(s.exact, p.Domain)
	if p.Below {
		first(s.below, p.Domain)
	}
	for _, rest, ok := strings.Cut(p.Domain, "."); ok; _, rest, ok = strings.Cut(rest, ".") {
		first(s.parents, rest)
	}
}

// overlaps reports whether a range has an address with a place in common. The prefix is
// masked and not IPv4-mapped.
func (s *Places) overlaps(p netip.Prefix) bool {
	if len(s.list) == 0 {
		return false
	}
	if p.IsSingleIP() {
		return s.ranges.Contains(p.Addr())
	}
	return s.ranges.OverlapsPrefix(p)
}

// at is the first place that a range overlaps, nil for none.
func (s *Places) at(p netip.Prefix) *Place {
	for i := range s.list {
		if s.list[i].Prefix.Overlaps(p) {
			return &s.list[i]
		}
	}
	return nil
}

// named is a place that an entry would block, nil for none.
func (s *Places) named(domain []byte, match parse.Match) *Place {
	if match&parse.Self != 0 {
		if p := s.exact[string(domain)]; p != nil {
			return p
		}
	}
	if match&parse.Below != 0 {
		if p := s.parents[string(domain)]; p != nil {
			return p
		}
	}
	if len(s.below) == 0 {
		return nil
	}
	// Whatever an entry means at or below such a name, it is part of the place.
	for rest := domain; ; {
		if p := s.below[string(rest)]; p != nil {
			return p
		}
		dot := indexDot(rest)
		if dot < 0 {
			return nil
		}
		rest = rest[dot+1:]
	}
}

func indexDot(b []byte) int {
	for i, c := range b {
		if c == '.' {
			return i
		}
	}
	return -1
}

// unmap masks a prefix, and makes one of IPv4-mapped addresses the IPv4 one.
func unmap(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}
