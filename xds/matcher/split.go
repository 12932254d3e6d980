package matcher

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"pavise.dev/pavise/policy"
)

// pathKey is a whole path (exact) or a path and what is below it.
type pathKey struct {
	text  string
	exact bool
}

// branch is one key of a split with the terms that apply there, in order.
type branch[K comparable] struct {
	key   K
	terms []*term
}

// division is a list split by one dimension.
type division[K comparable] struct {
	branches []branch[K]
	// rest are the terms that do not care for the dimension; they are asked where no
	// branch decided.
	rest []*term
	cost
}

// cost of a division: its size in term weights, the longest list that a lookup can meet
// in it, the terms in all lists, how many of them are settled, and the keys.
type cost struct{ total, longest, terms, settled, keys int }

// fewBranches is how many branches a division may have to be free.
const fewBranches = 8

// free reports whether a division of n terms repeats none and asks most of them one
// question less, for a handful of keys: such a one is taken first, as each term behind
// it is smaller. Rules for GET, say, then end in a verdict and not in a test of the
// method.
func (c cost) free(n int) bool {
	return c.keys <= fewBranches && c.terms <= n && c.settled > n/2
}

// attachment of a term to a key; settled when the key answers the dimension for the
// term, so that nothing is left to test.
type attachment[K comparable] struct {
	key     K
	settled bool
}

// divide splits terms by the keys that keysOf gives; nil keys mean that the term does
// not care. above yields the keys that cover a key, nearest first, whether they are
// in use or not. It gives up, returning false, when the total weight passes limit.
// Where alike is set, keys with the same terms cost one branch.
func divide[K comparable](
	terms []*term, d dim, limit int, alike bool,
	keysOf func(*term) []attachment[K], above func(K) iter.Seq[K], less func(a, b K) int,
) (*division[K], bool) {
	at := map[K][]*term{}
	var out division[K]
	for _, t := range terms {
		keys := keysOf(t)
		if keys == nil {
			out.rest = append(out.rest, t)
			continue
		}
		for _, k := range keys {
			u := t
			if k.settled {
				u = t.with(d)
			}
			at[k.key] = appendTerm(at[k.key], u)
		}
	}
	if len(at) == 0 {
		return nil, false
	}
	keys := make([]K, 0, len(at))
	for k := range at {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, less)
	for _, t := range out.rest {
		out.total += t.weight()
	}
	out.keys, out.terms = len(keys), len(out.rest)
	out.branches = make([]branch[K], 0, len(keys))
	seen, handled := map[string]bool{}, 0
	for _, k := range keys {
		own := at[k]
		last := own[len(own)-1].order
		lists := [][]*term{own, before(out.rest, last)}
		for p := range above(k) {
			if l := before(at[p], last); len(l) > 0 {
				lists = append(lists, l)
			}
		}
		b := branch[K]{key: k, terms: mergeTerms(lists)}
		handled += len(b.terms)
		sig := ""
		if alike {
			sig = signature(b.terms)
		}
		if !seen[sig] {
			seen[sig] = alike
			for _, t := range b.terms {
				out.total += t.weight()
			}
		} else {
			out.total++
		}
		if out.total > limit || handled > maxHandled*limit {
			return nil, false
		}
		out.longest = max(out.longest, len(b.terms))
		out.terms += len(b.terms)
		for _, t := range b.terms {
			if t.isDone(d) {
				out.settled++
			}
		}
		out.branches = append(out.branches, b)
	}
	out.longest = max(out.longest, len(out.rest))
	return &out, true
}

// maxHandled bounds the work for branches that turn out alike, in limits.
const maxHandled = 64

// signature is equal for lists with the same terms that have the same left to test.
func signature(terms []*term) string {
	b := make([]byte, 0, len(terms)*8)
	for _, t := range terms {
		b = binary.AppendUvarint(b, uint64(t.order)) //nolint:gosec // a place in a list
		b = binary.AppendUvarint(b, uint64(t.done))
	}
	return string(b)
}

// appendTerm adds t to a list in order; a term met twice at one key is settled there
// if either was.
func appendTerm(l []*term, t *term) []*term {
	if n := len(l); n > 0 && l[n-1].order == t.order {
		if t.done|l[n-1].done == t.done {
			l[n-1] = t
		}
		return l
	}
	return append(l, t)
}

// before is the part of an ordered list that comes before order.
func before(l []*term, order int) []*term {
	i, _ := slices.BinarySearchFunc(l, order, func(t *term, o int) int { return t.order - o })
	return l[:i]
}

// mergeTerms merges ordered lists; a term in several is kept once, with all that any of
// its copies has settled (every copy is on the way to the same branch).
func mergeTerms(lists [][]*term) []*term {
	n := 0
	for _, l := range lists {
		n += len(l)
	}
	out := make([]*term, 0, n)
	for _, l := range lists {
		out = append(out, l...)
	}
	if len(lists) > 1 {
		slices.SortStableFunc(out, func(a, b *term) int { return a.order - b.order })
	}
	merged := out[:0]
	for _, t := range out {
		merged = appendTerm(merged, t)
	}
	return merged
}

// pathKeys attaches a term to the literal part of each of its paths.
func pathKeys(t *term) []attachment[pathKey] {
	if !t.open(dimPath) {
		return nil
	}
	out := make([]attachment[pathKey], 0, len(t.HTTP.Paths))
	for _, p := range t.HTTP.Paths {
		switch p.Kind {
		case policy.ExactPath:
			out = append(out, attachment[pathKey]{pathKey{p.Text, true}, true})
		case policy.PrefixPath:
			if p.Text == "" {
				return nil
			}
			out = append(out, attachment[pathKey]{pathKey{p.Text, false}, true})
		default:
			lit := p.Literal()
			if lit == "" {
				return nil
			}
			out = append(out, attachment[pathKey]{pathKey{lit, false}, false})
		}
	}
	return out
}

func pathsAbove(k pathKey) iter.Seq[pathKey] {
	return func(yield func(pathKey) bool) {
		text := k.text
		if k.exact && !yield(pathKey{text, false}) {
			return
		}
		for {
			i := strings.LastIndexByte(text, '/')
			if i <= 0 {
				return
			}
			text = text[:i]
			if !yield(pathKey{text, false}) {
				return
			}
		}
	}
}

func lessPath(a, b pathKey) int {
	if c := strings.Compare(a.text, b.text); c != 0 {
		return c
	}
	switch {
	case a.exact == b.exact:
		return 0
	case a.exact:
		return -1
	}
	return 1
}

// hostKeys attaches a term to the names of its first list; with two lists the second
// stays to be tested, since a host has to be in both.
func hostKeys(t *term) []attachment[policy.Domain] {
	if !t.open(dimHost) {
		return nil
	}
	lists := t.hosts()
	out := make([]attachment[policy.Domain], 0, len(lists[0]))
	for _, d := range lists[0] {
		out = append(out, attachment[policy.Domain]{d, len(lists) == 1})
	}
	return out
}

func serverNameKeys(t *term) []attachment[policy.Domain] {
	if !t.open(dimServerName) {
		return nil
	}
	out := make([]attachment[policy.Domain], 0, len(t.ServerNames))
	for _, d := range t.ServerNames {
		out = append(out, attachment[policy.Domain]{d, true})
	}
	return out
}

func domainsAbove(d policy.Domain) iter.Seq[policy.Domain] {
	return func(yield func(policy.Domain) bool) {
		name := d.Name
		for {
			_, rest, ok := strings.Cut(name, ".")
			if !ok || !yield(policy.Domain{Name: rest, Wildcard: true}) {
				return
			}
			name = rest
		}
	}
}

func lessDomain(a, b policy.Domain) int { return strings.Compare(a.String(), b.String()) }

func sourceKeys(t *term) []attachment[netip.Prefix] {
	if !t.open(dimSource) {
		return nil
	}
	return prefixKeys(t.Sources)
}

func prefixKeys(s *policy.AddrSet) []attachment[netip.Prefix] {
	ps := s.Prefixes()
	out := make([]attachment[netip.Prefix], len(ps))
	for i, p := range ps {
		out[i] = attachment[netip.Prefix]{p, true}
	}
	return out
}

func prefixesAbove(p netip.Prefix) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for bits := p.Bits() - 1; bits >= 0; bits-- {
			if !yield(netip.PrefixFrom(p.Addr(), bits).Masked()) {
				return
			}
		}
	}
}

func lessPrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

func methodKeys(t *term) []attachment[string] {
	if !t.open(dimMethod) {
		return nil
	}
	out := make([]attachment[string], len(t.HTTP.Methods))
	for i, m := range t.HTTP.Methods {
		out[i] = attachment[string]{m, true}
	}
	return out
}

// maxPortKeys bounds how many single ports a term may name to be split by port.
const maxPortKeys = 64

func portKeys(t *term) []attachment[uint16] {
	if !t.open(dimPort) {
		return nil
	}
	var out []attachment[uint16]
	for _, r := range t.Ports {
		for p := int(r.First); p <= int(r.Last); p++ {
			if len(out) == maxPortKeys {
				return nil
			}
			out = append(out, attachment[uint16]{uint16(p), true}) //nolint:gosec // between two uint16
		}
	}
	return out
}

func none[K any](K) iter.Seq[K] { return func(func(K) bool) {} }
