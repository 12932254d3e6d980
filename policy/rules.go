package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pavise.dev/pavise/api"
)

// ruleSource is what ingress and egress rules have in common.
type ruleSource struct {
	name   string
	action api.Action
	peers  []api.EgressPeer
	match  *api.RuleMatch
}

func (c *compiler) rule(p *compiledPolicy, d Direction, i int, src ruleSource) *Rule {
	r := &Rule{
		Tier: p.tier, Policy: p.ref, Name: src.name, Audit: p.audit,
		Action: Action(strings.ToLower(string(src.action))),
		Field:  fmt.Sprintf("spec.%s[%d]", d, i),
	}
	if r.Name == "" {
		r.Name = fmt.Sprintf("rule-%d", i+1)
	}
	base := Term{}
	if len(src.match.Ports) > 0 {
		base.Ports = tcpPorts(src.match.Ports)
		if len(base.Ports) == 0 {
			c.warn("PAV0703", p.object, r.Field+".ports", "names UDP ports only, and no UDP passes through Envoy: the rule never matches", "")
			return r
		}
	}
	if src.match.TLS != nil {
		base.ServerNames = parseDomains(src.match.TLS.ServerNames)
	}
	for _, t := range c.peerTerms(p, d, r, src.peers, base) {
		r.Terms = append(r.Terms, httpTerms(t, src.match.HTTP, r.Action == Deny)...)
	}
	return r
}

func tcpPorts(ports []api.Port) []PortRange {
	var out []PortRange
	for _, p := range ports {
		if p.Protocol == api.ProtocolUDP {
			continue
		}
		r := PortRange{uint16(p.Port), uint16(p.Port)} //nolint:gosec // validated to 1..65535
		if p.EndPort != 0 {
			r.Last = uint16(p.EndPort) //nolint:gosec // validated to 1..65535
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b PortRange) int { return int(a.First) - int(b.First) })
	merged := out[:0]
	for _, r := range out {
		if n := len(merged); n > 0 && int(r.First) <= int(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// peerTerms gives base once for the addresses and once for the domains of the peers;
// peers are alternatives, and an address and a name are different questions.
func (c *compiler) peerTerms(p *compiledPolicy, d Direction, r *Rule, peers []api.EgressPeer, base Term) []Term {
	if len(peers) == 0 {
		return []Term{base}
	}
	side := "from"
	if d == Egress {
		side = "to"
	}
	var sets []*AddrSet
	var domains []Domain
	for i := range peers {
		s, ds := c.peer(p, fmt.Sprintf("%s.%s[%d]", r.Field, side, i), &peers[i])
		if s != nil && !s.Empty() {
			sets = append(sets, s)
		}
		domains = append(domains, ds...)
	}
	var out []Term
	if u := unionAddrs(sets); u != nil {
		t := base
		if d == Ingress {
			t.Sources = u
		} else {
			t.Destinations = u
		}
		out = append(out, t)
	}
	if len(domains) > 0 && d == Egress {
		t := base
		t.Domains = sortDomains(domains)
		out = append(out, t)
	}
	if len(out) == 0 {
		c.warn("PAV0705", p.object, r.Field+"."+side, "stands for no address and no domain at present: the rule matches nothing", "")
	}
	return out
}

func (c *compiler) peer(p *compiledPolicy, field string, peer *api.EgressPeer) (*AddrSet, []Domain) {
	switch {
	case len(peer.CIDRs) > 0:
		return newAddrSet(parseCIDRs(peer.CIDRs), parseCIDRs(peer.Except)), nil
	case len(peer.Domains) > 0:
		return nil, parseDomains(peer.Domains)
	case len(peer.NetworkSets) > 0:
		return c.networkSetPeers(p, field, peer.NetworkSets)
	case len(peer.ServiceAccounts) > 0:
		return c.serviceAccounts(p, field, peer.ServiceAccounts), nil
	}
	pick := func(m *member) bool { return p.ref.Namespace == "" || m.workload.Namespace == p.ref.Namespace }
	if peer.NamespaceSelector != nil {
		ns := c.selector(p.object, field+".namespaceSelector", peer.NamespaceSelector)
		pick = func(m *member) bool { return ns.Matches(m.namespaceLabels) }
	}
	inNamespace := pick
	if peer.PodSelector != nil {
		pods := c.selector(p.object, field+".podSelector", peer.PodSelector)
		pick = func(m *member) bool { return inNamespace(m) && pods.Matches(m.labels) }
	}
	s, n := addressesOf(c.inventory, pick)
	if n == 0 {
		c.warn("PAV0706", p.object, field, "selects no workload", "check the labels of the selector against those of the workloads")
	}
	return s, nil
}

func (c *compiler) serviceAccounts(p *compiledPolicy, field string, names []string) *AddrSet {
	want := map[string]bool{}
	for _, n := range names {
		want[c.qualify(p, n)] = true
	}
	s, n := addressesOf(c.inventory, func(m *member) bool {
		return m.workload.Spec.ServiceAccount != "" && want[m.workload.Namespace+"/"+m.workload.Spec.ServiceAccount]
	})
	if n == 0 {
		c.warn("PAV0706", p.object, field+".serviceAccounts", "no workload has one of these service accounts", "")
	}
	return s
}

// qualify gives a name without a namespace that of its policy.
func (c *compiler) qualify(p *compiledPolicy, name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return p.ref.Namespace + "/" + name
}

// resolvedSet is a NetworkSet in compiled form.
type resolvedSet struct {
	addrs   *AddrSet
	domains []Domain
}

func (c *compiler) resolveSet(n *api.NetworkSet) *resolvedSet {
	return &resolvedSet{
		addrs:   newAddrSet(parseCIDRs(n.Spec.CIDRs), parseCIDRs(n.Spec.Except)),
		domains: parseDomains(n.Spec.Domains),
	}
}

func (c *compiler) networkSetPeers(p *compiledPolicy, field string, names []string) (*AddrSet, []Domain) {
	var sets []*AddrSet
	var domains []Domain
	for i, n := range names {
		s, ok := c.networkSets[c.qualify(p, n)]
		if !ok {
			c.fail("PAV0707", p.object, fmt.Sprintf("%s.networkSets[%d]", field, i),
				fmt.Sprintf("there is no NetworkSet %s", c.qualify(p, n)), "name one that exists, as NAME in the namespace of the policy or as NAMESPACE/NAME")
			continue
		}
		sets = append(sets, s.addrs)
		domains = append(domains, s.domains...)
	}
	return unionAddrs(sets), domains
}

// httpTerms crosses a term with the alternatives of http.
func httpTerms(t Term, matches []api.HTTPMatch, wide bool) []*Term {
	if len(matches) == 0 {
		return []*Term{&t}
	}
	out := make([]*Term, 0, len(matches))
	for i := range matches {
		c := t
		c.HTTP = httpTerm(&matches[i], wide)
		out = append(out, &c)
	}
	return out
}

func httpTerm(m *api.HTTPMatch, wide bool) *HTTPTerm {
	h := &HTTPTerm{Methods: slices.Clone(m.Methods), Hosts: sortDomains(parseDomains(m.Hosts))}
	slices.Sort(h.Methods)
	h.Methods = slices.Compact(h.Methods)
	for _, p := range m.Paths {
		h.Paths = append(h.Paths, pathPattern(p))
	}
	for _, v := range m.Headers {
		h.Values = append(h.Values, valueTest(Header, v, wide))
	}
	for _, v := range m.Query {
		h.Values = append(h.Values, valueTest(Query, v, wide))
	}
	return h
}

func pathPattern(p api.PathMatch) PathPattern {
	switch {
	case p.Exact != "":
		return newPathPattern(ExactPath, p.Exact)
	case p.Prefix != "":
		return newPathPattern(PrefixPath, p.Prefix)
	case p.Template != "":
		return newPathPattern(TemplatePath, p.Template)
	}
	return newPathPattern(RegexPath, p.Regex)
}

func valueTest(place Place, v api.ValueMatch, wide bool) ValueTest {
	switch {
	case v.Present != nil && !*v.Present:
		return newValueTest(place, v.Name, absentValue, "", wide)
	case v.Exact != "":
		return newValueTest(place, v.Name, exactValue, v.Exact, wide)
	case v.Prefix != "":
		return newValueTest(place, v.Name, prefixValue, v.Prefix, wide)
	case v.Regex != "":
		return newValueTest(place, v.Name, regexValue, v.Regex, wide)
	}
	return newValueTest(place, v.Name, presentValue, "", wide)
}

// parseCIDRs and parseDomains pass over what validation has already refused.
func parseCIDRs(in []string) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(in))
	for _, s := range in {
		if p, err := api.ParseCIDR(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func parseDomains(in []string) []Domain {
	out := make([]Domain, 0, len(in))
	for _, s := range in {
		if d, err := ParseDomain(s); err == nil {
			out = append(out, d)
		}
	}
	return out
}

func sortDomains(ds []Domain) []Domain {
	slices.SortFunc(ds, func(a, b Domain) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(ds)
}
