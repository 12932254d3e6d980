package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"pavise.dev/pavise/api"
)

// ruleSource is what ingress and egress rules have in common.
type ruleSource struct {
	name   string
	action api.Action
	peers  []api.EgressPeer
	match  *api.RuleMatch
}

// compiledRule is a rule and what it was compiled from. It holds on to what it depends on,
// and is found from there when that changes.
type compiledRule struct {
	policy    *compiledPolicy
	direction Direction
	index     int
	rule      *Rule
	problems  []api.Problem
	groups    []*group
	sets      []*networkSet
}

// release lets go of what the rule depends on.
func (r *compiledRule) release() {
	for _, g := range r.groups {
		delete(g.rules, r)
	}
	for _, s := range r.sets {
		delete(s.rules, r)
	}
	r.groups, r.sets = nil, nil
}

// compileRule makes the rule of its source, and reports whether it decides anything else than
// before. If not, the rule is the same pointer as before.
func (c *Compiler) compileRule(r *compiledRule, src ruleSource) bool {
	r.release()
	had := len(r.problems) > 0
	r.problems = nil
	c.current, c.into = r, &r.problems
	rule := c.rule(r.policy, r.direction, r.index, src)
	c.current = nil
	c.problemsChanged = c.problemsChanged || had || len(r.problems) > 0
	if r.rule != nil {
		if c.sums.of(rule) == c.sums.of(r.rule) {
			delete(c.sums.sums, rule)
			return false
		}
		delete(c.sums.sums, r.rule)
	}
	r.rule = rule
	return true
}

// dropRule forgets a rule for good.
func (c *Compiler) dropRule(r *compiledRule) {
	r.release()
	delete(c.sums.sums, r.rule)
	delete(c.staleRules, r)
	c.problemsChanged = c.problemsChanged || len(r.problems) > 0
}

func (c *Compiler) rule(p *compiledPolicy, d Direction, i int, src ruleSource) *Rule {
	r := &Rule{
		Tier: p.head.tier, Policy: p.ref, Name: src.name, Audit: p.head.audit,
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
func (c *Compiler) peerTerms(p *compiledPolicy, d Direction, r *Rule, peers []api.EgressPeer, base Term) []Term {
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
		s, ds := c.peer(p, r, d, fmt.Sprintf("%s.%s[%d]", r.Field, side, i), &peers[i])
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

func (c *Compiler) peer(p *compiledPolicy, r *Rule, d Direction, field string, peer *api.EgressPeer) (*AddrSet, []Domain) {
	switch {
	case len(peer.CIDRs) > 0:
		return newAddrSet(parseCIDRs(peer.CIDRs), parseCIDRs(peer.Except)), nil
	case len(peer.Domains) > 0:
		return nil, parseDomains(peer.Domains)
	case len(peer.NetworkSets) > 0:
		return c.networkSetPeers(p, field, peer.NetworkSets)
	case len(peer.ServiceAccounts) > 0:
		return c.serviceAccounts(p, field, peer.ServiceAccounts).towards(d, r.Action), nil
	}
	var namespaces, pods labels.Selector
	if peer.NamespaceSelector != nil {
		namespaces = c.selector(p.object, field+".namespaceSelector", peer.NamespaceSelector)
	}
	if peer.PodSelector != nil {
		pods = c.selector(p.object, field+".podSelector", peer.PodSelector)
	}
	g := c.depend(c.groupBySelector(p.ref.Namespace, namespaces, pods))
	if g.none {
		c.warn("PAV0706", p.object, field, "selects no workload", "check the labels of the selector against those of the workloads")
	}
	return g.towards(d, r.Action), nil
}

// depend notes that the rule that is being compiled depends on the group.
func (c *Compiler) depend(g *group) *group {
	g.rules[c.current] = struct{}{}
	c.current.groups = append(c.current.groups, g)
	return g
}

func (c *Compiler) serviceAccounts(p *compiledPolicy, field string, names []string) *group {
	full := make([]string, len(names))
	for i, n := range names {
		full[i] = c.qualify(p, n)
	}
	g := c.depend(c.groupByAccount(full))
	if g.none {
		c.warn("PAV0706", p.object, field+".serviceAccounts", "no workload has one of these service accounts", "")
	}
	return g
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
