package main

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/xds/fleet"
)

// workloadOf is the workload of a node, policyOf the policy that selects a workload.
func (o options) workloadOf(node int) int   { return node % o.workloads }
func (o options) policyOf(workload int) int { return workload % o.policies }
func (o options) concerned() int            { return o.nodes / o.policies }
func nodeName(node int) string              { return fmt.Sprintf("bench/pod-%d", node) }
func workloadName(workload int) string      { return fmt.Sprintf("app-%d", workload) }

// rules of a policy.
const rules = 10

// cluster is what an API server would have: workloads with pods and a Service each, and
// policies. Each policy selects as many workloads as any other, and its peers are those of one
// workload: the policy of that number.
type cluster struct {
	options
	workloads []*api.Workload
	policies  []*api.AccessPolicy
	pods      []map[int]struct{} // by workload
	update    fleet.Update       // nodes that came and went
}

func newCluster(o options) *cluster {
	c := &cluster{options: o, pods: make([]map[int]struct{}, o.workloads), update: fleet.Update{Nodes: map[string]string{}}}
	for w := range o.workloads {
		c.pods[w] = map[int]struct{}{}
		c.workloads = append(c.workloads, nil)
	}
	for p := range o.policies {
		c.policies = append(c.policies, c.policy(p, 0))
	}
	for n := range o.nodes {
		w := o.workloadOf(n)
		c.pods[w][n] = struct{}{}
		c.update.Nodes[nodeName(n)] = "bench/" + workloadName(w)
	}
	for w := range o.workloads {
		c.renew(w)
	}
	return c
}

// renew makes a workload again, with the pods that it has.
func (c *cluster) renew(w int) {
	o := &api.Workload{
		ObjectMeta: metav1.ObjectMeta{Namespace: "bench", Name: workloadName(w), Labels: map[string]string{
			"app": workloadName(w), "group": fmt.Sprintf("g%d", c.policyOf(w)),
		}},
		Spec: api.WorkloadSpec{
			ServiceAccount: "app", Transparent: &api.Transparent{},
			ServiceAddresses: []string{fmt.Sprintf("10.96.%d.%d", w>>8&255, w&255)},
		},
	}
	for n := range c.pods[w] {
		o.Spec.Addresses = append(o.Spec.Addresses, fmt.Sprintf("10.%d.%d.%d", 128+n>>16&127, n>>8&255, n&255))
	}
	c.workloads[w] = o
}

func (c *cluster) policy(p, version int) *api.AccessPolicy {
	o := &api.AccessPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "bench", Name: fmt.Sprintf("p%d", p), Generation: int64(version)},
		Spec:       api.AccessPolicySpec{Selector: metav1.LabelSelector{MatchLabels: map[string]string{"group": fmt.Sprintf("g%d", p)}}},
	}
	peers := []api.Peer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": workloadName(p)}}}}
	for i := range rules {
		o.Spec.Ingress = append(o.Spec.Ingress, api.IngressRule{
			Name: fmt.Sprintf("r%d", i), Action: api.ActionAllow, From: peers,
			RuleMatch: api.RuleMatch{HTTP: []api.HTTPMatch{{
				Methods: []string{"GET"}, Paths: []api.PathMatch{{Prefix: fmt.Sprintf("/p%d/v%d/resource-%d", p, version, i)}},
			}}},
		})
	}
	return o
}

func (c *cluster) change(p, version int) { c.policies[p] = c.policy(p, version) }

func (c *cluster) arrive(node int) {
	w := c.workloadOf(node)
	c.pods[w][node] = struct{}{}
	c.renew(w)
	c.update.Nodes[nodeName(node)] = "bench/" + workloadName(w)
}

func (c *cluster) depart(node int) {
	w := c.workloadOf(node)
	delete(c.pods[w], node)
	c.renew(w)
	delete(c.update.Nodes, nodeName(node))
	c.update.Left = append(c.update.Left, nodeName(node))
}

// take is the update since the last. Its set is made as package kube/source makes it: what did
// not change keeps its pointer, and the fleet validates what changed.
func (c *cluster) take() fleet.Update {
	u := c.update
	u.Set = &api.Set{Workloads: slices.Clone(c.workloads), AccessPolicies: slices.Clone(c.policies)}
	slices.SortFunc(u.Set.Workloads, func(a, b *api.Workload) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(u.Set.AccessPolicies, func(a, b *api.AccessPolicy) int { return strings.Compare(a.Name, b.Name) })
	c.update = fleet.Update{Nodes: map[string]string{}}
	return u
}
