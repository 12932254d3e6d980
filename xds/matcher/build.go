package matcher

import (
	"fmt"
	"iter"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"

	"pavise.dev/pavise/policy"
)

// Stats describes a translation.
type Stats struct {
	// Terms that went in, and entries (predicates and keys) that came out.
	Terms, Entries int
	// Longest is the longest list that one lookup can meet.
	Longest int
	// Cuts counts lists that no dimension could split within bounds and that were cut
	// in two; a lookup asks the halves one after the other.
	Cuts int
}

const (
	// listLength is up to where a list is asked one by one.
	listLength = 4
	// maxGrowth is how often a term may be repeated, on average, over the whole tree.
	maxGrowth = 8.0
	// maxPassGroups bounds the nesting that Pass rules cause: Envoy's parser refuses
	// messages nested deeper than 100.
	maxPassGroups = 8
)

type builder struct {
	in      inputs
	classes *Classes
	stats   Stats
}

// HTTP translates a program for an HTTP listener at the given port.
func HTTP(p *policy.Program, v policy.View, port uint16, paths policy.PathOptions) (*matcherv3.Matcher, Stats, error) {
	b := &builder{in: httpInputs()}
	entries := append(b.methodCheck(), b.hostCheck()...)
	entries = append(entries, b.connectCheck()...)
	entries = append(entries, b.pathCheck(paths)...)
	stages, err := b.stages(p, v, func(r *policy.Rule) []*policy.Term { return withoutTLS(atPort(r.Terms, port)) })
	return b.root(append(entries, stages...)), b.stats, err
}

// Forward translates a program for an explicit proxy; a CONNECT is decided as the
// tunnel it asks for.
func Forward(p *policy.Program, v policy.View, paths policy.PathOptions, classes *Classes) (*matcherv3.Matcher, Stats, error) {
	b := &builder{in: proxyInputs(), classes: classes}
	entries := append(b.methodCheck(), b.hostCheck()...)
	if classes != nil {
		entries = append(entries, b.updateCheck()...)
	}
	tunnel, err := b.stages(p, v, func(r *policy.Rule) []*policy.Term { return withoutHTTP(r, true) })
	if err != nil {
		return nil, b.stats, err
	}
	entries = append(entries, entry(single(b.in.method, exact("CONNECT")), nested(b.root(tunnel))))
	entries = append(entries, b.pathCheck(paths)...)
	stages, err := b.stages(p, v, func(r *policy.Rule) []*policy.Term { return r.Terms })
	return b.root(append(entries, stages...)), b.stats, err
}

// Preliminary translates the preliminary program of an explicit proxy, see
// [policy.Program.Preliminary]; an address is let through, as it needs no look-up.
func Preliminary(p *policy.Program, v policy.View, paths policy.PathOptions) (*matcherv3.Matcher, Stats, error) {
	m, stats, err := Forward(p.Preliminary(), v, paths, nil)
	if err != nil {
		return nil, stats, err
	}
	b := &builder{in: proxyInputs()}
	address := entry(single(b.in.host, re2(policy.AddressPattern)), newOutcome(policy.Undecided, policy.Reason{}))
	l := m.GetMatcherList()
	l.Matchers = append([]*listEntry{address}, l.Matchers...)
	return m, stats, nil
}

// Network translates a program for a listener at the given port that carries TLS or
// any other protocol.
func Network(p *policy.Program, v policy.View, port uint16, tls bool) (*matcherv3.Matcher, Stats, error) {
	b := &builder{in: networkInputs()}
	stages, err := b.stages(p, v, func(r *policy.Rule) []*policy.Term {
		terms := atPort(withoutHTTP(r, false), port)
		if !tls {
			terms = withoutTLS(terms)
		}
		return terms
	})
	if tls {
		stages = append(b.serverNameCheck(), stages...)
	}
	return b.root(stages), b.stats, err
}

// RedirectedHTTP translates a program for the HTTP of a transparent listener at the given
// port.
func RedirectedHTTP(p *policy.Program, v policy.View, own uint16, paths policy.PathOptions) (*matcherv3.Matcher, Stats, error) {
	in := httpInputs()
	if p.Direction == policy.Egress {
		in.host = filterState(HostKey)
	}
	b := &builder{in: in.redirected(p.Direction)}
	entries := append(b.ownPortCheck(own), b.methodCheck()...)
	entries = append(entries, b.hostCheck()...)
	entries = append(entries, b.connectCheck()...)
	entries = append(entries, b.pathCheck(paths)...)
	stages, err := b.stages(p, v, func(r *policy.Rule) []*policy.Term { return withoutTLS(slices.Clone(r.Terms)) })
	return b.root(append(entries, stages...)), b.stats, err
}

// RedirectedNetwork translates a program for the connections of a transparent listener at
// the given port that are not HTTP.
func RedirectedNetwork(p *policy.Program, v policy.View, own uint16) (*matcherv3.Matcher, Stats, error) {
	b := &builder{in: networkInputs().redirected(p.Direction)}
	entries := append(b.ownPortCheck(own), b.serverNameCheck()...)
	stages, err := b.stages(p, v, func(r *policy.Rule) []*policy.Term { return withoutHTTP(r, false) })
	return b.root(append(entries, stages...)), b.stats, err
}

// ownPortCheck refuses a connection to the listener itself, which would be handed back to
// it again and again.
func (b *builder) ownPortCheck(port uint16) []*listEntry {
	return []*listEntry{entry(single(b.in.port, exact(strconv.Itoa(int(port)))), b.deny(policy.NotRedirected))}
}

// serverNameCheck refuses an SNI that is there and no host in its usual form.
func (b *builder) serverNameCheck() []*listEntry {
	odd := allOf([]*predicate{single(b.in.serverName, re2(anyBytes)), not(single(b.in.serverName, re2(policy.HostPattern)))})
	return []*listEntry{entry(odd, b.deny(policy.MalformedHost))}
}

// withoutTLS leaves out the terms that ask for a ClientHello, which this listener never
// sees.
func withoutTLS(terms []*policy.Term) []*policy.Term {
	return slices.DeleteFunc(terms, func(t *policy.Term) bool { return len(t.ServerNames) > 0 })
}

// atPort keeps the terms that match a port and settles the question.
func atPort(terms []*policy.Term, port uint16) []*policy.Term {
	out := make([]*policy.Term, 0, len(terms))
	for _, t := range terms {
		switch {
		case len(t.Ports) == 0:
			out = append(out, t)
		case slices.ContainsFunc(t.Ports, func(r policy.PortRange) bool { return r.Contains(port) }):
			c := *t
			c.Ports = nil
			out = append(out, &c)
		}
	}
	return out
}

func withoutHTTP(r *policy.Rule, tunnel bool) []*policy.Term {
	out := make([]*policy.Term, 0, len(r.Terms))
	for _, t := range r.Terms {
		if u := t.WithoutHTTP(r.Action, tunnel); u != nil {
			out = append(out, u)
		}
	}
	return out
}

type listEntry = matcherv3.Matcher_MatcherList_FieldMatcher

func entry(p *predicate, m *onMatch) *listEntry { return &listEntry{Predicate: p, OnMatch: m} }

func nested(m *matcherv3.Matcher) *onMatch {
	return &onMatch{OnMatch: &matcherv3.Matcher_OnMatch_Matcher{Matcher: m}}
}

func list(entries []*listEntry) *matcherv3.Matcher {
	return &matcherv3.Matcher{MatcherType: &matcherv3.Matcher_MatcherList_{
		MatcherList: &matcherv3.Matcher_MatcherList{Matchers: entries},
	}}
}

// root is a list that ends with default-allow.
func (b *builder) root(entries []*listEntry) *matcherv3.Matcher {
	allow := newOutcome(policy.Allow, policy.Reason{Kind: policy.DefaultAllow})
	if len(entries) == 0 {
		entries = []*listEntry{entry(b.always(), allow)}
	}
	m := list(entries)
	m.OnNoMatch = allow
	return m
}

func (b *builder) deny(k policy.ReasonKind) *onMatch {
	return newOutcome(policy.Deny, policy.Reason{Kind: k})
}

// methodCheck refuses methods with small letters, which HTTP/1.1 refuses in Envoy's
// parser and HTTP/2 does not.
func (b *builder) methodCheck() []*listEntry {
	return []*listEntry{entry(single(b.in.method, re2(`.*[a-z].*`)), b.deny(policy.MalformedRequest))}
}

func (b *builder) hostCheck() []*listEntry {
	return []*listEntry{
		entry(not(single(b.in.host, re2(policy.HostPattern))), b.deny(policy.MalformedHost)),
		entry(single(b.in.host, re2(policy.MappedPattern)), b.deny(policy.MalformedHost)),
	}
}

func (b *builder) connectCheck() []*listEntry {
	return []*listEntry{entry(single(b.in.method, exact("CONNECT")), b.deny(policy.ConnectRefused))}
}

// updateCheck refuses a destination that was classed for another version of the rules.
func (b *builder) updateCheck() []*listEntry {
	return []*listEntry{entry(not(single(b.in.destination, prefix(b.classes.digest+"/"))), b.deny(policy.PolicyUpdating))}
}

// pathCheck refuses ambiguous paths.
func (b *builder) pathCheck(o policy.PathOptions) []*listEntry {
	expr := `.*(?:` + policy.AmbiguousPattern(o.LiteralParameters) + `).*`
	return []*listEntry{entry(single(b.in.path, re2(expr)), b.deny(policy.AmbiguousPath))}
}

// stages translates the tiers into entries of one list.
func (b *builder) stages(p *policy.Program, v policy.View, terms func(*policy.Rule) []*policy.Term) ([]*listEntry, error) {
	var out []*listEntry
	for _, s := range p.Stages(v) {
		es, err := b.stage(s, terms, 0)
		if err != nil {
			return nil, err
		}
		out = append(out, es...)
	}
	return out, nil
}

// stage translates one tier. What a Pass rule matches must skip the rest of the tier,
// so the rest stands behind a guard: not what the Pass rules before it match.
func (b *builder) stage(s policy.Stage, terms func(*policy.Rule) []*policy.Term, depth int) ([]*listEntry, error) {
	var run []*term
	i := 0
	for ; i < len(s.Rules) && s.Rules[i].Action != policy.Pass; i++ {
		r := s.Rules[i]
		var out *onMatch
		for _, t := range terms(r) {
			if out == nil {
				out = newOutcome(r.Action, r.Reason())
			}
			run = append(run, b.term(r, t, len(run), out))
		}
	}
	entries := b.sequence(run)
	if i == len(s.Rules) {
		if s.Default != nil {
			entries = append(entries, entry(b.always(), newOutcome(policy.Deny, *s.Default)))
		}
		return entries, nil
	}
	if depth == maxPassGroups {
		return nil, fmt.Errorf("rule %q of policy %q: Pass rules stand apart from one another more than %d times in the %s tier; put them together",
			s.Rules[i].Name, s.Rules[i].Policy, maxPassGroups, s.Tier)
	}
	var passes []*predicate
	everything := false
	for ; i < len(s.Rules) && s.Rules[i].Action == policy.Pass; i++ {
		for _, t := range terms(s.Rules[i]) {
			c := b.condition(b.term(s.Rules[i], t, 0, nil))
			everything = everything || c == nil
			passes = append(passes, c)
			b.stats.Entries++
		}
	}
	b.stats.Longest = max(b.stats.Longest, len(passes))
	if everything {
		return entries, nil
	}
	rest, err := b.stage(policy.Stage{Tier: s.Tier, Rules: s.Rules[i:], Default: s.Default}, terms, depth+1)
	if err != nil || len(rest) == 0 {
		return entries, err
	}
	if len(passes) == 0 {
		return append(entries, rest...), nil
	}
	return append(entries, entry(not(anyOf(passes)), nested(list(rest)))), nil
}

func (b *builder) term(r *policy.Rule, t *policy.Term, order int, out *onMatch) *term {
	return &term{Term: t, resolved: b.in.names != nil, deny: r.Action == policy.Deny, order: order, out: out}
}

// sequence translates an ordered list of terms into entries that ask it.
func (b *builder) sequence(terms []*term) []*listEntry {
	if len(terms) == 0 {
		return nil
	}
	b.stats.Terms += len(terms)
	m := b.build(terms, maxGrowth)
	if l, ok := m.MatcherType.(*matcherv3.Matcher_MatcherList_); ok && m.OnNoMatch == nil {
		return l.MatcherList.Matchers
	}
	return []*listEntry{entry(b.always(), nested(m))}
}

// build translates an ordered, non-empty list of terms. growth is by how much the
// list may still grow, as a factor.
func (b *builder) build(terms []*term, growth float64) *matcherv3.Matcher {
	terms = untilCertain(terms)
	if len(terms) <= listLength {
		return b.list(terms)
	}
	if m := b.divideBest(terms, growth); m != nil {
		return m
	}
	if !divisible(terms) {
		return b.list(terms)
	}
	b.stats.Cuts++
	half := len(terms) / 2
	return list([]*listEntry{
		entry(b.always(), nested(b.build(terms[:half], growth))),
		entry(b.always(), nested(b.build(terms[half:], growth))),
	})
}

// untilCertain drops the terms behind one that has nothing left to test.
func untilCertain(terms []*term) []*term {
	for i, t := range terms {
		if t.certain() {
			return terms[:i+1]
		}
	}
	return terms
}

func (t *term) certain() bool {
	for d := range numDims {
		if t.open(d) {
			return false
		}
	}
	return t.HTTP == nil || len(t.HTTP.Values) == 0
}

// divisible reports whether cutting the list may let its halves be split: whether some
// dimension has many keys in it.
func divisible(terms []*term) bool {
	if len(terms) < 4*listLength {
		return false
	}
	few := len(terms) / 8
	return distinct(terms, pathKeys) > few || distinct(terms, hostKeys) > few || distinct(terms, sourceKeys) > few ||
		distinct(terms, methodKeys) > few || distinct(terms, portKeys) > few || distinct(terms, serverNameKeys) > few
}

// distinct counts the different first keys of the terms.
func distinct[K comparable](terms []*term, keysOf func(*term) []attachment[K]) int {
	seen := map[K]bool{}
	for _, t := range terms {
		if keys := keysOf(t); len(keys) > 0 {
			seen[keys[0].key] = true
		}
	}
	return len(seen)
}

// divideBest splits by the dimension that is worth most, if one is within the growth
// that is left. Worth is size times the depth of what remains to be split; a dimension
// that neither shortens the lists nor halves the size is not taken.
func (b *builder) divideBest(terms []*term, growth float64) *matcherv3.Matcher {
	weight := 0
	for _, t := range terms {
		weight += t.weight()
	}
	limit := int(float64(weight)*growth) + 16
	var best func(growth float64) *matcherv3.Matcher
	var bestTotal int
	bestScore := math.Inf(1)
	consider := func(c cost, emit func(float64) *matcherv3.Matcher) {
		if c.free(len(terms)) {
			best, bestTotal, bestScore = emit, c.total, math.Inf(-1)
			return
		}
		if c.longest > len(terms)*3/4 && c.total > weight/2 {
			return
		}
		if score := float64(c.total) * math.Log2(1+float64(c.longest)); score < bestScore {
			best, bestTotal, bestScore = emit, c.total, score
		}
	}
	try(terms, dimPath, limit, pathKeys, pathsAbove, lessPath, consider, b.emitPaths)
	try(terms, dimHost, limit, hostKeys, domainsAbove, lessDomain, consider, b.emitHosts)
	try(terms, dimSource, limit, sourceKeys, prefixesAbove, lessPrefix, consider, b.emitSources)
	if b.classes != nil {
		try(terms, dimDestination, limit, b.destinationKeys, none[string], strings.Compare, consider, b.emitDestinations)
	} else {
		try(terms, dimDestination, limit, destinationPrefixKeys, prefixesAbove, lessPrefix, consider, b.emitDestinationPrefixes)
	}
	try(terms, dimMethod, limit, methodKeys, none[string], strings.Compare, consider, b.emitMethods)
	try(terms, dimPort, limit, portKeys, none[uint16], func(a, c uint16) int { return int(a) - int(c) }, consider, b.emitPorts)
	try(terms, dimServerName, limit, serverNameKeys, domainsAbove, lessDomain, consider, b.emitServerNames)
	if best == nil {
		return nil
	}
	return best(min(growth, growth*float64(weight)/float64(max(bestTotal, 1))))
}

func try[K comparable](
	terms []*term, d dim, limit int,
	keysOf func(*term) []attachment[K], above func(K) iter.Seq[K], less func(a, b K) int,
	consider func(cost, func(float64) *matcherv3.Matcher), emit func(*division[K], float64) *matcherv3.Matcher,
) {
	var key K
	_, alike := any(key).(netip.Prefix) // the members of a set are told apart by nothing else
	if div, ok := divide(terms, d, limit, alike, keysOf, above, less); ok {
		consider(div.cost, func(growth float64) *matcherv3.Matcher { return emit(div, max(growth, 1)) })
	}
}

func destinationPrefixKeys(t *term) []attachment[netip.Prefix] {
	if !t.open(dimDestination) {
		return nil
	}
	return prefixKeys(t.Destinations)
}

func (b *builder) destinationKeys(t *term) []attachment[string] {
	if !t.open(dimDestination) {
		return nil
	}
	names := b.classes.of(t.Destinations)
	out := make([]attachment[string], len(names))
	for i, n := range names {
		out[i] = attachment[string]{n, true}
	}
	return out
}
