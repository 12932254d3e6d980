// Package interpret interprets Envoy's matcher protos in Go. It is a second opinion on
// what package matcher emits: tests compare it with policy.Evaluate over millions of
// requests and with a live Envoy over many thousands. And it finds the reason for which
// Envoy sent a connection where it did, where there is nothing but Envoy's configuration
// (package xds). It is slow: some microseconds for a rule.
package interpret

import (
	"fmt"
	"net/netip"
	"regexp"
	"sort"
	"strings"
	"sync"
	"unicode/utf8"

	corev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	ipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/ip/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/matcher"
)

// Subject is a request as Envoy's inputs see it.
type Subject struct {
	Facts *policy.Facts
	// Class is the class of the destination, see [matcher.Classes].
	Class string
}

// Decide returns what Envoy's RBAC filter would decide, and the name of the action.
// It panics on a message that the translation should not have emitted.
func Decide(m *matcherv3.Matcher, s *Subject) (policy.Verdict, string) {
	a := match(m, s)
	if a == nil {
		return policy.Denied, ""
	}
	if a.Action == rbacv3.RBAC_ALLOW {
		return policy.Allowed, a.Name
	}
	return policy.Denied, a.Name
}

// Action returns the name of the action that a tree ends in, of whatever kind it is; false
// if it ends in none. It panics as Decide does.
func Action(m *matcherv3.Matcher, s *Subject) (string, bool) {
	a := end(m, s)
	return a.GetName(), a != nil
}

func match(m *matcherv3.Matcher, s *Subject) *rbacv3.Action {
	e := end(m, s)
	if e == nil {
		return nil
	}
	var a rbacv3.Action
	unpack(e, &a)
	return &a
}

// end is the action that a tree ends in, or nil.
func end(m *matcherv3.Matcher, s *Subject) *corev3.TypedExtensionConfig {
	switch t := m.MatcherType.(type) {
	case *matcherv3.Matcher_MatcherList_:
		for _, e := range t.MatcherList.Matchers {
			if holds(e.Predicate, s) {
				if a := follow(e.OnMatch, s); a != nil {
					return a
				}
			}
		}
	case *matcherv3.Matcher_MatcherTree_:
		if v, ok := input(t.MatcherTree.Input, s); ok {
			if a := tree(t.MatcherTree, v, s); a != nil {
				return a
			}
		}
	default:
		panic(fmt.Sprintf("matcher of type %T", t))
	}
	if m.OnNoMatch != nil {
		return follow(m.OnNoMatch, s)
	}
	return nil
}

func follow(o *matcherv3.Matcher_OnMatch, s *Subject) *corev3.TypedExtensionConfig {
	switch t := o.OnMatch.(type) {
	case *matcherv3.Matcher_OnMatch_Matcher:
		return end(t.Matcher, s)
	case *matcherv3.Matcher_OnMatch_Action:
		return t.Action
	}
	panic(fmt.Sprintf("on_match of type %T", o.OnMatch))
}

func tree(t *matcherv3.Matcher_MatcherTree, v string, s *Subject) *corev3.TypedExtensionConfig {
	switch k := t.TreeType.(type) {
	case *matcherv3.Matcher_MatcherTree_ExactMatchMap:
		if o, ok := k.ExactMatchMap.Map[v]; ok {
			return follow(o, s)
		}
		return nil
	case *matcherv3.Matcher_MatcherTree_PrefixMatchMap:
		for n := len(v); n > 0; n-- {
			if o, ok := k.PrefixMatchMap.Map[v[:n]]; ok {
				if a := follow(o, s); a != nil {
					return a
				}
			}
		}
		return nil
	case *matcherv3.Matcher_MatcherTree_CustomMatch:
		return custom(k.CustomMatch, v, s)
	}
	panic(fmt.Sprintf("tree of type %T", t.TreeType))
}

func custom(c *corev3.TypedExtensionConfig, v string, s *Subject) *corev3.TypedExtensionConfig {
	var ip matcherv3.IPMatcher
	if c.TypedConfig.MessageIs(&ip) {
		unpack(c, &ip)
		return ranges(&ip, v, s)
	}
	var names matcherv3.ServerNameMatcher
	unpack(c, &names)
	children := map[string]*matcherv3.Matcher_OnMatch{}
	for _, d := range names.DomainMatchers {
		for _, n := range d.Domains {
			children[n] = d.OnMatch
		}
	}
	if o, ok := children[v]; ok {
		if a := follow(o, s); a != nil {
			return a
		}
	}
	for rest := v; ; {
		_, after, ok := strings.Cut(rest, ".")
		if !ok {
			return nil
		}
		rest = after
		if o, ok := children["*."+rest]; ok {
			if a := follow(o, s); a != nil {
				return a
			}
		}
	}
}

func ranges(ip *matcherv3.IPMatcher, v string, s *Subject) *corev3.TypedExtensionConfig {
	addr, err := netip.ParseAddr(v)
	if err != nil {
		return nil
	}
	type hit struct {
		bits, index int
		on          *matcherv3.Matcher_OnMatch
	}
	var hits []hit
	for i, r := range ip.RangeMatchers {
		for _, c := range r.Ranges {
			p := netip.PrefixFrom(netip.MustParseAddr(c.AddressPrefix), int(c.PrefixLen.GetValue()))
			if p.Contains(addr) {
				hits = append(hits, hit{p.Bits(), i, r.OnMatch})
			}
		}
	}
	sort.SliceStable(hits, func(a, b int) bool {
		if hits[a].bits != hits[b].bits {
			return hits[a].bits > hits[b].bits
		}
		return hits[a].index < hits[b].index
	})
	for _, h := range hits {
		if a := follow(h.on, s); a != nil {
			return a
		}
	}
	return nil
}

func holds(p *matcherv3.Matcher_MatcherList_Predicate, s *Subject) bool {
	switch t := p.MatchType.(type) {
	case *matcherv3.Matcher_MatcherList_Predicate_SinglePredicate_:
		v, ok := input(t.SinglePredicate.Input, s)
		return ok && value(t.SinglePredicate, v)
	case *matcherv3.Matcher_MatcherList_Predicate_NotMatcher:
		return !holds(t.NotMatcher, s)
	case *matcherv3.Matcher_MatcherList_Predicate_AndMatcher:
		for _, q := range t.AndMatcher.Predicate {
			if !holds(q, s) {
				return false
			}
		}
		return true
	case *matcherv3.Matcher_MatcherList_Predicate_OrMatcher:
		for _, q := range t.OrMatcher.Predicate {
			if holds(q, s) {
				return true
			}
		}
		return false
	}
	panic(fmt.Sprintf("predicate of type %T", p.MatchType))
}

func value(p *matcherv3.Matcher_MatcherList_Predicate_SinglePredicate, v string) bool {
	if c := p.GetCustomMatch(); c != nil {
		var ip ipv3.Ip
		unpack(c, &ip)
		addr, err := netip.ParseAddr(v)
		if err != nil {
			return false
		}
		for _, r := range ip.CidrRanges {
			if netip.PrefixFrom(netip.MustParseAddr(r.AddressPrefix), int(r.PrefixLen.GetValue())).Contains(addr) {
				return true
			}
		}
		return false
	}
	switch m := p.GetValueMatch().MatchPattern.(type) {
	case *matcherv3.StringMatcher_Exact:
		return v == m.Exact
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(v, m.Prefix)
	case *matcherv3.StringMatcher_Suffix:
		return strings.HasSuffix(v, m.Suffix)
	case *matcherv3.StringMatcher_Contains:
		return strings.Contains(v, m.Contains)
	case *matcherv3.StringMatcher_SafeRegex:
		return re2(m.SafeRegex.Regex, v)
	}
	panic(fmt.Sprintf("value match %v", p.GetValueMatch()))
}

var compiled sync.Map

func re2(expr, v string) bool {
	if expr == `(?s)\C*` { // any bytes; Go has no \C
		return true
	}
	if !utf8.ValidString(v) {
		return false // RE2 reads UTF-8 only, Go goes on with U+FFFD
	}
	re, ok := compiled.Load(expr)
	if !ok {
		re, _ = compiled.LoadOrStore(expr, regexp.MustCompile(`^(?:`+expr+`)$`))
	}
	return re.(*regexp.Regexp).MatchString(v)
}

func input(in *corev3.TypedExtensionConfig, s *Subject) (string, bool) {
	f := s.Facts
	m, err := in.TypedConfig.UnmarshalNew()
	if err != nil {
		panic(err)
	}
	switch i := m.(type) {
	case *networkv3.SourceIPInput:
		return f.Source.String(), true
	case *networkv3.DestinationIPInput:
		return f.Destination.String(), f.Destination.IsValid()
	case *networkv3.DestinationPortInput:
		return fmt.Sprint(f.Port), true
	case *networkv3.ApplicationProtocolInput:
		return "", false // what is told of is no HTTP
	case *networkv3.ServerNameInput:
		return f.ServerName, f.ServerName != ""
	case *networkv3.FilterStateInput:
		switch i.Key {
		case matcher.PathKey:
			return f.Path + "/", true
		case matcher.HostKey:
			return f.Host, true
		case matcher.PortKey:
			return fmt.Sprint(f.Port), true
		case matcher.DestinationKey:
			return s.Class, s.Class != ""
		case matcher.NamesKey:
			return "," + strings.Join(f.Names, ",") + ",", len(f.Names) > 0
		}
	case *typev3.HttpRequestHeaderMatchInput:
		switch i.HeaderName {
		case ":method":
			return f.Method, true
		case ":authority":
			return f.Host, true
		case ":path":
			return f.Target, true
		}
		return f.Header(i.HeaderName)
	}
	panic(fmt.Sprintf("input %v", in))
}

func unpack(c *corev3.TypedExtensionConfig, into proto.Message) {
	if err := c.TypedConfig.UnmarshalTo(into); err != nil {
		panic(err)
	}
}
