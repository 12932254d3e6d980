package policy

// Undecided is the action of a rule that an address may yet decide. It occurs in
// preliminary programs only, where it ends the evaluation and lets the request on.
const Undecided Action = "undecided"

// Preliminary is the program as it is asked before an address is known: rules that
// deny by address are passed over, and what an address may allow or pass is let through
// to the full program with the action Undecided. A denial by the preliminary
// program is a denial whatever the address.
func (p *Program) Preliminary() *Program {
	q := *p
	q.Rules = make([]*Rule, 0, len(p.Rules))
	for _, r := range p.Rules {
		known, open := *r, *r
		known.Terms, open.Terms = nil, nil
		for _, t := range r.Terms {
			if t.Destinations == nil {
				known.Terms = append(known.Terms, t)
				continue
			}
			c := *t
			c.Destinations = nil
			open.Terms = append(open.Terms, &c)
		}
		// The known terms stand first: where both match, the rule is decided.
		if len(known.Terms) > 0 {
			q.Rules = append(q.Rules, &known)
		}
		if len(open.Terms) > 0 && r.Action != Deny {
			open.Action = Undecided
			q.Rules = append(q.Rules, &open)
		}
	}
	return &q
}
