package matcher

import (
	corev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/internal/pack"
)

// newOutcome is a verdict with its reason, as Envoy carries it.
func newOutcome(action policy.Action, r policy.Reason) *onMatch {
	a, name := rbacv3.RBAC_DENY, r.String()
	switch action {
	case policy.Allow:
		a = rbacv3.RBAC_ALLOW
	case policy.Undecided:
		a, name = rbacv3.RBAC_ALLOW, string(policy.Undecided)
	}
	return &onMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{
		Action: extension("rbac", &rbacv3.Action{Name: name, Action: a}),
	}}
}

// ByChain turns a tree into one that chooses between two filter chains of a listener,
// by name: that for what is allowed and that for what is denied. The actions keep the
// reason as their name, of which Envoy makes nothing.
func ByChain(m *matcherv3.Matcher, allowed, denied string) *matcherv3.Matcher {
	m = proto.CloneOf(m)
	chains := map[rbacv3.RBAC_Action]string{rbacv3.RBAC_ALLOW: allowed, rbacv3.RBAC_DENY: denied}
	eachAction(m, func(o *matcherv3.Matcher_OnMatch) {
		var a rbacv3.Action
		if err := o.GetAction().TypedConfig.UnmarshalTo(&a); err != nil {
			panic("matcher: an action of another kind: " + err.Error()) // only newOutcome makes them
		}
		o.OnMatch = &matcherv3.Matcher_OnMatch_Action{Action: extension(a.Name, wrapperspb.String(chains[a.Action]))}
	})
	return m
}

// ByProtocol sends what Envoy recognises as HTTP to a filter chain and has a tree choose
// for the rest.
func ByProtocol(chain string, rest *matcherv3.Matcher) *matcherv3.Matcher {
	http := &onMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{Action: extension(chain, wrapperspb.String(chain))}}
	in := extension("application-protocol", &networkv3.ApplicationProtocolInput{})
	m := exactTree(in, map[string]*onMatch{"'http/1.0'": http, "'http/1.1'": http, "'h2c'": http})
	m.OnNoMatch = nested(rest)
	return m
}

// eachAction calls do for every end of a tree.
func eachAction(m *matcherv3.Matcher, do func(*matcherv3.Matcher_OnMatch)) {
	follow := func(o *matcherv3.Matcher_OnMatch) {
		if o.GetMatcher() != nil {
			eachAction(o.GetMatcher(), do)
		} else if o != nil {
			do(o)
		}
	}
	for _, e := range m.GetMatcherList().GetMatchers() {
		follow(e.OnMatch)
	}
	t := m.GetMatcherTree()
	for _, o := range t.GetExactMatchMap().GetMap() {
		follow(o)
	}
	for _, o := range t.GetPrefixMatchMap().GetMap() {
		follow(o)
	}
	if c := t.GetCustomMatch(); c != nil {
		eachCustomAction(c, follow)
	}
	follow(m.OnNoMatch)
}

// eachCustomAction follows the branches of the custom matchers that emit makes, and
// puts them back.
func eachCustomAction(c *corev3.TypedExtensionConfig, follow func(*matcherv3.Matcher_OnMatch)) {
	branches, err := c.TypedConfig.UnmarshalNew()
	if err != nil {
		panic("matcher: a custom matcher of another kind: " + err.Error())
	}
	switch b := branches.(type) {
	case *matcherv3.IPMatcher:
		for _, r := range b.RangeMatchers {
			follow(r.OnMatch)
		}
	case *matcherv3.ServerNameMatcher:
		for _, d := range b.DomainMatchers {
			follow(d.OnMatch)
		}
	}
	c.TypedConfig = pack.Any(branches)
}

// extension wraps a message of our own making; marshalling it cannot fail short of
// invalid UTF-8, which validation has refused.
func extension(name string, m proto.Message) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: name, TypedConfig: pack.Any(m)}
}
