package policy

import (
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"pavise.dev/pavise/api"
)

// groupKey is what a peer asks of workloads, in a form that can be compared.
type groupKey struct{ namespace, namespaces, pods, accounts string }

// group is the workloads that a peer stands for. Rules whose peers ask for the same share
// one, so a workload is held against each question once, however many rules ask it.
type group struct {
	key        groupKey
	namespace  string          // where there are no selectors of namespaces; empty is all
	namespaces labels.Selector // or nil
	pods       labels.Selector // or nil
	accounts   map[string]bool // NAMESPACE/NAME; nil does not ask
	members    map[*member]struct{}
	none       bool // as it was when the rules that ask were compiled
	// addrs are those that the members' own connections come from. As destinations there are
	// with them the addresses of services: in some those that may hand on to a member, in all
	// those that hand on to nobody else.
	addrs, some, all *AddrSet
	rules            map[*compiledRule]struct{} // that ask for it
}

func (g *group) matches(m *member) bool {
	switch {
	case g.accounts != nil:
		a := m.workload.Spec.ServiceAccount
		return a != "" && g.accounts[m.workload.Namespace+"/"+a]
	case g.namespaces != nil && !g.namespaces.Matches(m.space.labels):
		return false
	case g.namespaces == nil && g.namespace != "" && g.namespace != m.workload.Namespace:
		return false
	}
	return g.pods == nil || g.pods.Matches(m.labels())
}

// readdress makes the sets of addresses again. It keeps those that come out equal, and
// reports whether a rule could tell the difference: it is warned of a group without members.
func (g *group) readdress(behind map[netip.Addr]map[*member]struct{}) bool {
	was := g.none
	g.none = len(g.members) == 0
	var own, some, all []netip.Prefix
	shared := map[netip.Addr]int{}
	for m := range g.members {
		for _, a := range m.addresses {
			own = append(own, netip.PrefixFrom(a, a.BitLen()))
		}
		for _, a := range m.services {
			shared[a]++
		}
	}
	for a, members := range shared {
		some = append(some, netip.PrefixFrom(a, a.BitLen()))
		if members == len(behind[a]) {
			all = append(all, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	changed := was != g.none
	for _, set := range []struct {
		at       **AddrSet
		prefixes []netip.Prefix
	}{{&g.addrs, own}, {&g.some, append(some, own...)}, {&g.all, append(all, own...)}} {
		if s := newAddrSet(set.prefixes, nil); *set.at == nil || !slices.Equal(s.prefixes, (*set.at).prefixes) {
			*set.at, changed = s, true
		}
	}
	return changed
}

// towards is what a rule of that direction and action is asked about when the group is its
// peer. An address that leads to others too is denied with them, and not allowed with them.
func (g *group) towards(d Direction, a Action) *AddrSet {
	switch {
	case d == Ingress:
		return g.addrs
	case a == Deny:
		return g.some
	}
	return g.all
}

// joinServices takes over the addresses by which the member is reached, beside its own.
// Whoever shares one is looked at again: whether a group has all of a service depends on it.
func (c *Compiler) joinServices(m *member, w *api.Workload) {
	m.services = parseAddresses(w.Spec.ServiceAddresses)
	slices.SortFunc(m.services, netip.Addr.Compare)
	m.services = slices.Compact(m.services)
	for _, a := range m.services {
		if c.behind[a] == nil {
			c.behind[a] = map[*member]struct{}{}
		}
		c.behind[a][m] = struct{}{}
		c.serviceChanged(a)
	}
}

func (c *Compiler) leaveServices(m *member) {
	for _, a := range m.services {
		delete(c.behind[a], m)
		c.serviceChanged(a)
		if len(c.behind[a]) == 0 {
			delete(c.behind, a)
		}
	}
	c.readdressed[m] = struct{}{}
	m.services = nil
}

func (c *Compiler) serviceChanged(a netip.Addr) {
	for m := range c.behind[a] {
		c.readdressed[m] = struct{}{}
	}
}

// groupBySelector is the group of the workloads that selectors pick; nil asks nothing. The
// namespace is that of the policy, and counts where no selector of namespaces is given.
func (c *Compiler) groupBySelector(namespace string, namespaces, pods labels.Selector) *group {
	g := &group{namespace: namespace, namespaces: namespaces, pods: pods}
	if namespaces != nil {
		g.namespace = ""
	}
	g.key = groupKey{namespace: g.namespace, namespaces: selectorKey(namespaces), pods: selectorKey(pods)}
	return c.group(g)
}

func (c *Compiler) groupByAccount(names []string) *group {
	g := &group{accounts: map[string]bool{}}
	for _, n := range names {
		g.accounts[n] = true
	}
	names = slices.Clone(names)
	slices.Sort(names)
	g.key = groupKey{accounts: strings.Join(slices.Compact(names), "\x00")}
	return c.group(g)
}

// selectorKey tells selectors apart: one that matches everything and one that matches
// nothing are both written as nothing.
func selectorKey(s labels.Selector) string {
	switch {
	case s == nil || s.Empty():
		return ""
	case s.String() == "":
		return "!"
	}
	return s.String()
}

// group is the one with the key of g, or g itself with its members.
func (c *Compiler) group(g *group) *group {
	if known := c.groups[g.key]; known != nil {
		return known
	}
	g.members, g.rules = map[*member]struct{}{}, map[*compiledRule]struct{}{}
	if g.namespace != "" {
		c.join(g, c.spaces[g.namespace])
	} else {
		for _, s := range c.spaces {
			if g.namespaces == nil || g.namespaces.Matches(s.labels) {
				c.join(g, s)
			}
		}
	}
	g.readdress(c.behind)
	c.groups[g.key] = g
	if c.groupsIn[g.namespace] == nil {
		c.groupsIn[g.namespace] = map[*group]struct{}{}
	}
	c.groupsIn[g.namespace][g] = struct{}{}
	return g
}

func (c *Compiler) join(g *group, s *space) {
	if s == nil {
		return
	}
	for m := range s.members {
		if g.matches(m) {
			g.members[m] = struct{}{}
		}
	}
}

// groupsOf are those that a member may be in: of its namespace, and of no particular one.
func (c *Compiler) groupsOf(m *member, each func(*group)) {
	for _, namespace := range []string{m.space.name, ""} {
		for g := range c.groupsIn[namespace] {
			each(g)
		}
		if m.space.name == "" {
			return
		}
	}
}

func (c *Compiler) leaveGroups(m *member) {
	c.groupsOf(m, func(g *group) {
		if _, in := g.members[m]; in {
			delete(g.members, m)
			c.staleGroups[g] = struct{}{}
		}
	})
}

// regroup takes over what changed of the members, and has the rules compiled again that can
// tell the difference.
func (c *Compiler) regroup() {
	for m := range c.moved {
		c.groupsOf(m, func(g *group) {
			_, was := g.members[m]
			is := g.matches(m)
			if is == was {
				return
			}
			if is {
				g.members[m] = struct{}{}
			} else {
				delete(g.members, m)
			}
			c.staleGroups[g] = struct{}{}
		})
	}
	for m := range c.readdressed {
		c.groupsOf(m, func(g *group) {
			if _, in := g.members[m]; in {
				c.staleGroups[g] = struct{}{}
			}
		})
	}
	for g := range c.staleGroups {
		if g.readdress(c.behind) {
			for r := range g.rules {
				c.staleRules[r] = struct{}{}
			}
		}
	}
}

// forgetGroups drops those that no rule asks for any more.
func (c *Compiler) forgetGroups() {
	for key, g := range c.groups {
		if len(g.rules) == 0 {
			delete(c.groups, key)
			delete(c.groupsIn[g.namespace], g)
			if len(c.groupsIn[g.namespace]) == 0 {
				delete(c.groupsIn, g.namespace)
			}
		}
	}
}
