package netpol

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"pavise.dev/pavise/api"
)

// The bounds of one rule in package api; a longer one becomes several.
const (
	maxPeers = 1024
	maxPorts = 256
)

// NamedPorts returns every number that a pod of the cluster gives a named TCP port, which
// is what [PortLabel] of it is on them.
type NamedPorts func(name string) []int32

// NetworkPolicy converts one. Its rules add to each other and to those of others, so their
// order has no meaning; with named ports there is a policy for each number, see the package
// comment. No policy is returned where one could not be read at all. The object is not
// changed, and its selectors are shared.
func NetworkPolicy(np *networkingv1.NetworkPolicy, named NamedPorts) ([]*api.AccessPolicy, []api.Problem) {
	c := &converter{np: np, named: named, reporter: reporter{object: "NetworkPolicy " + np.Namespace + "/" + np.Name}}
	if !c.selector("spec.podSelector", &np.Spec.PodSelector) {
		c.fail(CodeLeftOut, "spec.podSelector", "", "nobody can say which pods it is for: what was in force before stays")
		return nil, c.problems
	}
	ingress, egress := c.directions()
	c.base = &api.AccessPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: np.Namespace, Name: bounded(Prefix + np.Name), Generation: np.Generation},
		Spec:       api.AccessPolicySpec{Selector: np.Spec.PodSelector},
	}
	out := []*api.AccessPolicy{c.base}
	c.parts = map[portKey]*api.AccessPolicy{}
	if ingress {
		c.base.Spec.Ingress = []api.IngressRule{}
		for i := range np.Spec.Ingress {
			c.ingress(i, &np.Spec.Ingress[i])
		}
	}
	if egress {
		c.base.Spec.Egress = []api.EgressRule{}
		for i := range np.Spec.Egress {
			c.egress(i, &np.Spec.Egress[i])
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(c.parts), portKey.compare) {
		out = append(out, c.parts[k])
	}
	return out, c.problems
}

type converter struct {
	reporter
	np    *networkingv1.NetworkPolicy
	named NamedPorts
	base  *api.AccessPolicy
	parts map[portKey]*api.AccessPolicy // of ingress, by the port they are for
}

// portKey is a named port and one of its numbers.
type portKey struct {
	name   string
	number int32
}

func (k portKey) compare(o portKey) int {
	if k.name != o.name {
		return slices.Compare([]byte(k.name), []byte(o.name))
	}
	return int(k.number - o.number)
}

// directions are those that the policy isolates in: what it says, or ingress, and egress if
// there are rules for it. A type that is not known isolates in both.
func (c *converter) directions() (ingress, egress bool) {
	if len(c.np.Spec.PolicyTypes) == 0 {
		return true, len(c.np.Spec.Egress) > 0
	}
	for i, t := range c.np.Spec.PolicyTypes {
		switch t {
		case networkingv1.PolicyTypeIngress:
			ingress = true
		case networkingv1.PolicyTypeEgress:
			egress = true
		default:
			c.fail(CodeUnreadable, fmt.Sprintf("spec.policyTypes[%d]", i), "write Ingress or Egress",
				"%.63q is not known, so the policy isolates in both directions", t)
			ingress, egress = true, true
		}
	}
	return ingress, egress
}

func (c *converter) ingress(i int, rule *networkingv1.NetworkPolicyIngressRule) {
	field, name := fmt.Sprintf("spec.ingress[%d]", i), "rule-"+strconv.Itoa(i+1)
	peers, anybody, ok := c.peers(field+".from", rule.From)
	if !ok {
		return
	}
	ports := c.ports(field+".ports", rule.Ports)
	c.warnNoTCP(field, len(rule.Ports), ports)
	each(peers, anybody, ports, name, func(name string, peers []api.EgressPeer, ports []api.Port) {
		c.base.Spec.Ingress = append(c.base.Spec.Ingress, ingressRule(name, peers, ports))
	})
	for _, k := range ports.named {
		part := c.part(k)
		each(peers, anybody, portList{numbers: []api.Port{{Port: k.number, Protocol: api.ProtocolTCP}}}, name, func(name string, peers []api.EgressPeer, ports []api.Port) {
			part.Spec.Ingress = append(part.Spec.Ingress, ingressRule(name, peers, ports))
		})
	}
}

// part is the policy for those pods whose named port has this number.
func (c *converter) part(k portKey) *api.AccessPolicy {
	p := c.parts[k]
	if p == nil {
		p = &api.AccessPolicy{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: c.np.Namespace, Generation: c.np.Generation,
				Name: bounded(fmt.Sprintf("%s%s-%d.%s", PortPrefix, k.name, k.number, c.np.Name)),
			},
			Spec: api.AccessPolicySpec{Selector: *withPort(&c.np.Spec.PodSelector, k), Ingress: []api.IngressRule{}},
		}
		c.parts[k] = p
	}
	return p
}

func (c *converter) egress(i int, rule *networkingv1.NetworkPolicyEgressRule) {
	field, name := fmt.Sprintf("spec.egress[%d]", i), "rule-"+strconv.Itoa(i+1)
	peers, anybody, ok := c.peers(field+".to", rule.To)
	if !ok {
		return
	}
	ports := c.ports(field+".ports", rule.Ports)
	c.warnNoTCP(field, len(rule.Ports), ports)
	add := func(name string, peers []api.EgressPeer, ports []api.Port) {
		c.base.Spec.Egress = append(c.base.Spec.Egress, api.EgressRule{
			Name: name, Action: api.ActionAllow, To: peers, RuleMatch: api.RuleMatch{Ports: ports},
		})
	}
	each(peers, anybody, ports, name, add)
	for _, k := range ports.named {
		// Only pods have named ports: of anybody, every pod; of a range, nobody.
		var pods []api.EgressPeer
		if anybody {
			pods = []api.EgressPeer{{Peer: api.Peer{NamespaceSelector: &metav1.LabelSelector{}, PodSelector: withPort(nil, k)}}}
		}
		for _, p := range peers {
			if len(p.CIDRs) == 0 {
				p.PodSelector = withPort(p.PodSelector, k)
				pods = append(pods, p)
			}
		}
		number := portList{numbers: []api.Port{{Port: k.number, Protocol: api.ProtocolTCP}}}
		each(pods, false, number, fmt.Sprintf("%s.%s-%d", name, k.name, k.number), add)
	}
}

// withPort asks a selector for one label more.
func withPort(s *metav1.LabelSelector, k portKey) *metav1.LabelSelector {
	out := &metav1.LabelSelector{}
	if s != nil {
		out = s.DeepCopy()
	}
	// An expression and no matchLabels: those may ask for the label already, in vain.
	out.MatchExpressions = append(out.MatchExpressions, metav1.LabelSelectorRequirement{
		Key: PortLabel(k.name), Operator: metav1.LabelSelectorOpIn, Values: []string{strconv.Itoa(int(k.number))},
	})
	return out
}

func ingressRule(name string, peers []api.EgressPeer, ports []api.Port) api.IngressRule {
	r := api.IngressRule{Name: name, Action: api.ActionAllow, RuleMatch: api.RuleMatch{Ports: ports}}
	for _, p := range peers {
		r.From = append(r.From, p.Peer)
	}
	return r
}

// each gives a rule in parts that are within the bounds. A list of none is nobody unless
// anybody is set: an empty one in a rule would be anybody.
func each(peers []api.EgressPeer, anybody bool, ports portList, name string, add func(string, []api.EgressPeer, []api.Port)) {
	if !anybody && len(peers) == 0 || !ports.all && len(ports.numbers) == 0 {
		return
	}
	peerParts, portParts := [][]api.EgressPeer{nil}, [][]api.Port{nil}
	if !anybody {
		peerParts = slices.Collect(slices.Chunk(peers, maxPeers))
	}
	if !ports.all {
		portParts = slices.Collect(slices.Chunk(ports.numbers, maxPorts))
	}
	n := 0
	for _, peers := range peerParts {
		for _, ports := range portParts {
			part := name
			if n++; n > 1 {
				part = fmt.Sprintf("%s.%d", name, n)
			}
			add(part, peers, ports)
		}
	}
}

// peers converts a list; anybody says that it is nobody in particular. It is not ok where no
// peer is left of several: the rule then is for nobody.
func (c *converter) peers(field string, peers []networkingv1.NetworkPolicyPeer) (out []api.EgressPeer, anybody, ok bool) {
	if len(peers) == 0 {
		return nil, true, true
	}
	for i := range peers {
		if p, ok := c.peer(fmt.Sprintf("%s[%d]", field, i), &peers[i]); ok {
			out = append(out, api.EgressPeer{Peer: p})
		}
	}
	return out, false, len(out) > 0
}

func (c *converter) peer(field string, p *networkingv1.NetworkPolicyPeer) (api.Peer, bool) {
	selectors := p.PodSelector != nil || p.NamespaceSelector != nil
	switch {
	case p.IPBlock != nil && selectors:
		c.fail(CodeUnreadable, field, "make two peers of it", "gives ipBlock and selectors at once: it is for nobody")
	case p.IPBlock != nil:
		return c.block(field+".ipBlock", p.IPBlock)
	case !selectors:
		c.fail(CodeUnreadable, field, "for anybody leave the whole list out", "names nobody")
	case c.selector(field+".podSelector", p.PodSelector) && c.selector(field+".namespaceSelector", p.NamespaceSelector):
		return api.Peer{PodSelector: p.PodSelector, NamespaceSelector: p.NamespaceSelector}, true
	}
	return api.Peer{}, false
}

// block is nobody if any part of it cannot be read: an exception that is not understood
// would let in what it keeps out.
func (c *converter) block(field string, b *networkingv1.IPBlock) (api.Peer, bool) {
	outer, ok := c.cidr(field+".cidr", b.CIDR)
	if !ok {
		return api.Peer{}, false
	}
	p := api.Peer{CIDRs: []string{outer.String()}}
	for i, s := range b.Except {
		inner, ok := c.cidr(fmt.Sprintf("%s.except[%d]", field, i), s)
		switch {
		case !ok:
			return api.Peer{}, false
		case !inner.Overlaps(outer):
			continue // takes nothing out
		case inner.Bits() <= outer.Bits():
			return api.Peer{}, false // takes everything out
		}
		p.Except = append(p.Except, inner.String())
	}
	return p, true
}

// portList is what the ports of a rule come to.
type portList struct {
	all     bool // every TCP port
	numbers []api.Port
	named   []portKey
	asked   bool // for a named port, be there one or not
}

func (c *converter) ports(field string, ports []networkingv1.NetworkPolicyPort) portList {
	out := portList{all: len(ports) == 0}
	for i, p := range ports {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP:
			if *p.Protocol != corev1.ProtocolUDP && *p.Protocol != corev1.ProtocolSCTP {
				c.fail(CodePort, at+".protocol", "write TCP, UDP or SCTP", "%.63q is not known: it is no port", *p.Protocol)
			}
		case p.Port == nil && p.EndPort != nil:
			c.fail(CodePort, at+".endPort", "give port too", "without port it is the end of nothing: it is no port")
		case p.Port == nil:
			out.all = true
		case p.Port.Type == intstr.String:
			out.asked = true
			if p.EndPort != nil || !isPortName(p.Port.StrVal) {
				c.fail(CodePort, at, "", "%.63q is not the name of a port, or has an endPort: it is no port", p.Port.StrVal)
				continue
			}
			for _, n := range c.numbers(p.Port.StrVal) {
				out.named = append(out.named, portKey{p.Port.StrVal, n})
			}
		default:
			if port, ok := c.port(at, p.Port.IntVal, p.EndPort); ok {
				out.numbers = append(out.numbers, port)
			}
		}
	}
	if out.all {
		out.numbers, out.named = nil, nil
	}
	slices.SortFunc(out.named, portKey.compare)
	out.named = slices.Compact(out.named)
	return out
}

func (c *converter) numbers(name string) (out []int32) {
	if c.named == nil {
		return nil
	}
	for _, n := range c.named(name) {
		if n >= 1 && n <= 65535 {
			out = append(out, n)
		}
	}
	return out
}

// warnNoTCP says that nothing is left of ports that were given. A named port that no pod has
// is no mistake: one may come.
func (c *converter) warnNoTCP(field string, given int, ports portList) {
	if given > 0 && !ports.all && !ports.asked && len(ports.numbers) == 0 {
		c.report(api.Warning, CodeNoTCP, field+".ports", "", "has no TCP port: the rule matches nothing that passes through Envoy")
	}
}
