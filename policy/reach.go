package policy

import (
	"fmt"
	"slices"
)

// maxCompared bounds how many earlier rules without a path one rule is compared
// with, so that finding unreachable rules stays linear; what lies beyond is not
// reported.
const maxCompared = 256

// findUnreachable warns of rules that an earlier rule of the same policy and direction always
// decides first. It is told by single rules only: several that cover a later one
// together are not found.
func (c *Compiler) findUnreachable(p *compiledPolicy, rules []*Rule) {
	index := newCoverIndex()
	for _, r := range rules {
		if by := index.covering(r); by != nil {
			what := "is never reached"
			if r.Action == Deny && by.Action != Deny && by.asksHTTP() {
				// Of traffic that is not HTTP, a Deny rule matches more.
				what = "is never reached by an HTTP request"
			}
			c.warn("PAV0708", p.object, r.Field,
				fmt.Sprintf("%s: rule %q before it matches everything that it matches", what, by.Name),
				"put the narrower rule first, or remove one of them")
		}
		index.add(r)
	}
}

// coverIndex finds earlier rules that may cover a later one.
type coverIndex struct {
	byPath   map[string][]*Rule // by the literal part of a path, see PathPattern.Literal
	pathless []*Rule
}

func newCoverIndex() *coverIndex { return &coverIndex{byPath: map[string][]*Rule{}} }

func (x *coverIndex) add(r *Rule) {
	for _, t := range r.Terms {
		if t.HTTP == nil || len(t.HTTP.Paths) == 0 {
			if len(x.pathless) < maxCompared {
				x.pathless = append(x.pathless, r)
			}
			return
		}
	}
	for _, t := range r.Terms {
		for _, p := range t.HTTP.Paths {
			if l := x.byPath[p.Text]; len(l) < maxCompared && !slices.Contains(l, r) {
				x.byPath[p.Text] = append(l, r)
			}
		}
	}
}

// covering is an earlier rule of which every term of r is a special case.
func (x *coverIndex) covering(r *Rule) *Rule {
	if len(r.Terms) == 0 {
		return nil
	}
	candidates := slices.Clone(x.pathless)
	if h := r.Terms[0].HTTP; h != nil && len(h.Paths) > 0 {
		for text := h.Paths[0].Text; ; text = parentPath(text) {
			candidates = append(candidates, x.byPath[text]...)
			if text == "" {
				break
			}
		}
	}
	for _, a := range candidates {
		if a.covers(r) {
			return a
		}
	}
	return nil
}

func parentPath(p string) string {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] == '/' {
			return p[:i]
		}
	}
	return ""
}

func (r *Rule) asksHTTP() bool {
	return slices.ContainsFunc(r.Terms, func(t *Term) bool { return t.HTTP != nil })
}

func (r *Rule) covers(b *Rule) bool {
	for _, tb := range b.Terms {
		if !slices.ContainsFunc(r.Terms, func(ta *Term) bool { return ta.covers(tb) }) {
			return false
		}
	}
	return true
}

// covers reports whether everything that matches b matches a. It may miss covers; it
// never reports one that is none.
func (a *Term) covers(b *Term) bool {
	if !coversAddrs(a.Sources, b.Sources) || !coversAddrs(a.Destinations, b.Destinations) ||
		!coversDomains(a.Domains, b.Domains) || !coversDomains(a.ServerNames, b.ServerNames) || !coversPorts(a.Ports, b.Ports) {
		return false
	}
	if a.HTTP == nil {
		return true
	}
	if b.HTTP == nil {
		return false
	}
	ha, hb := a.HTTP, b.HTTP
	return len(ha.Values) == 0 && coversStrings(ha.Methods, hb.Methods) &&
		coversDomains(ha.Hosts, hb.Hosts) && coversPaths(ha.Paths, hb.Paths)
}

func coversAddrs(a, b *AddrSet) bool {
	if a == nil {
		return true
	}
	if b == nil {
		return false
	}
	for _, p := range b.prefixes {
		if !a.set.ContainsPrefix(p) {
			return false
		}
	}
	return true
}

func coversDomains(a, b []Domain) bool {
	if len(a) == 0 {
		return true
	}
	return len(b) > 0 && every(b, func(d Domain) bool {
		return slices.ContainsFunc(a, func(e Domain) bool {
			return e == d || e.Wildcard && e.Match(d.Name)
		})
	})
}

func coversPorts(a, b []PortRange) bool {
	if len(a) == 0 {
		return true
	}
	return len(b) > 0 && every(b, func(r PortRange) bool {
		return slices.ContainsFunc(a, func(e PortRange) bool { return e.First <= r.First && r.Last <= e.Last })
	})
}

func coversStrings(a, b []string) bool {
	if len(a) == 0 {
		return true
	}
	return len(b) > 0 && every(b, func(s string) bool { return slices.Contains(a, s) })
}

func coversPaths(a, b []PathPattern) bool {
	if len(a) == 0 {
		return true
	}
	return len(b) > 0 && every(b, func(p PathPattern) bool {
		return slices.ContainsFunc(a, func(e PathPattern) bool {
			if e.Kind == p.Kind && e.Text == p.Text {
				return true
			}
			return e.Kind == PrefixPath && PathPattern{Kind: PrefixPath, Text: e.Text}.Match(p.Literal())
		})
	})
}

func every[T any](xs []T, ok func(T) bool) bool {
	for _, x := range xs {
		if !ok(x) {
			return false
		}
	}
	return true
}
