package matcher_test

import (
	"flag"
	"testing"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"

	"pavise.dev/pavise/internal/policygen"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/matcher"
	"pavise.dev/pavise/xds/matcher/interpret"
)

var (
	seed  = flag.Uint64("seed", 1, "first seed of the differential test")
	pairs = flag.Int("pairs", 40_000, "pairs of policy set and request to compare")
)

// perSet is how many requests are put to one set.
const perSet = 500

// TestTreeAgreesWithEvaluate is the property everything rests on: what is emitted for
// Envoy decides like policy.Evaluate, verdict and reason, enforced and audited.
func TestTreeAgreesWithEvaluate(t *testing.T) {
	t.Logf("seed %d", *seed)
	n, undecided := 0, 0
	for s := *seed; n < *pairs; s++ {
		g := policygen.New(s)
		w := compile(t, g, s)
		for _, l := range w.Listeners {
			if l.Traffic == policy.TCP {
				continue
			}
			trees, classes := translate(l)
			for range perSet {
				req := g.HTTPRequest(l.Traffic == policy.Proxy)
				n++
				if !agree(t, s, l, trees, classes, req) {
					return
				}
				if l.Evaluate(req).Reason.Kind == policy.DefaultAllow {
					undecided++
				}
			}
		}
	}
	if undecided > n*3/4 {
		t.Errorf("%d of %d requests met no rule: the generator is too tame to show anything", undecided, n)
	}
}

func compile(t *testing.T, g policygen.Gen, seed uint64) *policy.Workload {
	t.Helper()
	m, _ := policy.Compile(g.Set(int(seed%80) + 1))
	w := m.Workload("default", "app")
	if w == nil {
		t.Fatal("the generator made no workload")
	}
	return w
}

// filters are the trees of one listener: a proxy asks two.
type filters []*matcherv3.Matcher

func translate(l *policy.Listener) (map[policy.View]filters, *matcher.Classes) {
	trees := map[policy.View]filters{}
	classes := matcher.NewClasses(l.Program)
	for _, v := range []policy.View{policy.Enforced, policy.Audited} {
		var f filters
		var errs [2]error
		add := func(i int) func(*matcherv3.Matcher, matcher.Stats, error) {
			return func(m *matcherv3.Matcher, _ matcher.Stats, err error) { f, errs[i] = append(f, m), err }
		}
		if l.Traffic == policy.Proxy {
			add(0)(matcher.Preliminary(l.Program, v, l.Paths))
			add(1)(matcher.Forward(l.Program, v, l.Paths, classes))
		} else {
			add(0)(matcher.HTTP(l.Program, v, l.Address.Port(), l.Paths))
		}
		if errs[0] == nil && errs[1] == nil { // too many groups of Pass rules has a test of its own
			trees[v] = f
		}
	}
	return trees, classes
}

// decide asks the trees of both views as Envoy does: the first filter that denies ends
// it, and the shadow outcome is that of the filter where it ended. Of a preliminary
// filter only a denial counts.
func decide(trees map[policy.View]filters, s *interpret.Subject) map[policy.View]outcome {
	out := map[policy.View]outcome{}
	enforced, audited := trees[policy.Enforced], trees[policy.Audited]
	for i := range max(len(enforced), len(audited)) {
		last := i == max(len(enforced), len(audited))-1
		if audited != nil {
			if v, r := interpret.Decide(audited[i], s); v == policy.Denied || last {
				out[policy.Audited] = outcome{v, r}
			} else {
				delete(out, policy.Audited)
			}
		}
		if enforced != nil {
			v, r := interpret.Decide(enforced[i], s)
			out[policy.Enforced] = outcome{v, r}
			if v == policy.Denied {
				break
			}
		}
	}
	return out
}

type outcome struct {
	verdict policy.Verdict
	reason  string
}

func agree(t *testing.T, seed uint64, l *policy.Listener, trees map[policy.View]filters, classes *matcher.Classes, req *policy.Request) bool {
	t.Helper()
	facts, kind := l.Facts(req)
	if kind == policy.MalformedRequest || kind == policy.AmbiguousPath || kind == policy.MalformedHost {
		return true // decided before the tree, see the tests against Envoy
	}
	want := l.Evaluate(req)
	if len(trees) < 2 {
		return true // too many groups of Pass rules in one view
	}
	got := decide(trees, &interpret.Subject{Facts: facts, Class: classes.Of(facts.Destination)})
	views := map[policy.View]*policy.Decision{policy.Enforced: &want, policy.Audited: want.Audit}
	if !l.Program.HasAudit() {
		delete(views, policy.Audited) // Envoy gets no shadow tree
	}
	for v, d := range views {
		o, ok := got[v]
		switch {
		case d == nil && !ok:
			continue
		case d == nil || !ok || o.verdict != d.Verdict || o.reason != d.Reason.String():
			t.Errorf("seed %d, view %d, %s %+v %+v:\n tree     %+v\n evaluate %+v", seed, v, l.Name, *req, req.HTTP, o, d)
			return false
		}
	}
	return true
}
