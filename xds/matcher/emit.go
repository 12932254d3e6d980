package matcher

import (
	"net/netip"
	"strconv"

	corev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"pavise.dev/pavise/policy"
)

// rest gives a tree the terms to ask where no branch decided.
func (b *builder) rest(m *matcherv3.Matcher, terms []*term, growth float64) *matcherv3.Matcher {
	if len(terms) > 0 {
		m.OnNoMatch = b.follow(terms, growth)
	}
	return m
}

// follow is what happens at the end of a branch.
func (b *builder) follow(terms []*term, growth float64) *onMatch {
	b.stats.Entries++
	if terms[0].certain() {
		return terms[0].out
	}
	return nested(b.build(terms, growth))
}

type matchMap = matcherv3.Matcher_MatcherTree_MatchMap

func exactTree(input *corev3.TypedExtensionConfig, m map[string]*onMatch) *matcherv3.Matcher {
	return treeMatcher(&matcherv3.Matcher_MatcherTree{
		Input: input, TreeType: &matcherv3.Matcher_MatcherTree_ExactMatchMap{ExactMatchMap: &matchMap{Map: m}},
	})
}

func prefixTree(input *corev3.TypedExtensionConfig, m map[string]*onMatch) *matcherv3.Matcher {
	return treeMatcher(&matcherv3.Matcher_MatcherTree{
		Input: input, TreeType: &matcherv3.Matcher_MatcherTree_PrefixMatchMap{PrefixMatchMap: &matchMap{Map: m}},
	})
}

func customTree(input, custom *corev3.TypedExtensionConfig) *matcherv3.Matcher {
	return treeMatcher(&matcherv3.Matcher_MatcherTree{
		Input: input, TreeType: &matcherv3.Matcher_MatcherTree_CustomMatch{CustomMatch: custom},
	})
}

func treeMatcher(t *matcherv3.Matcher_MatcherTree) *matcherv3.Matcher {
	return &matcherv3.Matcher{MatcherType: &matcherv3.Matcher_MatcherTree_{MatcherTree: t}}
}

// chain makes each matcher fall back to the next.
func chain(ms ...*matcherv3.Matcher) (first, last *matcherv3.Matcher) {
	for _, m := range ms {
		if m == nil {
			continue
		}
		if first == nil {
			first = m
		} else {
			last.OnNoMatch = nested(m)
		}
		last = m
	}
	return first, last
}

func (b *builder) emitPaths(d *division[pathKey], growth float64) *matcherv3.Matcher {
	exacts, prefixes := map[string]*onMatch{}, map[string]*onMatch{}
	for _, br := range d.branches {
		if br.key.exact {
			exacts[br.key.text+"/"] = b.follow(br.terms, growth)
		} else {
			prefixes[br.key.text+"/"] = b.follow(br.terms, growth)
		}
	}
	var e, p *matcherv3.Matcher
	if len(exacts) > 0 {
		e = exactTree(b.in.path, exacts)
	}
	if len(prefixes) > 0 {
		p = prefixTree(b.in.path, prefixes)
	}
	first, last := chain(e, p)
	b.rest(last, d.rest, growth)
	return first
}

func (b *builder) emitHosts(d *division[policy.Domain], growth float64) *matcherv3.Matcher {
	return b.emitDomains(b.in.host, d, growth)
}

func (b *builder) emitServerNames(d *division[policy.Domain], growth float64) *matcherv3.Matcher {
	return b.emitDomains(b.in.serverName, d, growth)
}

func (b *builder) emitDomains(input *corev3.TypedExtensionConfig, d *division[policy.Domain], growth float64) *matcherv3.Matcher {
	exacts := map[string]*onMatch{}
	wild := &matcherv3.ServerNameMatcher{}
	for _, br := range d.branches {
		if !br.key.Wildcard {
			exacts[br.key.Name] = b.follow(br.terms, growth)
			continue
		}
		wild.DomainMatchers = append(wild.DomainMatchers, &matcherv3.ServerNameMatcher_DomainMatcher{
			Domains: []string{br.key.String()}, OnMatch: b.follow(br.terms, growth),
		})
	}
	var e, w *matcherv3.Matcher
	if len(exacts) > 0 {
		e = exactTree(input, exacts)
	}
	if len(wild.DomainMatchers) > 0 {
		w = customTree(input, extension("envoy.matching.custom_matchers.domain_matcher", wild))
	}
	first, last := chain(e, w)
	b.rest(last, d.rest, growth)
	return first
}

func (b *builder) emitSources(d *division[netip.Prefix], growth float64) *matcherv3.Matcher {
	return b.emitPrefixes(b.in.source, d, growth)
}

func (b *builder) emitDestinationPrefixes(d *division[netip.Prefix], growth float64) *matcherv3.Matcher {
	return b.emitPrefixes(b.in.destination, d, growth)
}

// emitPrefixes gives ranges with the same terms one branch, as the members of a set
// are told apart by nothing but their addresses.
func (b *builder) emitPrefixes(input *corev3.TypedExtensionConfig, d *division[netip.Prefix], growth float64) *matcherv3.Matcher {
	var ip matcherv3.IPMatcher
	groups := map[string]*matcherv3.IPMatcher_IPRangeMatcher{}
	for _, br := range d.branches {
		sig := signature(br.terms)
		g, ok := groups[sig]
		if !ok {
			g = &matcherv3.IPMatcher_IPRangeMatcher{OnMatch: b.follow(br.terms, growth)}
			groups[sig] = g
			ip.RangeMatchers = append(ip.RangeMatchers, g)
		}
		g.Ranges = append(g.Ranges, &corev3.CidrRange{
			AddressPrefix: br.key.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(br.key.Bits())), //nolint:gosec // 0..128
		})
	}
	m := customTree(input, extension("envoy.matching.custom_matchers.ip_range_matcher", &ip))
	return b.rest(m, d.rest, growth)
}

func (b *builder) emitDestinations(d *division[string], growth float64) *matcherv3.Matcher {
	return b.emitStrings(b.in.destination, d, growth)
}

func (b *builder) emitMethods(d *division[string], growth float64) *matcherv3.Matcher {
	return b.emitStrings(b.in.method, d, growth)
}

func (b *builder) emitStrings(input *corev3.TypedExtensionConfig, d *division[string], growth float64) *matcherv3.Matcher {
	m := map[string]*onMatch{}
	for _, br := range d.branches {
		m[br.key] = b.follow(br.terms, growth)
	}
	return b.rest(exactTree(input, m), d.rest, growth)
}

func (b *builder) emitPorts(d *division[uint16], growth float64) *matcherv3.Matcher {
	m := map[string]*onMatch{}
	for _, br := range d.branches {
		m[strconv.Itoa(int(br.key))] = b.follow(br.terms, growth)
	}
	return b.rest(exactTree(b.in.port, m), d.rest, growth)
}
