package suggest_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/admin/simulate"
	"pavise.dev/pavise/admin/simulate/flowgen"
	"pavise.dev/pavise/admin/suggest"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/policygen"
	"pavise.dev/pavise/policy"
)

// options are tight in half of the runs, so that everything is generalised.
func options(g policygen.Gen, set *api.Set) suggest.Options {
	opt := suggest.Options{Set: set, Mode: api.ModeEnforce, ServiceAccounts: g.IntN(3) == 0}
	if g.IntN(2) == 0 {
		opt.Addresses, opt.Siblings, opt.Paths = 1+g.IntN(3), 1+g.IntN(3), 1+g.IntN(3)
	}
	return opt
}

// TestSuggestionsDenyNothingSeen: enforced beside what was in force, they deny none of the flows that
// they came from, whatever the policies and the traffic, and nobody has to guess.
func TestSuggestionsDenyNothingSeen(t *testing.T) {
	suggested, compared := 0, 0
	for seed := range uint64(80) {
		g := policygen.New(seed)
		set, ask := flowgen.Random(g)
		var seen []flows.Flow
		for range 60 {
			l, req := ask()
			if d := l.Evaluate(req); d.Verdict == policy.Allowed {
				seen = append(seen, flowgen.Record(l, req, d))
			}
		}
		got, err := suggest.Policies(seen, options(g, set))
		if err != nil {
			t.Fatal(err)
		}
		var proposed []api.Object
		for _, s := range got {
			if s.Policy == nil || len(s.Left) > 0 {
				t.Errorf("seed %d: nothing for %s: %+v", seed, s.Direction, s.Left)
				continue
			}
			reread(t, &s)
			proposed = append(proposed, s.Policy)
		}
		suggested += len(proposed)
		res, err := simulate.Run(context.Background(), set, proposed, seen, simulate.Options{Presume: true})
		if err != nil || res.Refused {
			t.Fatalf("seed %d: %v %+v", seed, err, res.Problems)
		}
		compared += res.Total.All.Flows
		for _, c := range res.Changes {
			t.Errorf("seed %d: %s is %+v, was %+v", seed, c.Flow.ID, c.After, c.Before)
		}
		for _, u := range res.Uncertain {
			t.Errorf("seed %d: %s is uncertain: %+v", seed, u.Flow.ID, u)
		}
		if res.Total.Outdated.Flows > 0 {
			t.Errorf("seed %d: %d flows are not reproduced", seed, res.Total.Outdated.Flows)
		}
	}
	if suggested < 100 || compared < 800 {
		t.Errorf("only %d policies and %d flows were looked at", suggested, compared)
	}
}

// TestSuggestionsAllowNothingUnsaid: alone in force, they allow only what was seen or what the rule that
// allows it says it generalises.
func TestSuggestionsAllowNothingUnsaid(t *testing.T) {
	allowed := 0
	for seed := range uint64(50) {
		g := policygen.New(1000 + seed)
		set, ask := flowgen.Random(g)
		var seen []flows.Flow
		for range 40 {
			l, req := ask()
			if d := l.Evaluate(req); d.Verdict == policy.Allowed {
				seen = append(seen, flowgen.Record(l, req, d))
			}
		}
		got, err := suggest.Policies(seen, options(g, set))
		if err != nil {
			t.Fatal(err)
		}
		var objects []api.Object
		rules := map[string]*suggest.Rule{}
		for _, w := range set.Workloads {
			objects = append(objects, w)
		}
		for _, s := range got {
			objects = append(objects, s.Policy)
			for i := range s.Rules {
				rules["namespace:default/"+s.Policy.Name+"#"+s.Rules[i].Name] = &s.Rules[i]
			}
		}
		alone, _ := api.NewSet(objects...)
		m, problems := policy.Compile(alone)
		if api.HasErrors(problems) {
			t.Fatalf("seed %d: %v", seed, problems)
		}
		for range 300 {
			l, req := ask()
			for _, now := range m.Workload("default", "app").Listeners {
				if now.Name != l.Name {
					continue
				}
				d := now.Evaluate(req)
				if d.Verdict != policy.Allowed || d.Reason.Kind != policy.ByRule {
					continue
				}
				allowed++
				asked := flowgen.Record(now, req, d)
				if r := rules[d.Reason.String()]; !slices.ContainsFunc(seen, func(f flows.Flow) bool { return covers(r, &f, &asked) }) {
					t.Errorf("seed %d: %s allows %s, which nobody saw and it does not say: %+v", seed, r.Name, asked.ID, r.Generalised)
				}
			}
		}
	}
	if allowed < 500 {
		t.Errorf("only %d requests were allowed", allowed)
	}
}

// covers reports whether a rule that was made for a flow says that it also allows another.
func covers(r *suggest.Rule, f, other *flows.Flow) bool {
	says := func(kind string) bool {
		return slices.ContainsFunc(r.Generalised, func(g suggest.Generalised) bool { return g.Kind == kind })
	}
	if f.Listener != other.Listener && f.Direction != other.Direction || f.Port != other.Port && !says(suggest.AnyPort) {
		return false
	}
	samePeer := f.Peer == other.Peer || f.Direction == policy.Egress && f.Name == other.Name && f.Name != ""
	for _, g := range r.Generalised {
		at := other.Example.Source
		if f.Direction == policy.Egress {
			at = other.Example.Destination
		}
		addr, _ := netip.ParseAddrPort(at)
		switch g.Kind {
		case suggest.ByRange:
			samePeer = samePeer || netip.MustParsePrefix(g.Value).Contains(addr.Addr())
		case suggest.ByWildcard:
			samePeer = samePeer || strings.HasSuffix(other.Name, strings.TrimPrefix(g.Value, "*"))
		case suggest.Together, suggest.BySelector:
			samePeer = true
		}
	}
	if !samePeer {
		return false
	}
	if says(suggest.AnyProtocol) {
		return true
	}
	if f.Method != other.Method && !says(suggest.AnyMethod) {
		return false
	}
	if f.Method == "" {
		return strings.EqualFold(f.Example.ServerName, other.Example.ServerName)
	}
	if f.Example.Path == other.Example.Path || says(suggest.AnyPath) {
		return true
	}
	return slices.ContainsFunc(r.Generalised, func(g suggest.Generalised) bool {
		switch g.Kind {
		case suggest.ByPrefix:
			p := strings.TrimSuffix(g.Value, "/")
			return other.Example.Path == p || strings.HasPrefix(other.Example.Path, p+"/")
		case suggest.ByTemplate:
			return f.Path == other.Path || strings.Count(g.Value, "/") == strings.Count(other.Example.Path, "/") && strings.Contains(g.Value, "{")
		}
		return false
	})
}
