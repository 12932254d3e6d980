package matcher_test

import (
	"testing"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"

	"pavise.dev/pavise/internal/policygen"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/matcher"
	"pavise.dev/pavise/xds/matcher/interpret"
)

// TestRedirectedTreesAgreeWithEvaluate: likewise for transparent listeners, which choose
// between two trees by what they recognise.
func TestRedirectedTreesAgreeWithEvaluate(t *testing.T) {
	t.Logf("seed %d", *seed)
	n, verdicts := 0, map[policy.ReasonKind]int{}
	for s := *seed; n < *pairs; s++ {
		g := policygen.New(s)
		m, _ := policy.Compile(g.TransparentSet(int(s%80) + 1))
		for _, l := range m.Workload("default", "app").Listeners {
			enforced, audited := redirected(t, l, policy.Enforced), redirected(t, l, policy.Audited)
			if enforced == nil || audited == nil {
				continue // too many groups of Pass rules
			}
			trees := map[policy.View]*pair{policy.Enforced: enforced, policy.Audited: audited}
			for range perSet {
				req := g.Redirected(l.Direction)
				n++
				facts, kind := l.Facts(req)
				if kind == policy.MalformedRequest || kind == policy.AmbiguousPath || kind == policy.MalformedHost && req.HTTP != nil {
					continue // decided before the tree
				}
				want := l.Evaluate(req)
				verdicts[want.Reason.Kind]++
				decisions := map[policy.View]*policy.Decision{policy.Enforced: &want}
				if l.Program.HasAudit() {
					decisions[policy.Audited] = want.Audit
				}
				for v, d := range decisions {
					tree := trees[v].network
					if facts.IsHTTP || facts.Host != "" {
						tree = trees[v].http
					}
					verdict, reason := interpret.Decide(tree, &interpret.Subject{Facts: facts})
					if verdict != d.Verdict || reason != d.Reason.String() {
						t.Fatalf("seed %d, view %d, %s %+v %+v:\n tree     %s %s\n evaluate %+v", s, v, l.Name, *req, req.HTTP, verdict, reason, d)
					}
				}
			}
		}
	}
	t.Log(verdicts)
	for _, k := range []policy.ReasonKind{policy.ByRule, policy.DefaultDeny, policy.DefaultAllow, policy.NotRedirected, policy.MalformedHost, policy.ConnectRefused} {
		if verdicts[k] == 0 {
			t.Errorf("no request was decided by %s", k)
		}
	}
}

// pair is the two trees of a transparent listener.
type pair struct{ http, network *matcherv3.Matcher }

func redirected(t *testing.T, l *policy.Listener, v policy.View) *pair {
	t.Helper()
	http, _, err1 := matcher.RedirectedHTTP(l.Program, v, l.Address.Port(), l.Paths)
	network, _, err2 := matcher.RedirectedNetwork(l.Program, v, l.Address.Port())
	if err1 != nil || err2 != nil {
		return nil
	}
	return &pair{http, network}
}
