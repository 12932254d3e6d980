package source

import (
	"fmt"
	"maps"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/kube/netpol"
)

// conversion is a NetworkPolicy and what it came to.
type conversion struct {
	object   *networkingv1.NetworkPolicy
	made     []name     // policies
	asked    []portName // named ports that it asked for
	problems []api.Problem
}

// clusterConversion is a ClusterNetworkPolicy and what it came to.
type clusterConversion struct {
	object   *unstructured.Unstructured
	made     string // the name of the policy, or none
	problems []api.Problem
}

// maxNumbers bounds how many numbers a named port may have in one policy: a policy is made for
// each, and anybody may make pods that have more.
const maxNumbers = 128

func (s *State) networkPolicyChanged(o *networkingv1.NetworkPolicy) {
	if !s.options.NetworkPolicies {
		return
	}
	c := s.converted[nameOf(o)]
	switch {
	case c == nil:
		c = &conversion{}
		s.converted[nameOf(o)] = c
	case sameVersion(c.object, o, &c.object.Spec, &o.Spec):
		c.object = o
		return
	}
	c.object = o
	s.stale[nameOf(o)] = struct{}{}
}

func (s *State) networkPolicyGone(key name) {
	c := s.converted[key]
	if c == nil {
		return
	}
	s.ask(key, c, nil)
	for _, n := range c.made {
		delete(s.made, n)
		s.choose(n)
	}
	delete(s.converted, key)
	delete(s.stale, key)
	s.staleReports = true
}

// convertStale converts what changed itself, or of which a named port has other numbers.
func (s *State) convertStale() {
	for key := range s.stale {
		if c := s.converted[key]; c != nil {
			s.convert(key, c)
		}
	}
	clear(s.stale)
}

func (s *State) convert(key name, c *conversion) {
	// An ingress rule is for the pods of this namespace. Only an egress rule can mean others'.
	scope := key.namespace
	if len(c.object.Spec.Egress) > 0 {
		scope = ""
	}
	asked := map[portName]struct{}{}
	var tooMany []api.Problem
	made, problems := netpol.NetworkPolicy(c.object, func(port string) []int32 {
		at := portName{scope, netpol.PortLabel(port)}
		_, twice := asked[at]
		asked[at] = struct{}{}
		numbers := s.numbersOf(at, key.namespace)
		if len(numbers) > maxNumbers {
			if !twice {
				tooMany = append(tooMany, api.Problem{
					Code: netpol.CodeUnsupported, Severity: api.Error, Object: "NetworkPolicy " + key.String(), Field: "spec",
					Message: fmt.Sprintf("port %q has %d numbers among the pods; it is for %d of them only", port, len(numbers), maxNumbers),
					Fix:     "write the number",
				})
			}
			numbers = numbers[:maxNumbers]
		}
		return numbers
	})
	s.ask(key, c, asked)
	problems = append(problems, tooMany...)
	if !slices.Equal(problems, c.problems) {
		c.problems = problems
		s.staleReports = true
	}
	if len(made) == 0 && api.HasErrors(problems) {
		return // what it came to before stays in force
	}
	before := c.made
	c.made = nil
	for _, p := range made {
		n := nameOf(p)
		c.made = append(c.made, n)
		if old := s.made[n]; old == nil || !equality.Semantic.DeepEqual(old, p) {
			s.made[n] = p
			s.choose(n)
		}
	}
	for _, n := range before {
		if !slices.Contains(c.made, n) {
			delete(s.made, n)
			s.choose(n)
		}
	}
}

// numbersOf are those of a named port, those first that it has in the given namespace, so that
// others' pods cannot crowd them out.
func (s *State) numbersOf(at portName, namespace string) []int32 {
	out := slices.Sorted(maps.Keys(s.numbers[at]))
	near := s.numbers[portName{namespace, at.label}]
	slices.SortStableFunc(out, func(a, b int32) int { return min(near[b], 1) - min(near[a], 1) })
	return out
}

// ask notes which named ports a NetworkPolicy asks for.
func (s *State) ask(key name, c *conversion, asked map[portName]struct{}) {
	for _, at := range c.asked {
		if delete(s.askers[at], key); len(s.askers[at]) == 0 {
			delete(s.askers, at)
		}
	}
	c.asked = slices.Collect(maps.Keys(asked))
	for _, at := range c.asked {
		if s.askers[at] == nil {
			s.askers[at] = map[name]struct{}{}
		}
		s.askers[at][key] = struct{}{}
	}
}

// The kind of ClusterNetworkPolicies.
const (
	clusterPolicyGroup = "policy.networking.k8s.io"
	clusterPolicyKind  = "ClusterNetworkPolicy"
)

func unknownKind(kind string) error {
	return fmt.Errorf("a %.63q is no part of the inventory", kind)
}

func (s *State) unstructuredChanged(o *unstructured.Unstructured) error {
	if o.GetKind() != clusterPolicyKind {
		return unknownKind(o.GetKind())
	}
	if !s.options.ClusterNetworkPolicies {
		return nil
	}
	c := s.clusterWide[o.GetName()]
	if c != nil && sameVersion(c.object, o, c.object.Object["spec"], o.Object["spec"]) {
		c.object = o
		return nil
	}
	if c == nil {
		c = &clusterConversion{}
		s.clusterWide[o.GetName()] = c
	}
	c.object = o
	made, problems := netpol.ClusterNetworkPolicy(o)
	if !slices.Equal(problems, c.problems) {
		c.problems = problems
		s.staleReports = true
	}
	if made == nil && slices.ContainsFunc(problems, func(p api.Problem) bool { return p.Code == netpol.CodeLeftOut }) {
		return nil // what it came to before stays in force
	}
	s.setMadeCluster(c, made)
	return nil
}

func (s *State) unstructuredGone(o *unstructured.Unstructured) error {
	if o.GetKind() != clusterPolicyKind {
		return unknownKind(o.GetKind())
	}
	if c := s.clusterWide[o.GetName()]; c != nil {
		s.setMadeCluster(c, nil)
		delete(s.clusterWide, o.GetName())
		s.staleReports = true
	}
	return nil
}

func (s *State) setMadeCluster(c *clusterConversion, now *api.ClusterAccessPolicy) {
	n := name{"", c.made}
	old := s.madeCluster[n]
	if now != nil && old != nil && equality.Semantic.DeepEqual(old, now) {
		return
	}
	if old != nil {
		delete(s.madeCluster, n)
	}
	if c.made = ""; now != nil {
		c.made = now.Name
		s.madeCluster[nameOf(now)] = now
		s.chooseCluster(nameOf(now))
	} else if old != nil {
		s.chooseCluster(n)
	}
}
