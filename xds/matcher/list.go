package matcher

import (
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"

	"pavise.dev/pavise/policy"
)

// groupSize is how many expressions stand behind one alternation of them all.
const groupSize = 16

// list asks terms one by one, in order. Long runs of terms that are told apart by
// expressions only are put in groups: one alternation says whether a group is worth
// looking into, so that a miss costs a sixteenth.
func (b *builder) list(terms []*term) *matcherv3.Matcher {
	b.stats.Longest = max(b.stats.Longest, len(terms))
	entries := make([]*listEntry, 0, len(terms))
	for _, t := range terms {
		b.stats.Entries++
		p := b.condition(t)
		if p == nil {
			p = b.always()
		}
		entries = append(entries, entry(p, t.out))
	}
	if len(entries) > 2*groupSize {
		entries = b.group(terms, entries)
	}
	return list(entries)
}

// group puts neighbouring entries whose paths are expressions behind alternations.
func (b *builder) group(terms []*term, entries []*listEntry) []*listEntry {
	exprs := make([][]string, len(terms))
	for i, t := range terms {
		exprs[i] = pathExpressions(t)
	}
	var out []*listEntry
	for i := 0; i < len(entries); {
		j, size := i, 0
		var all []string
		for j < len(entries) && j-i < groupSize && exprs[j] != nil && size < maxExpression {
			all = append(all, exprs[j]...)
			for _, e := range exprs[j] {
				size += len(e)
			}
			j++
		}
		if j-i < 2 {
			out = append(out, entries[i])
			i++
			continue
		}
		out = append(out, entry(single(b.in.path, re2(pathExpression(all))), nested(list(entries[i:j]))))
		i = j
	}
	return out
}

// pathExpressions are the expressions one of which the path has to match; nil if the
// term can match a path that fits none.
func pathExpressions(t *term) []string {
	if !t.open(dimPath) {
		return nil
	}
	var out []string
	for _, p := range t.HTTP.Paths {
		if p.Kind != policy.TemplatePath && p.Kind != policy.RegexPath {
			return nil
		}
		out = append(out, p.Regexp())
	}
	return out
}
