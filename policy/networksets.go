package policy

import (
	"fmt"
	"slices"
	"strings"

	"pavise.dev/pavise/api"
)

// networkSet is a NetworkSet in compiled form, or the name of one that rules ask for and
// that is not there.
type networkSet struct {
	object  *api.NetworkSet // nil where there is none
	addrs   *AddrSet
	domains []Domain
	rules   map[*compiledRule]struct{} // that name it
}

func (s *networkSet) key() (namespace, name string) { return s.object.Namespace, s.object.Name }
func (s *networkSet) current() *api.NetworkSet      { return s.object }

// take replaces the object, nil for none, and reports whether a rule could tell.
func (s *networkSet) take(n *api.NetworkSet) bool {
	known := s.object != nil
	s.object = n
	if n == nil {
		s.addrs, s.domains = nil, nil
		return known
	}
	addrs := newAddrSet(parseCIDRs(n.Spec.CIDRs), parseCIDRs(n.Spec.Except))
	domains := parseDomains(n.Spec.Domains)
	if known && slices.Equal(addrs.prefixes, s.addrs.prefixes) && slices.Equal(domains, s.domains) {
		return false
	}
	s.addrs, s.domains = addrs, domains
	return true
}

// networkSet is that of the name NAMESPACE/NAME.
func (c *Compiler) networkSet(name string) *networkSet {
	s := c.sets[name]
	if s == nil {
		s = &networkSet{rules: map[*compiledRule]struct{}{}}
		c.sets[name] = s
	}
	return s
}

// networkSets takes over those of the set, and has the rules compiled again that name one
// that changed.
func (c *Compiler) networkSets() {
	change := func(s *networkSet, n *api.NetworkSet) {
		if s.take(n) {
			for r := range s.rules {
				c.staleRules[r] = struct{}{}
			}
		}
	}
	c.givenSets = follow(c.givenSets, c.set.NetworkSets, func(n *api.NetworkSet) *networkSet {
		s := c.networkSet(n.Namespace + "/" + n.Name)
		change(s, n)
		return s
	}, change, func(s *networkSet) { change(s, nil) })
}

// forgetNetworkSets drops what is neither there nor asked for.
func (c *Compiler) forgetNetworkSets() {
	for name, s := range c.sets {
		if s.object == nil && len(s.rules) == 0 {
			delete(c.sets, name)
		}
	}
}

// qualify gives a name without a namespace that of its policy.
func (c *Compiler) qualify(p *compiledPolicy, name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return p.ref.Namespace + "/" + name
}

func (c *Compiler) networkSetPeers(p *compiledPolicy, field string, names []string) (*AddrSet, []Domain) {
	var sets []*AddrSet
	var domains []Domain
	for i, n := range names {
		s := c.networkSet(c.qualify(p, n))
		s.rules[c.current] = struct{}{}
		c.current.sets = append(c.current.sets, s)
		if s.object == nil {
			c.fail("PAV0707", p.object, fmt.Sprintf("%s.networkSets[%d]", field, i),
				fmt.Sprintf("there is no NetworkSet %s", c.qualify(p, n)), "name one that exists, as NAME in the namespace of the policy or as NAMESPACE/NAME")
			continue
		}
		sets = append(sets, s.addrs)
		domains = append(domains, s.domains...)
	}
	return unionAddrs(sets), domains
}
