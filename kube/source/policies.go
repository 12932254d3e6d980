package source

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
)

// sameVersion reports whether two versions of an object say the same: all but the status has a
// generation, which counts from 1 in each object that bears the name.
func sameVersion(a, b metav1.Object, aSpec, bSpec any) bool {
	if a.GetUID() != b.GetUID() || a.GetGeneration() != b.GetGeneration() {
		return false
	}
	return a.GetGeneration() != 0 || equality.Semantic.DeepEqual(aSpec, bSpec)
}

func namespace(o *corev1.Namespace) *api.Namespace {
	return &api.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.Name, UID: o.UID, Labels: o.Labels}}
}

func (s *State) accessPolicyChanged(o *api.AccessPolicy) {
	if old := s.own[nameOf(o)]; old == nil || !sameVersion(old, o, &old.Spec, &o.Spec) {
		s.own[nameOf(o)] = o
		s.choose(nameOf(o))
	}
}

func (s *State) clusterAccessPolicyChanged(o *api.ClusterAccessPolicy) {
	if old := s.ownCluster[nameOf(o)]; old == nil || !sameVersion(old, o, &old.Spec, &o.Spec) {
		s.ownCluster[nameOf(o)] = o
		s.chooseCluster(nameOf(o))
	}
}

// choose finds which policy has a name: one that was converted, or the user's own. Nobody is to
// take the place of a NetworkPolicy by its name.
func (s *State) choose(key name) {
	old := s.policies.byName[key]
	now := cmp.Or(s.made[key], s.own[key])
	s.mark(s.overlapping, key, s.made[key] != nil && s.own[key] != nil)
	if old == now {
		return
	}
	if old != nil {
		s.countKeys(&old.Spec, -1)
	}
	if now == nil {
		s.policies.remove(key)
		return
	}
	s.countKeys(&now.Spec, 1)
	s.policies.put(now)
}

func (s *State) chooseCluster(key name) {
	old := s.clusterPolicies.byName[key]
	now := cmp.Or(s.madeCluster[key], s.ownCluster[key])
	s.mark(s.overlappingCluster, key, s.madeCluster[key] != nil && s.ownCluster[key] != nil)
	if old == now {
		return
	}
	if old != nil {
		s.countKeys(&old.Spec.AccessPolicySpec, -1)
	}
	if now == nil {
		s.clusterPolicies.remove(key)
		return
	}
	s.countKeys(&now.Spec.AccessPolicySpec, 1)
	s.clusterPolicies.put(now)
}

func (s *State) mark(in map[name]struct{}, key name, is bool) {
	if _, was := in[key]; was == is {
		return
	}
	s.staleReports = true
	if is {
		in[key] = struct{}{}
	} else {
		delete(in, key)
	}
}

func overlap(kind string, n name) api.Problem {
	return api.Problem{
		Code: api.CodeDuplicateObject, Severity: api.Error, Object: api.ObjectName(kind, n.namespace, n.name), Field: "metadata.name",
		Message: "is the name of what a policy of Kubernetes is converted to, which is in force in its place", Fix: "rename it",
	}
}

// countKeys counts one policy more or less that looks at its labels of pods.
func (s *State) countKeys(spec *api.AccessPolicySpec, by int) {
	keys := map[string]struct{}{}
	keysOf(spec, keys)
	for key := range keys {
		if s.keyUse[key] += by; s.keyUse[key] == 0 {
			delete(s.keyUse, key)
		}
	}
}

// keysOf finds the labels of pods that a policy looks at, in its own selector and in those of
// its peers.
func keysOf(spec *api.AccessPolicySpec, into map[string]struct{}) {
	add := func(sel *metav1.LabelSelector) {
		if sel == nil {
			return
		}
		for key := range sel.MatchLabels {
			into[key] = struct{}{}
		}
		for i := range sel.MatchExpressions {
			into[sel.MatchExpressions[i].Key] = struct{}{}
		}
	}
	add(&spec.Selector)
	for i := range spec.Ingress {
		for j := range spec.Ingress[i].From {
			add(spec.Ingress[i].From[j].PodSelector)
		}
	}
	for i := range spec.Egress {
		for j := range spec.Egress[i].To {
			add(spec.Egress[i].To[j].PodSelector)
		}
	}
}

// keysInForce are the labels that those versions of policies look at that are in force and not
// the newest. Without them a policy would stop to select whom it selects on the day that
// somebody breaks it.
func (s *State) keysInForce() map[string]int {
	keys := map[string]struct{}{}
	set := s.options.InForce()
	if set == nil {
		return nil
	}
	for _, o := range set.AccessPolicies {
		if s.policies.byName[nameOf(o)] != o {
			keysOf(&o.Spec, keys)
		}
	}
	for _, o := range set.ClusterAccessPolicies {
		if s.clusterPolicies.byName[nameOf(o)] != o {
			keysOf(&o.Spec.AccessPolicySpec, keys)
		}
	}
	out := make(map[string]int, len(keys))
	for key := range keys {
		out[key] = 1
	}
	return out
}
