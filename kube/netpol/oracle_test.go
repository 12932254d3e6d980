package netpol_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/kube/netpol"
	"pavise.dev/pavise/policy"
)

// pod is one of the random cluster.
type pod struct {
	namespace, name string
	labels          map[string]string
	address         netip.Addr
	spec            corev1.PodSpec
}

// cluster is what the oracle reads.
type cluster struct {
	namespaces map[string]map[string]string
	pods       []*pod
	policies   []*networkingv1.NetworkPolicy
}

// The oracle: the words of the API's documentation, one after the other, as slowly as it
// likes. It knows selectors with matchLabels only.

func picks(s *metav1.LabelSelector, labels map[string]string) bool {
	for k, v := range s.MatchLabels {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func (c *cluster) allowed(p *pod, egress bool, other netip.Addr, port int32) bool {
	isolated := false
	destination := p
	if egress {
		destination = c.at(other)
	}
	for _, np := range c.policies {
		if np.Namespace != p.namespace || !picks(&np.Spec.PodSelector, p.labels) {
			continue
		}
		types := np.Spec.PolicyTypes
		if types == nil {
			types = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
			if len(np.Spec.Egress) > 0 {
				types = append(types, networkingv1.PolicyTypeEgress)
			}
		}
		if egress && slices.Contains(types, networkingv1.PolicyTypeEgress) {
			isolated = true
			for _, r := range np.Spec.Egress {
				// The documentation does not say what a named port of an ipBlock is; here it is
				// none, since only pods name ports.
				pods := slices.DeleteFunc(slices.Clone(r.To), func(p networkingv1.NetworkPolicyPeer) bool { return p.IPBlock != nil })
				isName := func(p networkingv1.NetworkPolicyPort) bool { return p.Port != nil && p.Port.Type == intstr.String }
				numbers := slices.DeleteFunc(slices.Clone(r.Ports), isName)
				names := slices.DeleteFunc(slices.Clone(r.Ports), func(p networkingv1.NetworkPolicyPort) bool { return !isName(p) })
				if (len(r.Ports) == 0 || len(numbers) > 0) && c.peer(np, r.To, other) && c.port(numbers, destination, port) {
					return true
				}
				if len(names) > 0 && (len(r.To) == 0 || len(pods) > 0) && c.peer(np, pods, other) && c.port(names, destination, port) {
					return true
				}
			}
		}
		if !egress && slices.Contains(types, networkingv1.PolicyTypeIngress) {
			isolated = true
			for _, r := range np.Spec.Ingress {
				if c.peer(np, r.From, other) && c.port(r.Ports, destination, port) {
					return true
				}
			}
		}
	}
	return !isolated
}

func (c *cluster) at(a netip.Addr) *pod {
	for _, p := range c.pods {
		if p.address == a {
			return p
		}
	}
	return nil
}

func (c *cluster) peer(np *networkingv1.NetworkPolicy, peers []networkingv1.NetworkPolicyPeer, a netip.Addr) bool {
	for _, p := range peers {
		if p.IPBlock != nil {
			in := netip.MustParsePrefix(p.IPBlock.CIDR).Contains(a)
			for _, e := range p.IPBlock.Except {
				in = in && !netip.MustParsePrefix(e).Contains(a)
			}
			if in {
				return true
			}
			continue
		}
		other := c.at(a)
		if other == nil {
			continue
		}
		if p.NamespaceSelector != nil {
			if !picks(p.NamespaceSelector, c.namespaces[other.namespace]) {
				continue
			}
		} else if other.namespace != np.Namespace {
			continue
		}
		if p.PodSelector == nil || picks(p.PodSelector, other.labels) {
			return true
		}
	}
	return len(peers) == 0
}

func (c *cluster) port(ports []networkingv1.NetworkPolicyPort, destination *pod, port int32) bool {
	for _, p := range ports {
		if p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP {
			continue
		}
		switch {
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			if destination == nil {
				continue
			}
			for _, cp := range destination.spec.Containers[0].Ports {
				if cp.Name == p.Port.StrVal && cp.Protocol != corev1.ProtocolUDP && cp.ContainerPort == port {
					return true
				}
			}
		case p.EndPort != nil:
			if p.Port.IntVal <= port && port <= *p.EndPort {
				return true
			}
		case p.Port.IntVal == port:
			return true
		}
	}
	return len(ports) == 0
}

// The generator.

type gen struct{ *rand.Rand }

func pick[T any](g gen, list ...T) T { return list[g.IntN(len(list))] }

func (g gen) labels() map[string]string {
	out := map[string]string{}
	for _, k := range []string{"app", "tier"} {
		if g.IntN(2) == 0 {
			out[k] = pick(g, "x", "y")
		}
	}
	return out
}

func (g gen) selector() *metav1.LabelSelector {
	if g.IntN(3) == 0 {
		return &metav1.LabelSelector{}
	}
	return &metav1.LabelSelector{MatchLabels: g.labels()}
}

func (g gen) peers() (out []networkingv1.NetworkPolicyPeer) {
	for range g.IntN(4) {
		var p networkingv1.NetworkPolicyPeer
		switch g.IntN(4) {
		case 0:
			p.IPBlock = &networkingv1.IPBlock{CIDR: pick(g, "10.0.0.0/8", "10.0.1.3/24", "0.0.0.0/0", "192.0.2.0/24")}
			for range g.IntN(3) {
				p.IPBlock.Except = append(p.IPBlock.Except, pick(g, "10.0.1.0/24", "10.0.2.1/32", "192.0.2.0/25", "0.0.0.0/0"))
			}
		case 1:
			p.PodSelector = g.selector()
		case 2:
			p.NamespaceSelector = g.selector()
		default:
			p.PodSelector, p.NamespaceSelector = g.selector(), g.selector()
		}
		out = append(out, p)
	}
	return out
}

func (g gen) ports() (out []networkingv1.NetworkPolicyPort) {
	for range g.IntN(4) {
		var p networkingv1.NetworkPolicyPort
		if g.IntN(3) > 0 {
			proto := pick(g, corev1.ProtocolTCP, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
			p.Protocol = &proto
		}
		switch g.IntN(6) {
		case 0:
		case 1, 2:
			port := intstr.FromString(pick(g, "web", "admin", "nobody"))
			p.Port = &port
		default:
			port := intstr.FromInt32(pick[int32](g, 80, 8080, 9090))
			p.Port = &port
			if g.IntN(3) == 0 {
				end := port.IntVal + g.Int32N(2000)
				p.EndPort = &end
			}
		}
		out = append(out, p)
	}
	return out
}

func (g gen) cluster() *cluster {
	c := &cluster{namespaces: map[string]map[string]string{}}
	for i, ns := range []string{"a", "b", "c"} {
		c.namespaces[ns] = g.labels()
		for j := range 3 {
			p := &pod{
				namespace: ns, name: fmt.Sprintf("pod-%d", j), labels: g.labels(),
				address: netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j + 1)}),
				spec:    corev1.PodSpec{Containers: []corev1.Container{{}}},
			}
			for _, name := range []string{"web", "admin"} {
				if g.IntN(3) > 0 {
					p.spec.Containers[0].Ports = append(p.spec.Containers[0].Ports, corev1.ContainerPort{
						Name: name, ContainerPort: pick[int32](g, 80, 8080, 9090), Protocol: pick(g, "", corev1.ProtocolTCP, corev1.ProtocolUDP),
					})
				}
			}
			c.pods = append(c.pods, p)
		}
	}
	for i := range 1 + g.IntN(4) {
		np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: pick(g, "a", "b", "c"), Name: fmt.Sprintf("p%d", i)}}
		np.Spec.PodSelector = *g.selector()
		for range g.IntN(3) {
			np.Spec.Ingress = append(np.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: g.peers(), Ports: g.ports()})
		}
		for range g.IntN(3) {
			np.Spec.Egress = append(np.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: g.peers(), Ports: g.ports()})
		}
		np.Spec.PolicyTypes = pick(g, nil,
			[]networkingv1.PolicyType{"Ingress"}, []networkingv1.PolicyType{"Egress"}, []networkingv1.PolicyType{"Ingress", "Egress"})
		c.policies = append(c.policies, np)
	}
	return c
}

func (c *cluster) model(t *testing.T) *policy.Model {
	t.Helper()
	var objects []api.Object
	for ns, l := range c.namespaces {
		objects = append(objects, &api.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: l}})
	}
	for _, p := range c.pods {
		w := &api.Workload{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name, Labels: netpol.PortLabels(&p.spec)}}
		for k, v := range p.labels {
			w.Labels[k] = v
		}
		w.Spec.Addresses, w.Spec.Transparent = []string{p.address.String()}, &api.Transparent{}
		objects = append(objects, w)
	}
	for _, np := range c.policies {
		ps, problems := netpol.NetworkPolicy(np, func(string) []int32 { return []int32{80, 8080, 9090} })
		if api.HasErrors(problems) {
			t.Fatalf("%v", problems)
		}
		for _, p := range ps {
			objects = append(objects, p)
		}
	}
	set, problems := api.NewSet(objects...)
	if api.HasErrors(problems) {
		t.Fatalf("what was converted is not valid: %v", problems)
	}
	m, problems := policy.Compile(set)
	if api.HasErrors(problems) {
		t.Fatalf("what was converted does not compile: %v", problems)
	}
	return m
}

// TestAgreesWithTheDocumentation would show a NetworkPolicy that means something else here
// than where it comes from: defaults, exceptions, named ports, rules without TCP.
func TestAgreesWithTheDocumentation(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := gen{rand.New(rand.NewPCG(seed, 0))}
	verdicts := map[bool]int{}
	for range 400 {
		c := g.cluster()
		m := c.model(t)
		others := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.200"), netip.MustParseAddr("203.0.113.9")}
		for _, p := range c.pods {
			others = append(others, p.address)
		}
		for _, p := range c.pods {
			for _, l := range m.Workload(p.namespace, p.name).Listeners {
				egress := l.Direction == policy.Egress
				for _, other := range others {
					for _, port := range []uint16{80, 443, 8080, 9090, 9999} {
						req := &policy.Request{Source: other, Destination: p.address, Port: port}
						if egress {
							req.Source, req.Destination = p.address, other
						}
						d := l.Evaluate(req)
						want := c.allowed(p, egress, other, int32(port))
						verdicts[want]++
						if (d.Verdict == policy.Allowed) != want {
							t.Fatalf("seed %d: %s/%s %s %v port %d: %s by %s, want allowed %t\n%+v", seed, p.namespace, p.name, l.Direction, other, port, d.Verdict, d.Reason, want, c.policies)
						}
					}
				}
			}
		}
	}
	if verdicts[true] < 1000 || verdicts[false] < 1000 {
		t.Errorf("the test asks too little: %v", verdicts)
	}
}
