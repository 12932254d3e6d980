package matcher

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pavise.dev/pavise/policy"
)

// Classes tells apart the addresses that a proxy may connect to. Envoy offers the
// resolved address of a named destination to one matcher only, in lists of policies; so
// a first filter finds the longest of the prefixes that any rule names and leaves its
// name in the filter state, and the tree asks for that name.
//
// The two filters are two resources, which Envoy takes over one after the other. The
// names therefore carry the digest of the prefixes, and a tree refuses a name of
// another digest (policy-updating) rather than misread it.
type Classes struct {
	// Prefixes are all that rules name, longest first, so that the first that
	// contains an address is the longest that does.
	Prefixes []netip.Prefix
	digest   string
	sets     map[*policy.AddrSet][]string
}

// Name is what the i-th prefix is called, and the class of what is in none for i equal
// to their number. Names sort as the prefixes do, since Envoy asks policies in the
// order of their names; and end with the prefix, for who reads them in a log.
func (c *Classes) Name(i int) string {
	name := fmt.Sprintf("%s/%06d", c.digest, i)
	if i < len(c.Prefixes) {
		name += "/" + c.Prefixes[i].String()
	}
	return name
}

// PrefixOf is the prefix of a class by its name; empty for that of what is in none.
func PrefixOf(class string) string {
	_, rest, _ := strings.Cut(class, "/")
	_, prefix, _ := strings.Cut(rest, "/")
	return prefix
}

// Of returns the name of the class of an address; of an unknown one, too.
func (c *Classes) Of(a netip.Addr) string {
	for i, p := range c.Prefixes {
		if p.Contains(a) {
			return c.Name(i)
		}
	}
	return c.Name(len(c.Prefixes))
}

func (c *Classes) of(s *policy.AddrSet) []string { return c.sets[s] }

// NewClasses collects the destinations of a program.
func NewClasses(p *policy.Program) *Classes {
	c := &Classes{sets: map[*policy.AddrSet][]string{}}
	for _, r := range p.Rules {
		for _, t := range r.Terms {
			if t.Destinations != nil {
				c.sets[t.Destinations] = nil
				c.Prefixes = append(c.Prefixes, t.Destinations.Prefixes()...)
			}
		}
	}
	slices.SortFunc(c.Prefixes, func(a, b netip.Prefix) int {
		if a.Bits() != b.Bits() {
			return b.Bits() - a.Bits()
		}
		return a.Addr().Compare(b.Addr())
	})
	c.Prefixes = slices.Compact(c.Prefixes)
	h := sha256.New()
	for _, p := range c.Prefixes {
		fmt.Fprintln(h, p)
	}
	c.digest = hex.EncodeToString(h.Sum(nil)[:8])
	for s := range c.sets {
		for i, p := range c.Prefixes {
			if s.ContainsPrefix(p) {
				c.sets[s] = append(c.sets[s], c.Name(i))
			}
		}
	}
	return c
}
