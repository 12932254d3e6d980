package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/admin/simulate"
	"pavise.dev/pavise/admin/suggest"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// Bounds of simulate and suggest.
const (
	// mostRecorded flows are taken at a time: they are copied out of the store.
	mostRecorded = 25_000
	mostObjects  = 200
)

// Proposal is a change of policies.
type Proposal struct {
	// Objects are YAML, each text with one or more documents; at most 200 texts.
	Objects []string `json:"objects,omitempty"`
	// Removed are KIND NAMESPACE/NAME of objects that would go.
	Removed []string `json:"removed,omitempty"`
	// Enforce takes proposed policies as enforced that are only audited.
	Enforce bool `json:"enforce,omitempty"`
	// Presume takes the host or server name of what is redirected for what it was resolved from.
	Presume bool `json:"presume,omitempty"`
	// Namespace and Workload leave out the flows of others.
	Namespace string `json:"namespace,omitempty"`
	Workload  string `json:"workload,omitempty"`
}

// Suggestions is a page of them.
type Suggestions struct {
	Suggestions []suggest.Suggestion `json:"suggestions"`
	// Next is the cursor of the next page; empty on the last.
	Next string `json:"next,omitempty"`
}

// Recorded copies flows out of a store, each once. More than 25,000 are a *QueryError.
func Recorded(ctx context.Context, store *flows.Store, f flows.Filter) ([]flows.Flow, error) {
	var list []flows.Flow
	for one := range store.All(f) {
		if len(list) == mostRecorded {
			return nil, &QueryError{"workload", fmt.Sprintf("there are more than %d flows; choose fewer by namespace or workload", mostRecorded)}
		}
		if len(list)%1024 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		list = append(list, one)
	}
	return list, nil
}

func serveSimulate(e *endpoint, w http.ResponseWriter, r *http.Request) {
	var p Proposal
	if !readBody(w, r, "a proposal", &p) {
		return
	}
	m, set := e.source.Current()
	if m == nil || set == nil {
		fail(w, http.StatusServiceUnavailable, "no policy is in use yet")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), e.timeout)
	defer cancel()
	result, err := Simulate(ctx, m, set, e.source.Flows(), &p, time.Time{})
	if err != nil {
		late(w, err)
		return
	}
	reply(w, result)
}

// Simulate puts to a proposal what a store has recorded since a time, all of it where that is
// zero. What is wrong with the YAML is in the result. A *QueryError or *simulate.InputError is
// the caller's to mend.
func Simulate(ctx context.Context, m *policy.Model, set *api.Set, store *flows.Store, p *Proposal, since time.Time) (*simulate.Result, error) {
	if len(p.Objects) > mostObjects || len(p.Removed) > mostObjects || len(p.Objects)+len(p.Removed) == 0 {
		return nil, &QueryError{"objects", fmt.Sprintf("it takes 1 to %d texts, or names in removed", mostObjects)}
	}
	var objects []api.Object
	refused := simulate.Result{Before: m.Digest, Refused: true}
	for i, text := range p.Objects {
		s, problems := api.Parse(fmt.Sprintf("objects[%d]", i), []byte(text))
		if api.HasErrors(problems) {
			refused.Problems = append(refused.Problems, problems...)
			continue
		}
		objects = append(objects, s.Objects()...)
	}
	if len(refused.Problems) > 0 {
		refused.Problems = refused.Problems[:min(len(refused.Problems), maxLimit)]
		return &refused, nil
	}
	list, err := Recorded(ctx, store, flows.Filter{Namespace: p.Namespace, Workload: p.Workload, Since: since})
	if err != nil {
		return nil, err
	}
	return simulate.Run(ctx, set, objects, list, simulate.Options{Removed: p.Removed, Enforce: p.Enforce, Presume: p.Presume})
}

// late says that it took too long, or else why it cannot be answered.
func late(w http.ResponseWriter, err error) {
	if errors.Is(err, context.DeadlineExceeded) {
		fail(w, http.StatusServiceUnavailable, "it takes longer than "+heavyTime.String()+"; choose less by namespace or workload")
		return
	}
	unanswerable(w, err)
}

func serveSuggest(e *endpoint, w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	most, err := limit(v)
	since, serr := sinceOf(v.Get("since"), time.Now())
	if serr != nil {
		serr = &flows.FieldError{Field: "since", Message: serr.Error()}
	}
	if err = errors.Join(err, serr); err != nil {
		parameter400(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), e.timeout)
	defer cancel()
	list, err := Recorded(ctx, e.source.Flows(), flows.Filter{Namespace: v.Get("namespace"), Workload: v.Get("workload"), Since: since})
	if err != nil {
		late(w, err)
		return
	}
	o := suggest.Options{ServiceAccounts: v.Get("serviceAccounts") == "true"}
	o.MinCount, _ = strconv.ParseUint(v.Get("minCount"), 10, 64) // it was checked, and may be left out
	if v.Get("enforce") == "true" {
		o.Mode = api.ModeEnforce
	}
	_, o.Set = e.source.Current()
	all, err := suggest.Policies(list, o)
	if err != nil {
		unanswerable(w, err)
		return
	}
	if c := v.Get("cursor"); c != "" {
		i := slices.IndexFunc(all, func(s suggest.Suggestion) bool { return suggestionName(&s) == c })
		if i < 0 {
			parameter400(w, &flows.FieldError{Field: "cursor", Message: "what it names is not there any more; begin without a cursor"})
			return
		}
		all = all[i+1:]
	}
	page := Suggestions{Suggestions: append([]suggest.Suggestion{}, all[:min(most, len(all))]...)}
	if len(all) > most {
		page.Next = suggestionName(&all[most-1])
	}
	reply(w, page)
}

func suggestionName(s *suggest.Suggestion) string { return s.Workload + "/" + string(s.Direction) }
