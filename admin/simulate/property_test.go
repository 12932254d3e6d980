package simulate_test

import (
	"context"
	"testing"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/admin/simulate"
	"pavise.dev/pavise/admin/simulate/flowgen"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/policygen"
	"pavise.dev/pavise/policy"
)

// TestCertainIsTrue: whatever is said for certain of a flow is what both sets decide of the request
// behind it, of which the record leaves out headers, query and more. Sets, requests and what is
// left out are random.
func TestCertainIsTrue(t *testing.T) {
	const seeds = uint64(60)
	certain, uncertain, changes := 0, 0, 0
	for seed := range seeds {
		g := policygen.New(seed)
		current, ask := flowgen.Random(g)
		proposed, removed := proposal(g, current)
		for range 12 {
			l, req := ask()
			d := l.Evaluate(req)
			f := flowgen.Record(l, req, d)
			if g.IntN(3) == 0 {
				forget(g, &f)
			}
			opt := simulate.Options{Removed: removed, Presume: g.IntN(2) == 0}
			res, err := simulate.Run(context.Background(), current, proposed, []flows.Flow{f}, opt)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if res.Refused {
				continue // it asks a proxy for a server name
			}
			after := truth(t, current, proposed, removed, l.Name, req)
			want := "same"
			if d.Verdict != after.Verdict {
				want, changes = string(after.Verdict), changes+1
			}
			got := "same"
			switch c := res.Total; {
			case c.Uncertain.Flows == 1:
				uncertain++
				continue
			case c.Denied.Flows == 1:
				got = string(policy.Denied)
			case c.Allowed.Flows == 1:
				got = string(policy.Allowed)
			}
			certain++
			if got != want {
				t.Errorf("seed %d: said %s, is %s: %+v\nbefore %s\nafter %s %s\n%+v", seed, got, want, f, d.Reason, after.Verdict, after.Reason, res)
			}
			if res.Total.Unchanged.Flows == 1 && d.Reason.String() != after.Reason.String() {
				t.Errorf("seed %d: unchanged, but the reason was %s and is %s", seed, d.Reason, after.Reason)
			}
			if res.Total.Outdated.Flows != 0 {
				t.Errorf("seed %d: the record is not reproduced: %+v", seed, f)
			}
		}
	}
	t.Logf("%d certain, %d uncertain, %d changes", certain, uncertain, changes)
	if certain < 3*uncertain || changes < int(seeds)/2 {
		t.Errorf("%d certain, %d uncertain, %d changes", certain, uncertain, changes)
	}
}

// proposal changes some policies of a set into those of another, and removes some.
func proposal(g policygen.Gen, current *api.Set) (proposed []api.Object, removed []string) {
	other, _ := flowgen.Random(g)
	for _, p := range other.AccessPolicies {
		if g.IntN(2) == 0 {
			proposed = append(proposed, p)
		}
	}
	named := map[string]bool{}
	for _, p := range proposed {
		named[p.GetName()] = true
	}
	for _, p := range current.AccessPolicies {
		if !named[p.Name] && g.IntN(4) == 0 {
			removed = append(removed, api.ObjectName(api.KindAccessPolicy, p.Namespace, p.Name))
		}
	}
	return proposed, removed
}

// forget leaves out what a folded record leaves out.
func forget(g policygen.Gen, f *flows.Flow) {
	r := &f.Example
	r.Count = 2
	for _, s := range []*string{&r.Source, &r.Destination, &r.ServerName, &r.Method, &r.Host, &r.Path} {
		if g.IntN(3) == 0 {
			*s = ""
		}
	}
	if g.IntN(3) == 0 {
		r.Status = 0
	}
}

// truth is what the proposed set decides of the whole request.
func truth(t *testing.T, current *api.Set, proposed []api.Object, removed []string, listener string, req *policy.Request) policy.Decision {
	t.Helper()
	gone := map[string]bool{}
	for _, name := range removed {
		gone[name] = true
	}
	for _, p := range proposed {
		gone[api.ObjectName(api.KindAccessPolicy, p.GetNamespace(), p.GetName())] = true
	}
	objects := append([]api.Object{}, proposed...)
	for _, p := range current.AccessPolicies {
		if !gone[api.ObjectName(api.KindAccessPolicy, p.Namespace, p.Name)] {
			objects = append(objects, p)
		}
	}
	for _, p := range current.ClusterAccessPolicies {
		objects = append(objects, p)
	}
	for _, s := range current.NetworkSets {
		objects = append(objects, s)
	}
	for _, w := range current.Workloads {
		objects = append(objects, w)
	}
	set, _ := api.NewSet(objects...)
	m, _ := policy.Compile(set)
	for _, l := range m.Workload("default", "app").Listeners {
		if l.Name == listener {
			return l.Evaluate(req)
		}
	}
	t.Fatalf("no listener %s", listener)
	return policy.Decision{}
}
