package fleet

import (
	"maps"
	"slices"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// Report is what an update came to.
type Report struct {
	// Problems with every object, sorted; their Object says with which.
	Problems []api.Problem
	// LastGood are the objects of which an earlier version is in force, as Problems name them;
	// OutOfForce those of which none is. Sorted.
	LastGood, OutOfForce []string
	// Held are the workloads that were given nothing new although something may have
	// changed: NAMESPACE/NAME and the reason.
	Held map[string]string
	// Translated is how many workloads mean something else to their nodes, Set how many nodes
	// were handed to the server.
	Translated, Set int
}

func (f *Fleet) report(t *trial) *Report {
	r := &Report{Held: t.held, Problems: t.extra}
	stale := map[string]bool{}
	for key, rec := range f.records {
		r.Problems = append(r.Problems, rec.problems...)
		if rec.refused != nil {
			r.Problems = append(r.Problems, *rec.refused)
		}
		if rec.problem() == nil && !rec.gone {
			continue
		}
		stale[key.String()] = true
		if rec.good != nil {
			r.LastGood = append(r.LastGood, key.String())
		} else {
			r.OutOfForce = append(r.OutOfForce, key.String())
		}
	}
	for _, p := range t.problems {
		// What is found in an earlier version is not about what is there to be mended.
		if !stale[p.Object] {
			r.Problems = append(r.Problems, p)
		}
	}
	slices.SortStableFunc(r.Problems, func(a, b api.Problem) int {
		if a.Object < b.Object {
			return -1
		} else if a.Object > b.Object {
			return 1
		}
		return 0
	})
	api.SortProblems(r.Problems)
	slices.Sort(r.LastGood)
	slices.Sort(r.OutOfForce)
	return r
}

// Set is the objects that are in force: those of the last update, with the last good version of
// what has errors.
func (f *Fleet) Set() *api.Set {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.set
}

// Model is what was compiled of Set.
func (f *Fleet) Model() *policy.Model {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.model
}

// Selected are the workloads that a policy selects, by key. The list is not to be changed.
func (f *Fleet) Selected(p policy.PolicyRef) []*policy.Workload {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.selected == nil {
		f.selected = map[policy.PolicyRef][]*policy.Workload{}
		for _, w := range f.model.Workloads {
			for _, ref := range w.Policies {
				f.selected[ref] = append(f.selected[ref], w)
			}
		}
	}
	return f.selected[p]
}

// NodesOf are the nodes beside a workload, NAMESPACE/NAME, sorted.
func (f *Fleet) NodesOf(workload string) []string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.Sorted(maps.Keys(f.beside[workload]))
}

// WorkloadOf is the key of the workload that a node stands beside, or "".
func (f *Fleet) WorkloadOf(node string) string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.nodes[node]
}

// Digest is that of what the nodes of a workload were last given, or "": where it is not that
// of the workload in the model, the workload is held.
func (f *Fleet) Digest(workload string) string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if g := f.resources[workload]; g != nil {
		return g.digest
	}
	return ""
}
