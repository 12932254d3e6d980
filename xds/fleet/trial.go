package fleet

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

// maxRounds bounds how often an update is compiled while what is wrong in it is put aside.
const maxRounds = 32

// codeNotForEnvoy is that of rules that cannot be given to Envoy.
const codeNotForEnvoy = "PAV0801"

// trial is an update as far as it is settled.
type trial struct {
	set      *api.Set
	model    *policy.Model
	problems []api.Problem     // of the compiler
	options  xds.Options       // for every workload
	made     map[string]*given // what was translated, by workload
	failed   map[string]error  // what could not be
	held     map[string]string // workloads that are given nothing new, and why
	extra    []api.Problem     // beside those of the compiler and the records
}

// failure is why a workload cannot be translated, so that it is not tried again for nothing.
type failure struct {
	digest  string
	options xds.Options
	err     error
}

// settle compiles and translates, and puts aside what is wrong until the rest goes together.
func (f *Fleet) settle(ctx context.Context, set *api.Set) (*trial, error) {
	f.takeOver(set)
	t := &trial{made: map[string]*given{}}
	for round := 1; ; round++ {
		t.set = f.effective(set)
		t.model, t.problems = f.compiler.Compile(t.set)
		t.options = f.config.Options
		t.options.Feeds = t.options.Module && slices.ContainsFunc(t.set.ThreatFeeds, func(o *api.ThreatFeed) bool { return !o.Spec.Suspend })
		wrong := f.refuse(t.problems)
		if wrong && round < maxRounds {
			continue
		}
		f.holdUnknown(t)
		if err := f.translate(ctx, t); err != nil {
			return nil, err
		}
		if len(t.failed) == 0 || round >= maxRounds || !f.refuseUntranslated(t) {
			break
		}
	}
	for key := range t.made {
		if w := t.workload(key); w == nil || t.made[key].digest != w.Digest() {
			delete(t.made, key) // of a round that was given up
		}
	}
	named := f.namedSets(t.set)
	for key, r := range f.records {
		if r.gone && len(named[key.namespace+"/"+key.name]) == 0 {
			delete(f.records, key)
			continue
		}
		if r.gone {
			for _, by := range named[key.namespace+"/"+key.name] {
				t.extra = append(t.extra, api.Problem{
					Code: policy.CodeNoNetworkSet, Severity: api.Error, Object: by.String(),
					Message: fmt.Sprintf("NetworkSet %s/%s was deleted; its last members stay in force", key.namespace, key.name),
					Fix:     "make it again, or take its name out of the policy",
				})
			}
		}
	}
	f.hold(t)
	return t, nil
}

// refuse puts aside the policies that the compiler finds errors in, and reports whether there
// was one to put aside.
func (f *Fleet) refuse(problems []api.Problem) bool {
	var byName map[string]*record
	found := false
	for i := range problems {
		if problems[i].Severity != api.Error {
			continue
		}
		if byName == nil {
			byName = map[string]*record{}
			for key, r := range f.records {
				byName[key.String()] = r
			}
		}
		if r := byName[problems[i].Object]; r != nil && r.problem() == nil && r.object != r.good {
			r.refused, found = &problems[i], true
		}
	}
	return found
}

// refuseUntranslated puts aside one changed policy for each workload that could not be
// translated, and reports whether there was one.
func (f *Fleet) refuseUntranslated(t *trial) bool {
	found := false
	for key, err := range t.failed {
		w := t.workload(key)
		var last *record
		for _, p := range w.Policies {
			kind := api.KindAccessPolicy
			if p.Namespace == "" {
				kind = api.KindClusterAccessPolicy
			}
			r := f.records[id{kind, p.Namespace, p.Name}]
			if r == nil || r.problem() != nil || r.object == r.good {
				continue
			}
			if last == nil || p.Namespace != "" || last.id.namespace == "" {
				last = r
			}
		}
		if last != nil {
			found = true
			last.refused = &api.Problem{
				Code: codeNotForEnvoy, Severity: api.Error, Object: last.id.String(),
				Message: "with it the rules cannot be given to Envoy: " + err.Error(),
			}
		}
	}
	return found
}

func (t *trial) workload(key string) *policy.Workload {
	i, found := slices.BinarySearchFunc(t.model.Workloads, key, func(w *policy.Workload, key string) int {
		return compareKeys(w.Key(), key)
	})
	if !found {
		return nil
	}
	return t.model.Workloads[i]
}

// translate makes the resources of the workloads that have nodes and mean something else than
// what those were given.
func (f *Fleet) translate(ctx context.Context, t *trial) error {
	t.failed = map[string]error{}
	var jobs []*policy.Workload
	for _, w := range t.model.Workloads {
		key := w.Key()
		if len(f.beside[key]) == 0 || t.held[key] != "" {
			continue
		}
		if was, failed := f.failures[key]; failed && was.digest == w.Digest() && was.options == t.options {
			t.failed[key] = was.err
			continue
		}
		same := func(g *given) bool { return g != nil && g.digest == w.Digest() && g.options == t.options }
		switch {
		case same(f.resources[key]):
			delete(t.made, key)
		case !same(t.made[key]):
			jobs = append(jobs, w)
		}
	}
	var next atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range min(f.config.Translations, len(jobs)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(jobs)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				w := jobs[i]
				r, err := xds.Translate(t.model, []*policy.Workload{w}, t.options)
				if err == nil {
					r.Digest = w.Digest()
					if !f.config.Messages {
						r, err = r.Sealed()
					}
				}
				mu.Lock()
				if err != nil {
					t.failed[w.Key()] = err
					f.failures[w.Key()] = failure{w.Digest(), t.options, err}
				} else {
					t.made[w.Key()] = &given{w.Digest(), t.options, r}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for key := range f.failures {
		if _, still := t.failed[key]; !still {
			delete(f.failures, key)
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("translate for Envoy: %w", context.Cause(ctx))
	}
	return nil
}
