package policy

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"pavise.dev/pavise/api"
)

// defaultOrder is where a policy without an order stands in its tier.
const defaultOrder = 1000

// compiledPolicy is one policy with its rules, before it is given to workloads.
type compiledPolicy struct {
	object     object
	ref        PolicyRef
	spec       *api.AccessPolicySpec
	head       policyHead
	space      *space          // of a namespaced one
	namespaces labels.Selector // nil: only ref.Namespace
	workloads  labels.Selector
	members    map[*member]struct{} // that it selects
	directions [2]policyDirection
	problems   []api.Problem // of its selectors
	unused     []api.Problem // that it selects nothing

	namespaced *api.AccessPolicy
	cluster    *api.ClusterAccessPolicy
}

// policyHead is what a policy says beside its selectors and rules.
type policyHead struct {
	tier  Tier
	order int32
	audit bool
}

// policyDirection is what a policy says of one direction; with nil rules it says nothing.
type policyDirection struct {
	compiled []*compiledRule
	rules    []*Rule
	problems []api.Problem // rules that are never reached
}

func place(d Direction) int {
	if d == Egress {
		return 1
	}
	return 0
}

func (p *compiledPolicy) rules(d Direction) []*Rule { return p.directions[place(d)].rules }

func (p *compiledPolicy) selects(m *member) bool {
	if p.namespaces == nil {
		if p.ref.Namespace != m.workload.Namespace {
			return false
		}
	} else if !p.namespaces.Matches(m.space.labels) {
		return false
	}
	return p.workloads.Matches(m.labels())
}

// compare is the order of evaluation.
func (p *compiledPolicy) compare(o *compiledPolicy) int {
	return cmp.Or(
		cmp.Compare(slices.Index(Tiers, p.head.tier), slices.Index(Tiers, o.head.tier)),
		cmp.Compare(p.head.order, o.head.order), p.ref.compare(o.ref))
}

// namespacedPolicy and clusterPolicy are a policy as follow sees it.
type (
	namespacedPolicy struct{ *compiledPolicy }
	clusterPolicy    struct{ *compiledPolicy }
)

func (p namespacedPolicy) key() (namespace, name string) { return p.ref.Namespace, p.ref.Name }
func (p namespacedPolicy) current() *api.AccessPolicy    { return p.namespaced }

func (p clusterPolicy) key() (namespace, name string)     { return "", p.ref.Name }
func (p clusterPolicy) current() *api.ClusterAccessPolicy { return p.cluster }

// policies takes over the policies of the set.
func (c *Compiler) policies() {
	ofNamespace := func(p namespacedPolicy, o *api.AccessPolicy) {
		p.namespaced = o
		c.policy(p.compiledPolicy, Namespace, nil, &o.Spec)
	}
	c.namespacedPolicies = follow(c.namespacedPolicies, c.set.AccessPolicies, func(o *api.AccessPolicy) namespacedPolicy {
		p := namespacedPolicy{newCompiledPolicy(object{api.KindAccessPolicy, o.Namespace, o.Name})}
		p.space = c.space(o.Namespace)
		p.space.policies[p.compiledPolicy] = struct{}{}
		ofNamespace(p, o)
		return p
	}, ofNamespace, func(p namespacedPolicy) {
		delete(p.space.policies, p.compiledPolicy)
		c.dropPolicy(p.compiledPolicy)
	})
	ofCluster := func(p clusterPolicy, o *api.ClusterAccessPolicy) {
		p.cluster = o
		tier := Admin
		if o.Spec.Tier == api.TierBaseline {
			tier = Baseline
		}
		c.policy(p.compiledPolicy, tier, &o.Spec.NamespaceSelector, &o.Spec.AccessPolicySpec)
	}
	c.clusterPolicies = follow(c.clusterPolicies, c.set.ClusterAccessPolicies, func(o *api.ClusterAccessPolicy) clusterPolicy {
		p := clusterPolicy{newCompiledPolicy(object{api.KindClusterAccessPolicy, "", o.Name})}
		ofCluster(p, o)
		return p
	}, ofCluster, func(p clusterPolicy) { c.dropPolicy(p.compiledPolicy) })
}

func newCompiledPolicy(o object) *compiledPolicy {
	return &compiledPolicy{object: o, ref: PolicyRef{o.namespace, o.name}, members: map[*member]struct{}{}}
}

// policy compiles a policy that came or changed, and looks for whom it is.
func (c *Compiler) policy(p *compiledPolicy, tier Tier, namespaces *metav1.LabelSelector, spec *api.AccessPolicySpec) {
	c.problemsChanged = c.problemsChanged || len(p.problems) > 0
	p.problems, p.unused = nil, nil
	c.into = &p.problems
	head := policyHead{tier, defaultOrder, spec.Mode == api.ModeAudit}
	if spec.Order != nil {
		head.order = *spec.Order
	}
	p.namespaces = nil
	if namespaces != nil {
		p.namespaces = c.selector(p.object, "spec.namespaceSelector", namespaces)
	}
	p.workloads = c.selector(p.object, "spec.selector", &spec.Selector)
	changed := head != p.head
	p.head, p.spec = head, spec
	c.problemsChanged = c.problemsChanged || len(p.problems) > 0
	for _, d := range []Direction{Ingress, Egress} {
		if c.compileDirection(p, d) {
			changed = true
		}
	}
	for m := range p.members {
		// What is said of the policy at a workload has its lines, which may have moved.
		if changed || len(m.problems) > 0 {
			c.dirty(m)
		}
	}
	for _, s := range c.spacesOf(p) {
		for m := range s.members {
			c.selectBy(p, m)
		}
	}
	if len(p.members) == 0 {
		c.problemsChanged = true
	}
}

func (c *Compiler) spacesOf(p *compiledPolicy) []*space {
	if p.space != nil {
		return []*space{p.space}
	}
	out := make([]*space, 0, len(c.spaces))
	for _, s := range c.spaces {
		out = append(out, s)
	}
	return out
}

// compileDirection compiles the rules of one direction, and reports whether it says anything
// else than before.
func (c *Compiler) compileDirection(p *compiledPolicy, d Direction) bool {
	sources, given := sourcesOf(p.spec, d)
	dir := &p.directions[place(d)]
	changed := given != (dir.rules != nil) || len(sources) != len(dir.rules)
	for _, r := range dir.compiled[min(len(sources), len(dir.compiled)):] {
		c.dropRule(r)
	}
	dir.compiled = slices.Grow(dir.compiled[:min(len(sources), len(dir.compiled))], len(sources))
	for i, src := range sources {
		if i == len(dir.compiled) {
			dir.compiled = append(dir.compiled, &compiledRule{policy: p, direction: d, index: i})
		}
		delete(c.staleRules, dir.compiled[i])
		if c.compileRule(dir.compiled[i], src) {
			changed = true
		}
	}
	if !given {
		dir.compiled = nil
	}
	c.collectRules(p, d, given)
	return changed
}

// collectRules takes the rules of a direction together.
func (c *Compiler) collectRules(p *compiledPolicy, d Direction, given bool) {
	dir := &p.directions[place(d)]
	dir.rules = nil
	if given {
		dir.rules = make([]*Rule, len(dir.compiled))
		for i, r := range dir.compiled {
			dir.rules[i] = r.rule
		}
	}
	had := len(dir.problems) > 0
	dir.problems = nil
	c.into = &dir.problems
	c.findUnreachable(p, dir.rules)
	c.problemsChanged = c.problemsChanged || had || len(dir.problems) > 0
}

// sourcesOf is what the rules of one direction are made of, and whether the policy speaks of
// that direction.
func sourcesOf(spec *api.AccessPolicySpec, d Direction) ([]ruleSource, bool) {
	var out []ruleSource
	if d == Ingress {
		for i := range spec.Ingress {
			r := &spec.Ingress[i]
			out = append(out, ruleSource{r.Name, r.Action, ingressPeers(r.From), &r.RuleMatch})
		}
		return out, spec.Ingress != nil
	}
	for i := range spec.Egress {
		r := &spec.Egress[i]
		out = append(out, ruleSource{r.Name, r.Action, r.To, &r.RuleMatch})
	}
	return out, spec.Egress != nil
}

func ingressPeers(from []api.Peer) []api.EgressPeer {
	out := make([]api.EgressPeer, len(from))
	for i := range from {
		out[i].Peer = from[i]
	}
	return out
}

// recompileRules compiles what depends on something that changed, of policies that did not.
func (c *Compiler) recompileRules() {
	type part struct {
		p *compiledPolicy
		d Direction
	}
	changed := map[part]bool{}
	for r := range c.staleRules {
		if c.compileRule(r, sourceOf(r)) {
			changed[part{r.policy, r.direction}] = true
		}
	}
	for at := range changed {
		c.collectRules(at.p, at.d, true)
		for m := range at.p.members {
			c.dirty(m)
		}
	}
}

func sourceOf(r *compiledRule) ruleSource {
	if r.direction == Ingress {
		s := &r.policy.spec.Ingress[r.index]
		return ruleSource{s.Name, s.Action, ingressPeers(s.From), &s.RuleMatch}
	}
	s := &r.policy.spec.Egress[r.index]
	return ruleSource{s.Name, s.Action, s.To, &s.RuleMatch}
}

func (c *Compiler) dropPolicy(p *compiledPolicy) {
	for i := range p.directions {
		for _, r := range p.directions[i].compiled {
			c.dropRule(r)
		}
	}
	for m := range p.members {
		m.selected = removePolicy(m.selected, p)
		c.dirty(m)
	}
	c.problemsChanged = true
}

// reselect holds the members whose labels changed against the policies.
func (c *Compiler) reselect() {
	for m := range c.moved {
		for p := range m.space.policies {
			c.selectBy(p, m)
		}
		for _, p := range c.clusterPolicies {
			c.selectBy(p.compiledPolicy, m)
		}
	}
}

func (c *Compiler) selectBy(p *compiledPolicy, m *member) {
	_, was := p.members[m]
	is := p.selects(m)
	if is == was {
		return
	}
	if is {
		p.members[m] = struct{}{}
		m.selected = append(m.selected, p)
	} else {
		delete(p.members, m)
		m.selected = removePolicy(m.selected, p)
	}
	c.problemsChanged = true // it may have been the only one, or the first
	c.dirty(m)
}

func removePolicy(list []*compiledPolicy, p *compiledPolicy) []*compiledPolicy {
	return slices.DeleteFunc(list, func(o *compiledPolicy) bool { return o == p })
}
