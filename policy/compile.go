package policy

import (
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"pavise.dev/pavise/api"
)

// Compile turns objects into a model. Problems of severity [api.Error] mean that the
// model must not be used; warnings are worth a look. The set is expected to have
// been read by [api.Loader], which refuses what Compile would stumble on.
//
// The cost is linear in rules plus selected workloads; the rules of a policy are
// compiled once and shared by every workload that it selects.
func Compile(set *api.Set) (*Model, []api.Problem) { return NewCompiler().Compile(set) }

// Compiler compiles one set after the other, and does again only what a change touches: the
// rules that name a set or a workload that changed, the workloads that a changed policy selects.
// Model and problems are those of [Compile], whatever came before.
//
// Objects are compared by pointer. Whoever changes an object makes a new one, and leaves the
// pointers of the others as they are; an object must not be changed that was once given.
//
// A Compiler keeps the last set and what it was compiled to. It is for one goroutine at a
// time; the models are immutable.
type Compiler struct {
	set *api.Set

	// What is known, in the order of the set, and what there is by name.
	members            []*member
	named              []*space
	spaces             map[string]*space
	givenSets          []*networkSet
	sets               map[string]*networkSet
	namespacedPolicies []namespacedPolicy
	clusterPolicies    []clusterPolicy
	groups             map[groupKey]*group
	groupsIn           map[string]map[*group]struct{}      // by namespace, "" for those of none
	behind             map[netip.Addr]map[*member]struct{} // who shares the address of a service
	feedsRequired      bool
	sums               *ruleSums

	// What the set that is being compiled changes.
	moved           map[*member]struct{} // other labels, their own or their namespace's
	readdressed     map[*member]struct{}
	staleGroups     map[*group]struct{}
	staleRules      map[*compiledRule]struct{}
	dirtied         map[*member]struct{}
	remade          bool // other workloads than in the last model
	problemsChanged bool

	// The rule that is being compiled, and where its problems go.
	current *compiledRule
	into    *[]api.Problem

	model    *Model
	problems []api.Problem
}

// NewCompiler returns a Compiler that has seen nothing.
func NewCompiler() *Compiler {
	c := &Compiler{
		spaces: map[string]*space{}, sets: map[string]*networkSet{},
		groups: map[groupKey]*group{}, groupsIn: map[string]map[*group]struct{}{},
		behind: map[netip.Addr]map[*member]struct{}{}, sums: newRuleSums(), remade: true,
	}
	c.forgetChanges()
	return c
}

func (c *Compiler) forgetChanges() {
	c.moved, c.readdressed, c.dirtied = map[*member]struct{}{}, map[*member]struct{}{}, map[*member]struct{}{}
	c.staleGroups, c.staleRules = map[*group]struct{}{}, map[*compiledRule]struct{}{}
}

// Compile is like the function of that name. The set is sorted and has no object twice, as
// [api.NewSet] and [api.Loader] make it.
//
// A *Workload is the one of the model before if its digest, addresses and policies are; a
// *Rule, if what it decides is. Where no workload changed, the *Model is the same.
func (c *Compiler) Compile(set *api.Set) (*Model, []api.Problem) {
	c.set = set
	// Who is there, then who is meant, then the rules, then whom they are for.
	c.namespaces()
	c.workloads()
	c.regroup()
	c.networkSets()
	c.policies()
	c.recompileRules()
	c.reselect()
	c.feeds()
	for m := range c.dirtied {
		if _, there := m.space.members[m]; there {
			c.compileWorkload(m)
		}
	}
	if c.remade {
		c.model = &Model{Workloads: make([]*Workload, len(c.members))}
		for i, m := range c.members {
			c.model.Workloads[i] = m.compiled
		}
		c.model.Digest = digestModel(c.model.Workloads)
		c.remade = false
	}
	if c.problemsChanged {
		c.gatherProblems()
		c.problemsChanged = false
	}
	c.forgetChanges()
	c.forgetGroups()
	c.forgetNetworkSets()
	c.forgetSpaces()
	return c.model, slices.Clone(c.problems)
}

// gatherProblems takes together what is said of every part.
func (c *Compiler) gatherProblems() {
	var all []api.Problem
	policy := func(p *compiledPolicy) {
		all = append(all, p.problems...)
		for i := range p.directions {
			for _, r := range p.directions[i].compiled {
				all = append(all, r.problems...)
			}
			all = append(all, p.directions[i].problems...)
		}
		if len(p.members) > 0 {
			p.unused = nil
		} else if p.unused == nil {
			c.into = &p.unused
			c.warn("PAV0701", p.object, "spec.selector", "selects no workload", "check the labels of the selector against those of the workloads")
		}
		all = append(all, p.unused...)
	}
	for _, p := range c.namespacedPolicies {
		policy(p.compiledPolicy)
	}
	for _, p := range c.clusterPolicies {
		policy(p.compiledPolicy)
	}
	for _, m := range c.members {
		all = append(all, m.problems...)
	}
	// What the next line finds equal stays in this order.
	slices.SortStableFunc(all, func(a, b api.Problem) int { return strings.Compare(a.Object, b.Object) })
	api.SortProblems(all)
	c.problems = all
}

// object is what a problem is about.
type object struct{ kind, namespace, name string }

func (o object) String() string { return api.ObjectName(o.kind, o.namespace, o.name) }

func (c *Compiler) problem(sev api.Severity, code string, o object, field, message, fix string) {
	file, line := c.set.Position(o.kind, o.namespace, o.name, field)
	*c.into = append(*c.into, api.Problem{
		Code: code, Severity: sev, File: file, Line: line,
		Object: o.String(), Field: field, Message: message, Fix: fix,
	})
}

func (c *Compiler) warn(code string, o object, field, message, fix string) {
	c.problem(api.Warning, code, o, field, message, fix)
}

func (c *Compiler) fail(code string, o object, field, message, fix string) {
	c.problem(api.Error, code, o, field, message, fix)
}

func (c *Compiler) selector(o object, field string, s *metav1.LabelSelector) labels.Selector {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		c.fail("PAV0702", o, field, "the selector is not valid: "+err.Error(), "")
		return labels.Nothing()
	}
	return sel
}
