package policy

import (
	"slices"

	"pavise.dev/pavise/api"
)

// workload gives one workload its listeners and programs. A listener's program is
// one of two, by direction, so their rules are collected once.
func (c *Compiler) workload(m *member) *Workload {
	w := &Workload{Namespace: m.workload.Namespace, Name: m.workload.Name, Addresses: m.addresses, FeedsClosed: c.feedsClosed(m.workload)}
	slices.SortFunc(m.selected, (*compiledPolicy).compare)
	ingress, egress := program(Ingress, m.selected), program(Egress, m.selected)
	for _, p := range m.selected {
		w.Policies = append(w.Policies, p.ref)
	}
	for i := range m.workload.Spec.Inbound {
		w.Listeners = append(w.Listeners, inbound(&m.workload.Spec.Inbound[i], ingress))
	}
	for i := range m.workload.Spec.Outbound {
		w.Listeners = append(w.Listeners, outbound(&m.workload.Spec.Outbound[i], egress))
	}
	if t := m.workload.Spec.Transparent; t != nil {
		w.Listeners = append(w.Listeners, transparent(t, Ingress, ingress), transparent(t, Egress, egress))
	}
	c.warnBlunt(w, m.selected)
	c.refuseUnseen(w, m.selected)
	return w
}

// program is the rules of one direction of the policies, which are in the order of evaluation.
func program(d Direction, selected []*compiledPolicy) *Program {
	prog := &Program{Direction: d}
	for _, p := range selected {
		rules := p.rules(d)
		if rules == nil {
			continue
		}
		prog.Rules = append(prog.Rules, rules...)
		switch {
		case p.head.tier != Namespace:
		case p.head.audit:
			prog.Auditing = append(prog.Auditing, p.ref)
		default:
			prog.Isolating = append(prog.Isolating, p.ref)
		}
	}
	slices.SortFunc(prog.Isolating, PolicyRef.compare)
	slices.SortFunc(prog.Auditing, PolicyRef.compare)
	return prog
}

// compileWorkload compiles a member. What comes out as it was keeps its pointer.
func (c *Compiler) compileWorkload(m *member) {
	had := len(m.problems) > 0
	m.problems = nil
	c.into = &m.problems
	w := c.workload(m)
	c.problemsChanged = c.problemsChanged || had || len(m.problems) > 0
	w.digest = digestOfWorkload(w, c.sums)
	if old := m.compiled; old != nil && old.digest == w.digest {
		if slices.Equal(old.Addresses, w.Addresses) && slices.Equal(old.Policies, w.Policies) {
			return
		}
		w.Listeners = old.Listeners
	}
	m.compiled = w
	c.remade = true
}

// feedsClosed is what the workload says, or what its feeds ask for.
func (c *Compiler) feedsClosed(w *api.Workload) bool {
	if mode := w.Spec.Feeds.OnFailure; mode != "" {
		return mode == api.FailClosed
	}
	return c.feedsRequired
}

// feeds looks whether a feed asks for more than it did.
func (c *Compiler) feeds() {
	required := slices.ContainsFunc(c.set.ThreatFeeds, func(f *api.ThreatFeed) bool {
		return f.Spec.Required && f.Spec.Action != api.FeedAlert && !f.Spec.Suspend
	})
	if required == c.feedsRequired {
		return
	}
	c.feedsRequired = required
	for _, m := range c.members {
		if m.workload.Spec.Feeds.OnFailure == "" {
			c.dirty(m)
		}
	}
}
