package simulate

import (
	"maps"
	"slices"

	"pavise.dev/pavise/policy"
)

// maxBranches bounds how many ways a flow may turn out. Beyond them it is uncertain.
const maxBranches = 64

// branch is one way in which a listener may decide a question: a decision, and which of the
// rules that nobody can answer for matched on the way to it. As rules that are the same in both
// sets are the same pointers, what was found for one set holds for the other.
type branch struct {
	policy.Decision
	matched map[*policy.Rule]bool
}

// explorer finds the branches of one question at one listener.
type explorer struct {
	listener *policy.Listener
	question *question
	open     map[*policy.Rule]fact // rules that may or may not match, and what they ask
	out      []branch
	overflow bool
}

// explore tries every way in which the rules that nobody can answer for may turn out, but for those
// that known has. The second result is what they asked; the third that there are more.
func explore(l *policy.Listener, q *question, known map[*policy.Rule]bool) ([]branch, map[*policy.Rule]fact, bool) {
	x := explorer{listener: l, question: q, open: map[*policy.Rule]fact{}}
	if f, kind := l.Facts(&q.req); kind == "" {
		unknown := q.unknown
		if !f.IsHTTP {
			unknown &^= method | path | values
			if f.Host == "" {
				unknown &^= host
			}
		}
		for _, r := range l.Program.Rules {
			if r.Audit {
				continue // not in force
			}
			if asked := asks(r, unknown); asked != 0 && x.mayDiffer(r, unknown) {
				x.open[r] = asked
			}
		}
	}
	x.branch(maps.Clone(known))
	return x.out, x.open, x.overflow
}

func (x *explorer) branch(known map[*policy.Rule]bool) {
	if len(x.out) >= maxBranches {
		x.overflow = true
		return
	}
	d := x.decide(known)
	// A rule that is not known yet was taken to match: the first of them that was asked is
	// where the ways part.
	i := slices.IndexFunc(d.Trace, func(s policy.Step) bool { return s.Matched && x.undecided(&s, known) != nil })
	if i < 0 {
		x.out = append(x.out, branch{d, known})
		return
	}
	r := x.undecided(&d.Trace[i], known)
	for _, matched := range []bool{true, false} {
		next := maps.Clone(known)
		if next == nil {
			next = map[*policy.Rule]bool{}
		}
		next[r] = matched
		x.branch(next)
	}
}

// undecided is the open rule of a step, nil where it is known or has an answer.
func (x *explorer) undecided(s *policy.Step, known map[*policy.Rule]bool) *policy.Rule {
	for r := range x.open {
		if _, ok := known[r]; !ok && r.Field == s.Field && r.Audit == s.Audit && r.Name == s.Reason.Rule && r.Policy == s.Reason.Policy && r.Tier == s.Reason.Tier {
			return r
		}
	}
	return nil
}

// decide evaluates with the open rules replaced by ones that match, or do not, whatever is asked.
func (x *explorer) decide(known map[*policy.Rule]bool) policy.Decision {
	if len(x.open) == 0 {
		return x.listener.Evaluate(&x.question.req)
	}
	p := *x.listener.Program
	p.Rules = slices.Clone(p.Rules)
	for i, r := range p.Rules {
		if _, open := x.open[r]; !open {
			continue
		}
		forced := *r
		forced.Terms = nil
		if matched, ok := known[r]; !ok || matched {
			forced.Terms = []*policy.Term{{}}
		}
		p.Rules[i] = &forced
	}
	l := *x.listener
	l.Program = &p
	return l.Evaluate(&x.question.req)
}

// asks is what a rule asks of what is not known.
func asks(r *policy.Rule, unknown fact) fact {
	var out fact
	for _, t := range r.Terms {
		out |= termAsks(t)
	}
	return out & unknown
}

func termAsks(t *policy.Term) fact {
	var out fact
	add := func(what fact, is bool) {
		if is {
			out |= what
		}
	}
	add(source, t.Sources != nil)
	add(destination, t.Destinations != nil)
	add(names|host|serverName, len(t.Domains) > 0)
	add(serverName, len(t.ServerNames) > 0)
	add(port, len(t.Ports) > 0)
	if h := t.HTTP; h != nil {
		add(method, len(h.Methods) > 0)
		add(path, len(h.Paths) > 0)
		add(host, len(h.Hosts) > 0)
		add(values, len(h.Values) > 0)
	}
	return out
}

// mayDiffer asks a rule alone, once as if everything that is not known fitted, and once as if
// nothing of it did.
func (x *explorer) mayDiffer(r *policy.Rule, unknown fact) bool {
	most, least := *r, *r
	most.Terms, least.Terms = nil, nil
	var samples []string
	for _, t := range r.Terms {
		most.Terms = append(most.Terms, without(t, unknown))
		// By name of what was resolved, a term without a known name still decides on the claim.
		if termAsks(t)&unknown&^names == 0 {
			least.Terms = append(least.Terms, t)
		}
		if len(t.Domains) > 0 { // one name that the term takes is enough
			name := t.Domains[0].Name
			if t.Domains[0].Wildcard {
				name = "x." + name
			}
			if !slices.Contains(samples, name) {
				samples = append(samples, name)
			}
		}
	}
	req := x.question.req
	if unknown&names != 0 {
		req.Names = samples
	}
	return x.alone(&most, &req) != x.alone(&least, &x.question.req)
}

// alone reports whether a rule matches.
func (x *explorer) alone(r *policy.Rule, req *policy.Request) bool {
	one := *r
	one.Audit = false
	l := *x.listener
	l.Program = &policy.Program{Direction: l.Direction, Rules: []*policy.Rule{&one}}
	return slices.ContainsFunc(l.Evaluate(req).Trace, func(s policy.Step) bool { return s.Matched })
}

// without is the term without what it asks of what is not known.
func without(t *policy.Term, unknown fact) *policy.Term {
	c := *t
	if unknown&source != 0 {
		c.Sources = nil
	}
	if unknown&destination != 0 {
		c.Destinations = nil
	}
	if unknown&(host|serverName) != 0 {
		c.Domains = nil
	}
	if unknown&serverName != 0 {
		c.ServerNames = nil
	}
	if unknown&port != 0 {
		c.Ports = nil
	}
	if t.HTTP != nil {
		h := *t.HTTP
		if unknown&method != 0 {
			h.Methods = nil
		}
		if unknown&path != 0 {
			h.Paths = nil
		}
		if unknown&host != 0 {
			h.Hosts = nil
		}
		if unknown&values != 0 {
			h.Values = nil
		}
		c.HTTP = &h
	}
	return &c
}
