package redirect

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Difference is one way in which what is in force is not as planned.
type Difference struct {
	// Chain is where, or empty if it is not about a chain.
	Chain string
	// What is it: "table", "chain", "rule dns-udp", "set agent_ports".
	What string
	// How it differs, as in "is missing".
	How string
}

func (d Difference) String() string {
	if d.Chain != "" {
		return fmt.Sprintf("chain %s: %s %s", d.Chain, d.What, d.How)
	}
	return d.What + " " + d.How
}

// maxDifferences bounds what Compare returns: whoever may add rules may add thousands.
const maxDifferences = 100

const missing, changed, foreign = "is missing", "is not as planned", "is not ours"

// Compare returns how what is in force differs from the plan, nothing if it does not, and
// about a hundred differences at most.
// Names that come from others are quoted and cut.
func (p *Plan) Compare(now *Current) []Difference {
	if !now.Found {
		return []Difference{{What: "table", How: missing}}
	}
	var d []Difference
	if now.dormant {
		d = append(d, Difference{What: "table", How: "is switched off (dormant)"})
	}
	d = append(d, p.compareSets(now.sets)...)
	d = append(d, p.compareChains(now.chains)...)
	if more := len(d) - maxDifferences; more > 0 {
		d = append(d[:maxDifferences], Difference{What: "the table", How: fmt.Sprintf("differs in %d more ways", more)})
	}
	return d
}

func (p *Plan) compareSets(held []heldSet) []Difference {
	var d []Difference
	for _, s := range p.Sets {
		what := "set " + s.Name
		switch i := slices.IndexFunc(held, func(h heldSet) bool { return h.name == s.Name }); {
		case i < 0:
			d = append(d, Difference{What: what, How: missing})
		case held[i].flags != unix.NFT_SET_INTERVAL, held[i].kind != s.Type.GetNFTMagic(), !slices.Equal(held[i].spans, s.spans):
			d = append(d, Difference{What: what, How: changed})
		}
	}
	for _, h := range held {
		if !slices.ContainsFunc(p.Sets, func(s Set) bool { return s.Name == h.name }) {
			d = append(d, Difference{What: "set " + quote(h.name), How: foreign})
		}
	}
	return d
}

func (p *Plan) compareChains(held []heldChain) []Difference {
	var d []Difference
	for _, c := range p.Chains {
		i := slices.IndexFunc(held, func(h heldChain) bool { return h.name == c.Name })
		if i < 0 {
			d = append(d, Difference{Chain: c.Name, What: "chain", How: missing})
			continue
		}
		h := held[i]
		if h.kind != c.Type || h.hook != uint32(hooks[c.Hook]) || h.priority != c.Priority || h.drops != c.Drops {
			d = append(d, Difference{Chain: c.Name, What: "hook, priority or policy", How: changed})
		}
		d = append(d, compareRules(c, h.rules)...)
	}
	for _, h := range held {
		if !slices.ContainsFunc(p.Chains, func(c Chain) bool { return c.Name == h.name }) {
			d = append(d, Difference{What: "chain " + quote(h.name), How: foreign})
		}
	}
	return d
}

func compareRules(c Chain, held []heldRule) []Difference {
	var d []Difference
	add := func(what, how string) { d = append(d, Difference{c.Name, what, how}) }
	for _, r := range c.Rules {
		switch i := slices.IndexFunc(held, func(h heldRule) bool { return h.name == r.Name }); {
		case i < 0:
			add("rule "+r.Name, missing)
		case !sameExprs(held[i].exprs, r.exprs):
			add("rule "+r.Name, changed)
		}
	}
	seen := map[string]bool{}
	for i, h := range held {
		if seen[h.name] || !slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.Name == h.name }) {
			add(fmt.Sprintf("rule %s at %d", quote(h.name), i+1), foreign)
		}
		seen[h.name] = true
	}
	if len(d) > 0 {
		return d
	}
	for i, r := range c.Rules { // each is there once; are they in order?
		if held[i].name != r.Name {
			add("rules", "are in another order")
			break
		}
	}
	return d
}

// sameExprs compares by what the kernel was or would be sent.
func sameExprs(a, b []expr.Any) bool {
	return slices.EqualFunc(a, b, func(x, y expr.Any) bool {
		bx, okX := canonical(x)
		by, okY := canonical(y)
		return okX && okY && bytes.Equal(bx, by)
	})
}

// canonical is an expression without what may differ though the rule is the same.
func canonical(e expr.Any) ([]byte, bool) {
	switch v := e.(type) {
	case nil:
		return nil, false
	case *expr.Counter:
		e = &expr.Counter{}
	case *expr.Lookup:
		same := *v
		same.SetID = 0 // of one transaction; the name is what lasts
		e = &same
	}
	b, err := expr.Marshal(unix.NFPROTO_INET, e)
	return b, err == nil
}

func quote(name string) string { return fmt.Sprintf("%.40q", name) }

// summary is a few differences for a log line.
func summary(d []Difference) string {
	const most = 3
	var parts []string
	for _, x := range d[:min(most, len(d))] {
		parts = append(parts, x.String())
	}
	if len(d) > most {
		parts = append(parts, fmt.Sprintf("and %d more", len(d)-most))
	}
	return strings.Join(parts, "; ")
}
