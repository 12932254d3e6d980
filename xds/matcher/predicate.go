package matcher

import (
	"net/netip"
	"strings"

	corev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	envoycorev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/ip/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"pavise.dev/pavise/policy"
)

type (
	predicate = matcherv3.Matcher_MatcherList_Predicate
	onMatch   = matcherv3.Matcher_OnMatch
)

func single(input *corev3.TypedExtensionConfig, m *matcherv3.StringMatcher) *predicate {
	return &predicate{MatchType: &matcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &matcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input:   input,
			Matcher: &matcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: m},
		},
	}}
}

func exact(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

func prefix(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: s}}
}

func suffix(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: s}}
}

func contains(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: s}}
}

// re2 matches a whole value.
func re2(expr string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{
		EngineType: &matcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &matcherv3.RegexMatcher_GoogleRE2{}},
		Regex:      expr,
	}}}
}

func not(p *predicate) *predicate {
	return &predicate{MatchType: &matcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: p}}
}

// allOf is the conjunction; nil for no predicates, which always holds.
func allOf(ps []*predicate) *predicate {
	switch len(ps) {
	case 0:
		return nil
	case 1:
		return ps[0]
	}
	return &predicate{MatchType: &matcherv3.Matcher_MatcherList_Predicate_AndMatcher{
		AndMatcher: &matcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: ps},
	}}
}

// anyOf is the disjunction of at least one predicate.
func anyOf(ps []*predicate) *predicate {
	if len(ps) == 1 {
		return ps[0]
	}
	return &predicate{MatchType: &matcherv3.Matcher_MatcherList_Predicate_OrMatcher{
		OrMatcher: &matcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: ps},
	}}
}

// always holds; Envoy has no such predicate, and no address and no method is "-".
func (b *builder) always() *predicate {
	in := b.in.method
	if in == nil {
		in = b.in.source
	}
	return not(single(in, exact("-")))
}

// condition is what is left to test of a term; nil if nothing is.
func (b *builder) condition(t *term) *predicate {
	var ps []*predicate
	if t.open(dimSource) {
		ps = append(ps, addresses(b.in.source, t.Sources.Prefixes()))
	}
	if t.open(dimDestination) {
		ps = append(ps, b.destination(t))
	}
	if t.open(dimPort) {
		ps = append(ps, single(b.in.port, re2(portsPattern(t.Ports))))
	}
	if t.open(dimServerName) {
		ps = append(ps, domains(b.in.serverName, t.ServerNames))
	}
	if t.open(dimNames) {
		ps = append(ps, b.resolved(t))
	}
	if t.open(dimHost) {
		for _, list := range t.hosts() {
			ps = append(ps, domains(b.in.host, list))
		}
	}
	if t.open(dimMethod) {
		var ms []*predicate
		for _, m := range t.HTTP.Methods {
			ms = append(ms, single(b.in.method, exact(m)))
		}
		ps = append(ps, anyOf(ms))
	}
	if t.open(dimPath) {
		if p := b.paths(t.HTTP.Paths); p != nil {
			ps = append(ps, p)
		}
	}
	if t.HTTP != nil {
		for i := range t.HTTP.Values {
			ps = append(ps, b.value(&t.HTTP.Values[i]))
		}
	}
	return allOf(ps)
}

func addresses(input *corev3.TypedExtensionConfig, ps []netip.Prefix) *predicate {
	ranges := make([]*envoycorev3.CidrRange, len(ps))
	for i, p := range ps {
		ranges[i] = &envoycorev3.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))} //nolint:gosec // 0..128
	}
	return &predicate{MatchType: &matcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &matcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input: input,
			Matcher: &matcherv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch{
				CustomMatch: extension("envoy.matching.matchers.ip", &ipv3.Ip{CidrRanges: ranges, StatPrefix: "pavise"}),
			},
		},
	}}
}

func (b *builder) destination(t *term) *predicate {
	if b.classes == nil {
		return addresses(b.in.destination, t.Destinations.Prefixes())
	}
	var ps []*predicate
	for _, name := range b.classes.of(t.Destinations) {
		ps = append(ps, single(b.in.destination, exact(name)))
	}
	if len(ps) == 0 {
		return not(b.always())
	}
	return anyOf(ps)
}

func domains(input *corev3.TypedExtensionConfig, ds []policy.Domain) *predicate {
	ps := make([]*predicate, len(ds))
	for i, d := range ds {
		if d.Wildcard {
			ps[i] = single(input, suffix("."+d.Name))
		} else {
			ps[i] = single(input, exact(d.Name))
		}
	}
	return anyOf(ps)
}

// resolved compares domains with the names of the destination and with the claim, see
// policy.Evaluate: for a denial one of them is enough, else both have to be among them.
func (b *builder) resolved(t *term) *predicate {
	claimed := domains(b.in.claim, t.Domains)
	names := make([]*predicate, len(t.Domains))
	for i, d := range t.Domains {
		before := ","
		if d.Wildcard {
			before = "."
		}
		names[i] = single(b.in.names, contains(before+d.Name+","))
	}
	if t.deny {
		return anyOf(append(names, claimed))
	}
	return allOf([]*predicate{anyOf(names), anyOf([]*predicate{not(single(b.in.claim, re2(anyBytes))), claimed})})
}

// paths is nil when one of the patterns is the root, which every path is below.
func (b *builder) paths(patterns []policy.PathPattern) *predicate {
	var ps []*predicate
	var exprs []string
	for _, p := range patterns {
		switch p.Kind {
		case policy.ExactPath:
			ps = append(ps, single(b.in.path, exact(p.Text+"/")))
		case policy.PrefixPath:
			if p.Text == "" {
				return nil
			}
			ps = append(ps, single(b.in.path, prefix(p.Text+"/")))
		default:
			exprs = append(exprs, p.Regexp())
		}
	}
	for _, group := range groupExpressions(exprs) {
		ps = append(ps, single(b.in.path, re2(pathExpression(group))))
	}
	return anyOf(ps)
}

// pathExpression matches the path with the slash that PathKey has at its end.
func pathExpression(exprs []string) string {
	if len(exprs) == 1 {
		return "(?:" + exprs[0] + ")/"
	}
	return "(?:(?:" + strings.Join(exprs, ")|(?:") + "))/"
}

// maxExpression bounds one alternation, in bytes, so that RE2 compiles it within its
// memory and runs it as an automaton without falling back.
const maxExpression = 4096

func groupExpressions(exprs []string) [][]string {
	var out [][]string
	size := 0
	for _, e := range exprs {
		if len(out) == 0 || size+len(e) > maxExpression {
			out, size = append(out, nil), 0
		}
		out[len(out)-1] = append(out[len(out)-1], e)
		size += len(e)
	}
	return out
}

const (
	// validUTF8 matches what RE2 can read at all.
	validUTF8 = `(?s).*`
	// anyBytes matches every value that is there; Envoy has no test for presence.
	anyBytes = `(?s)\C*`
)

// value is a test of a header or of the query, see [policy.ValueTest].
func (b *builder) value(v *policy.ValueTest) *predicate {
	in := b.in.target
	if v.Place == policy.Header {
		in = header(v.Name)
	}
	if v.Absent {
		return not(single(in, re2(anyBytes)))
	}
	if v.Want == "" {
		return single(in, re2(anyBytes))
	}
	p := single(in, re2(v.Want))
	if v.Not != "" {
		p = allOf([]*predicate{p, not(single(in, re2(v.Not)))})
	}
	if v.Wide {
		present := single(in, re2(anyBytes))
		p = anyOf([]*predicate{p, allOf([]*predicate{present, not(single(in, re2(validUTF8)))})})
	}
	return p
}
