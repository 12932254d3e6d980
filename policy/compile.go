package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"pavise.dev/pavise/api"
)

// defaultOrder is where a policy without an order stands in its tier.
const defaultOrder = 1000

// Compile turns objects into a model. Problems of severity [api.Error] mean that the
// model must not be used; warnings are worth a look. The set is expected to have
// been read by [api.Loader], which refuses what Compile would stumble on.
//
// The cost is linear in rules plus selected workloads; the rules of a policy are
// compiled once and shared by every workload that it selects.
func Compile(set *api.Set) (*Model, []api.Problem) {
	c := &compiler{set: set, inventory: newInventory(set), networkSets: map[string]*resolvedSet{}}
	for _, n := range set.NetworkSets {
		c.networkSets[n.Namespace+"/"+n.Name] = c.resolveSet(n)
	}
	policies := c.policies()
	m := &Model{}
	used := make([]bool, len(policies))
	for _, w := range c.inventory {
		m.Workloads = append(m.Workloads, c.workload(w, policies, used))
	}
	for i, p := range policies {
		if !used[i] {
			c.warn("PAV0701", p.object, "spec.selector", "selects no workload", "check the labels of the selector against those of the workloads")
		}
	}
	m.Digest = digestModel(m)
	c.findUnreachable(policies)
	api.SortProblems(c.problems)
	return m, c.problems
}

type compiler struct {
	set         *api.Set
	inventory   []*member
	networkSets map[string]*resolvedSet
	problems    []api.Problem
}

// object is what a problem is about.
type object struct{ kind, namespace, name string }

func (o object) String() string {
	if o.namespace == "" {
		return o.kind + " " + o.name
	}
	return o.kind + " " + o.namespace + "/" + o.name
}

func (c *compiler) problem(sev api.Severity, code string, o object, field, message, fix string) {
	file, line := c.set.Position(o.kind, o.namespace, o.name, field)
	c.problems = append(c.problems, api.Problem{
		Code: code, Severity: sev, File: file, Line: line,
		Object: o.String(), Field: field, Message: message, Fix: fix,
	})
}

func (c *compiler) warn(code string, o object, field, message, fix string) {
	c.problem(api.Warning, code, o, field, message, fix)
}

func (c *compiler) fail(code string, o object, field, message, fix string) {
	c.problem(api.Error, code, o, field, message, fix)
}

// compiledPolicy is one policy with its rules, before it is given to workloads.
type compiledPolicy struct {
	object     object
	ref        PolicyRef
	tier       Tier
	order      int32
	audit      bool
	namespaces labels.Selector // nil: only ref.Namespace
	workloads  labels.Selector
	ingress    []*Rule // nil: says nothing of this direction
	egress     []*Rule
}

func (p *compiledPolicy) rules(d Direction) []*Rule {
	if d == Ingress {
		return p.ingress
	}
	return p.egress
}

func (p *compiledPolicy) selects(w *member) bool {
	if p.namespaces == nil {
		if p.ref.Namespace != w.workload.Namespace {
			return false
		}
	} else if !p.namespaces.Matches(w.namespaceLabels) {
		return false
	}
	return p.workloads.Matches(w.labels)
}

// policies compiles all of them, in the order of evaluation.
func (c *compiler) policies() []*compiledPolicy {
	var out []*compiledPolicy
	for _, p := range c.set.AccessPolicies {
		out = append(out, c.policy(object{api.KindAccessPolicy, p.Namespace, p.Name}, Namespace, nil, &p.Spec))
	}
	for _, p := range c.set.ClusterAccessPolicies {
		tier := Admin
		if p.Spec.Tier == api.TierBaseline {
			tier = Baseline
		}
		o := object{api.KindClusterAccessPolicy, "", p.Name}
		ns := c.selector(o, "spec.namespaceSelector", &p.Spec.NamespaceSelector)
		out = append(out, c.policy(o, tier, ns, &p.Spec.AccessPolicySpec))
	}
	slices.SortStableFunc(out, func(a, b *compiledPolicy) int {
		return cmp.Or(
			cmp.Compare(slices.Index(Tiers, a.tier), slices.Index(Tiers, b.tier)),
			cmp.Compare(a.order, b.order), a.ref.compare(b.ref))
	})
	return out
}

func (c *compiler) policy(o object, tier Tier, namespaces labels.Selector, spec *api.AccessPolicySpec) *compiledPolicy {
	p := &compiledPolicy{
		object: o, ref: PolicyRef{o.namespace, o.name}, tier: tier, order: defaultOrder,
		audit: spec.Mode == api.ModeAudit, namespaces: namespaces,
		workloads: c.selector(o, "spec.selector", &spec.Selector),
	}
	if spec.Order != nil {
		p.order = *spec.Order
	}
	if spec.Ingress != nil {
		p.ingress = make([]*Rule, 0, len(spec.Ingress))
		for i := range spec.Ingress {
			r := &spec.Ingress[i]
			p.ingress = append(p.ingress, c.rule(p, Ingress, i, ruleSource{r.Name, r.Action, ingressPeers(r.From), &r.RuleMatch}))
		}
	}
	if spec.Egress != nil {
		p.egress = make([]*Rule, 0, len(spec.Egress))
		for i := range spec.Egress {
			r := &spec.Egress[i]
			p.egress = append(p.egress, c.rule(p, Egress, i, ruleSource{r.Name, r.Action, r.To, &r.RuleMatch}))
		}
	}
	return p
}

func ingressPeers(from []api.Peer) []api.EgressPeer {
	out := make([]api.EgressPeer, len(from))
	for i := range from {
		out[i].Peer = from[i]
	}
	return out
}

func (c *compiler) selector(o object, field string, s *metav1.LabelSelector) labels.Selector {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		c.fail("PAV0702", o, field, "the selector is not valid: "+err.Error(), "")
		return labels.Nothing()
	}
	return sel
}

// workload gives one workload its listeners and programs. A listener's program is
// one of two, by direction, so their rules are collected once.
func (c *compiler) workload(m *member, policies []*compiledPolicy, used []bool) *Workload {
	w := &Workload{Namespace: m.workload.Namespace, Name: m.workload.Name, Addresses: m.addresses, FeedsClosed: c.feedsClosed(m.workload)}
	programs := map[Direction]*Program{Ingress: {Direction: Ingress}, Egress: {Direction: Egress}}
	var selected []*compiledPolicy
	for i, p := range policies {
		if !p.selects(m) {
			continue
		}
		used[i] = true
		selected = append(selected, p)
		for d, prog := range programs {
			rules := p.rules(d)
			if rules == nil {
				continue
			}
			prog.Rules = append(prog.Rules, rules...)
			switch {
			case p.tier != Namespace:
			case p.audit:
				prog.Auditing = append(prog.Auditing, p.ref)
			default:
				prog.Isolating = append(prog.Isolating, p.ref)
			}
		}
	}
	for _, prog := range programs {
		slices.SortFunc(prog.Isolating, PolicyRef.compare)
		slices.SortFunc(prog.Auditing, PolicyRef.compare)
	}
	for i := range m.workload.Spec.Inbound {
		w.Listeners = append(w.Listeners, inbound(&m.workload.Spec.Inbound[i], programs[Ingress]))
	}
	for i := range m.workload.Spec.Outbound {
		w.Listeners = append(w.Listeners, outbound(&m.workload.Spec.Outbound[i], programs[Egress]))
	}
	if t := m.workload.Spec.Transparent; t != nil {
		w.Listeners = append(w.Listeners, transparent(t, Ingress, programs[Ingress]), transparent(t, Egress, programs[Egress]))
	}
	c.warnBlunt(w, selected)
	c.refuseUnseen(w, selected)
	return w
}

// feedsClosed is what the workload says, or what its feeds ask for.
func (c *compiler) feedsClosed(w *api.Workload) bool {
	if mode := w.Spec.Feeds.OnFailure; mode != "" {
		return mode == api.FailClosed
	}
	return slices.ContainsFunc(c.set.ThreatFeeds, func(f *api.ThreatFeed) bool {
		return f.Spec.Required && f.Spec.Action != api.FeedAlert && !f.Spec.Suspend
	})
}

// refuseUnseen refuses rules that ask an explicit proxy for what it does not see.
func (c *compiler) refuseUnseen(w *Workload, selected []*compiledPolicy) {
	if !slices.ContainsFunc(w.Listeners, func(l *Listener) bool { return l.Traffic == Proxy }) {
		return
	}
	for _, p := range selected {
		for _, r := range p.egress {
			if slices.ContainsFunc(r.Terms, func(t *Term) bool { return len(t.ServerNames) > 0 }) {
				c.fail("PAV0704", p.object, r.Field+".tls", "an explicit proxy, which workload "+w.Key()+" has, does not see the ClientHello inside a CONNECT tunnel",
					"name the destination with domains, which are compared with the name that CONNECT asks for")
			}
		}
	}
}

// warnBlunt warns of Deny rules that ask for HTTP where other traffic passes too: they
// deny that on the rest of what they ask for, which may be everything.
func (c *compiler) warnBlunt(w *Workload, selected []*compiledPolicy) {
	for _, l := range w.Listeners {
		if l.Traffic == HTTP {
			continue
		}
		for _, p := range selected {
			for _, r := range p.rules(l.Direction) {
				if r.Action == Deny && slices.ContainsFunc(r.Terms, func(t *Term) bool { return t.blunt(l) }) {
					c.warn("PAV0709", p.object, r.Field,
						fmt.Sprintf("denies everything at listener %s of workload %s that is not HTTP (%s)", l.Name, w.Key(), notHTTP[l.Traffic]),
						"say for which ports, peers or hosts the rule is")
				}
			}
		}
	}
}

var notHTTP = map[Traffic]string{TCP: "every connection", TLS: "every connection", Proxy: "every CONNECT", Transparent: "every connection"}

// blunt reports whether the term asks for HTTP and for nothing that tells other traffic
// at the listener apart.
func (t *Term) blunt(l *Listener) bool {
	if t.HTTP == nil || t.Sources != nil || t.Destinations != nil || len(t.Domains) > 0 ||
		len(t.ServerNames) > 0 && (l.Traffic == TLS || l.Traffic == Transparent) {
		return false
	}
	switch l.Traffic {
	case Proxy:
		return len(t.Ports) == 0 && len(t.HTTP.Hosts) == 0
	case Transparent:
		return len(t.Ports) == 0
	}
	return len(t.Ports) == 0 || containsPort(t.Ports, l.Address.Port())
}

const loopback = "127.0.0.1"

func inbound(in *api.Inbound, p *Program) *Listener {
	traffic := Traffic(strings.ToLower(string(cmp.Or(in.Protocol, api.TrafficHTTP))))
	upstream, _ := netip.ParseAddrPort(in.Upstream)
	return &Listener{
		Name: cmp.Or(in.Name, defaultListenerName("inbound", in.Port)), Direction: Ingress, Traffic: traffic,
		Address: addrPort(in.Address, in.Port), Upstream: upstream, Paths: pathOptions(in.HTTP), Program: p,
	}
}

func outbound(out *api.Outbound, p *Program) *Listener {
	return &Listener{
		Name: cmp.Or(out.Name, defaultListenerName("outbound", out.Port)), Direction: Egress, Traffic: Proxy,
		Address: addrPort(out.Address, out.Port), Paths: pathOptions(out.HTTP), Program: p,
	}
}

// transparent listens on every address, since a redirected connection keeps its own.
func transparent(t *api.Transparent, d Direction, p *Program) *Listener {
	port := cmp.Or(t.InboundPort, api.TransparentInboundPort)
	if d == Egress {
		port = cmp.Or(t.OutboundPort, api.TransparentOutboundPort)
	}
	l := &Listener{
		Name: map[Direction]string{Ingress: "inbound", Egress: "outbound"}[d], Direction: d, Traffic: Transparent,
		Address: netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)), Paths: pathOptions(t.HTTP), Program: p, //nolint:gosec // validated to 1..65535
	}
	opaque := t.OpaquePorts
	if opaque == nil {
		opaque = api.DefaultOpaquePorts
	}
	for _, o := range opaque {
		l.Opaque = append(l.Opaque, uint16(o)) //nolint:gosec // validated to 1..65535
	}
	slices.Sort(l.Opaque)
	l.Opaque = slices.Compact(l.Opaque)
	return l
}

func addrPort(address string, port int32) netip.AddrPort {
	a, _ := netip.ParseAddr(cmp.Or(address, loopback))
	return netip.AddrPortFrom(a, uint16(port)) //nolint:gosec // validated to 1..65535
}

func pathOptions(o *api.HTTPOptions) PathOptions {
	if o == nil {
		return PathOptions{}
	}
	return PathOptions{
		UnescapeSlashes:   o.EscapedSlashes == api.EscapedSlashesUnescape,
		LiteralParameters: o.PathParameters == api.PathParametersLiteral,
	}
}
