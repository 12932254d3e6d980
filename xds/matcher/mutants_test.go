package matcher_test

import (
	"testing"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"pavise.dev/pavise/internal/policygen"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/matcher/interpret"
)

// mutant is a bug that a translator could have, made in what it emitted. It reports
// whether there was something to change.
type mutant struct {
	name  string
	plant func(*matcherv3.Matcher) bool
}

var mutants = []mutant{
	{"the last rule of a list is left out", func(m *matcherv3.Matcher) bool {
		l := m.GetMatcherList().GetMatchers()
		if len(l) < 5 {
			return false
		}
		m.GetMatcherList().Matchers = l[:len(l)-1]
		return true
	}},
	{"two rules change places", func(m *matcherv3.Matcher) bool {
		l := m.GetMatcherList().GetMatchers()
		if len(l) < 6 {
			return false
		}
		l[len(l)-1], l[len(l)-2] = l[len(l)-2], l[len(l)-1]
		return true
	}},
	{"a branch of a tree is lost", func(m *matcherv3.Matcher) bool { return firstTree(m, dropKey) }},
	{"a branch does not fall back to the rest", func(m *matcherv3.Matcher) bool {
		return firstTree(m, func(m *matcherv3.Matcher) bool {
			had := m.OnNoMatch != nil
			m.OnNoMatch = nil
			return had
		})
	}},
	{"a prefix ends within a segment", func(m *matcherv3.Matcher) bool {
		return firstTree(m, func(m *matcherv3.Matcher) bool {
			mm := m.GetMatcherTree().GetPrefixMatchMap().GetMap()
			for k, v := range mm {
				if len(k) > 2 {
					delete(mm, k)
					mm[k[:len(k)-1]] = v
					return true
				}
			}
			return false
		})
	}},
	{"default-deny allows", func(m *matcherv3.Matcher) bool {
		for _, e := range m.GetMatcherList().GetMatchers() {
			if a, ok := action(e.OnMatch); ok && len(a.Name) > 12 && a.Name[:12] == "default-deny" {
				a.Action = rbacv3.RBAC_ALLOW
				e.OnMatch.GetAction().TypedConfig, _ = anypb.New(a)
				return true
			}
		}
		return false
	}},
	{"a reason names another rule", func(m *matcherv3.Matcher) bool {
		l := m.GetMatcherList().GetMatchers()
		for i := len(l) - 1; i > 0; i-- {
			if a, ok := action(l[i].OnMatch); ok {
				a.Name += "0"
				l[i].OnMatch.GetAction().TypedConfig, _ = anypb.New(a)
				return true
			}
		}
		return false
	}},
}

func action(o *matcherv3.Matcher_OnMatch) (*rbacv3.Action, bool) {
	var a rbacv3.Action
	if o.GetAction() == nil || o.GetAction().TypedConfig.UnmarshalTo(&a) != nil {
		return nil, false
	}
	return &a, true
}

func dropKey(m *matcherv3.Matcher) bool {
	t := m.GetMatcherTree()
	for _, mm := range []map[string]*matcherv3.Matcher_OnMatch{t.GetExactMatchMap().GetMap(), t.GetPrefixMatchMap().GetMap()} {
		for k := range mm {
			delete(mm, k)
			return true
		}
	}
	return false
}

// firstTree plants in the first tree below m in which there is something to change.
func firstTree(m *matcherv3.Matcher, plant func(*matcherv3.Matcher) bool) bool {
	if m == nil {
		return false
	}
	if m.GetMatcherTree() != nil && plant(m) {
		return true
	}
	for _, e := range m.GetMatcherList().GetMatchers() {
		if firstTree(e.OnMatch.GetMatcher(), plant) {
			return true
		}
	}
	for _, o := range m.GetMatcherTree().GetExactMatchMap().GetMap() {
		if firstTree(o.GetMatcher(), plant) {
			return true
		}
	}
	for _, o := range m.GetMatcherTree().GetPrefixMatchMap().GetMap() {
		if firstTree(o.GetMatcher(), plant) {
			return true
		}
	}
	return firstTree(m.OnNoMatch.GetMatcher(), plant)
}

// TestGeneratorFindsPlantedBugs tests the tests: each bug has to be found by the
// generator's sets and requests.
func TestGeneratorFindsPlantedBugs(t *testing.T) {
	for _, mu := range mutants {
		t.Run(mu.name, func(t *testing.T) {
			planted := 0
			for seed := uint64(1); planted < 60; seed++ {
				g := policygen.New(seed)
				l := compile(t, g, seed).Listeners[0]
				trees, _ := translate(l)
				f, ok := trees[policy.Enforced]
				if !ok {
					continue
				}
				m := proto.CloneOf(f[0])
				if !mu.plant(m) {
					continue
				}
				planted++
				if found(g, l, m) {
					return
				}
			}
			t.Errorf("planted in %d sets and never found", planted)
		})
	}
}

func found(g policygen.Gen, l *policy.Listener, m *matcherv3.Matcher) bool {
	for range perSet {
		req := g.HTTPRequest(false)
		facts, kind := l.Facts(req)
		if kind != "" {
			continue
		}
		want := l.Evaluate(req)
		v, reason := interpret.Decide(m, &interpret.Subject{Facts: facts})
		if v != want.Verdict || reason != want.Reason.String() {
			return true
		}
	}
	return false
}
