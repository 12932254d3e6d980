package simulate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

const maxAsks = 8

// Run puts flows to the current set and to the proposed one, in which objects of the same kind and
// name take the place of the current ones. The current set has to be without errors; a proposed
// set with errors is not simulated, and the result says so. Flows are read only.
//
// It costs two evaluations for each flow, more where rules ask for what was not recorded, and
// stops when ctx ends. An *InputError is the caller's to mend.
func Run(ctx context.Context, current *api.Set, proposed []api.Object, recorded []flows.Flow, opt Options) (*Result, error) {
	if len(recorded) > MaxFlows {
		return nil, &InputError{fmt.Sprintf("%d flows are more than the %d that can be simulated at a time; choose fewer by workload or time", len(recorded), MaxFlows)}
	}
	next, problems, err := propose(current, proposed, &opt)
	if err != nil {
		return nil, err
	}
	// One compiler for both: what did not change is the same pointer in both models.
	c := policy.NewCompiler()
	before, wrong := c.Compile(current)
	if i := slices.IndexFunc(wrong, func(p api.Problem) bool { return p.Severity == api.Error }); i >= 0 {
		return nil, fmt.Errorf("simulate: the current set has errors: %s", wrong[i])
	}
	res := &Result{Before: before.Digest, Problems: problems}
	if api.HasErrors(problems) {
		res.Refused = true
		return res, nil
	}
	after, more := c.Compile(next)
	res.Problems = append(res.Problems, more...)
	api.SortProblems(res.Problems)
	if res.Refused = api.HasErrors(more); res.Refused {
		return res, nil
	}
	res.After = after.Digest
	s := run{before: byName(before), after: byName(after), feeds: changedFeeds(current, next), opt: opt, res: res, counts: map[string]*Counts{}}
	for _, name := range slices.Sorted(maps.Keys(s.feeds)) {
		if s.feeds[name] {
			res.Feeds = append(res.Feeds, name)
		}
	}
	for i := range recorded {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("simulate: after %d of %d flows: %w", i, len(recorded), context.Cause(ctx))
		}
		s.flow(&recorded[i])
	}
	s.finish()
	return res, nil
}

// run is one run.
type run struct {
	before, after map[string]place // by NAMESPACE/WORKLOAD/LISTENER
	feeds         map[string]bool  // those that the proposal changes
	opt           Options
	res           *Result
	counts        map[string]*Counts
}

type place struct {
	listener *policy.Listener
	workload *policy.Workload
}

func byName(m *policy.Model) map[string]place {
	out := map[string]place{}
	for _, w := range m.Workloads {
		for _, l := range w.Listeners {
			out[w.Key()+"/"+l.Name] = place{l, w}
		}
	}
	return out
}

func changedFeeds(a, b *api.Set) map[string]bool {
	out := map[string]bool{}
	specs := map[string]*api.ThreatFeed{}
	for _, f := range a.ThreatFeeds {
		specs[f.Name] = f
		out[f.Name] = true
	}
	for _, f := range b.ThreatFeeds {
		out[f.Name] = specs[f.Name] == nil || specs[f.Name] != f && !reflect.DeepEqual(specs[f.Name].Spec, f.Spec)
	}
	return out
}

// verdictOf is what is to be said of one flow.
type verdictOf struct {
	flow     *flows.Flow
	fixed    bool
	outdated bool
	pairs    []pair // every way it may turn out
	asked    map[Ask]bool
	why      string // it is uncertain, whatever the pairs
}

type pair struct{ before, after Outcome }

func (s *run) flow(f *flows.Flow) {
	v := verdictOf{flow: f, asked: map[Ask]bool{}}
	was := Outcome{Verdict: f.Example.Verdict, Reason: f.Example.Reason}
	b, inBefore := s.before[f.Listener]
	a, inAfter := s.after[f.Listener]
	switch why := fixed(&f.Example); {
	case why != "":
		v.fixed, v.pairs = true, []pair{{was, was}}
		v.why = s.unfixed(f, b, a)
	case !inBefore:
		v.why = fmt.Sprintf("listener %q is not in the current set", f.Listener)
	case !inAfter:
		v.why = fmt.Sprintf("listener %q is not in the proposed set", f.Listener)
	default:
		s.compare(&v, b.listener, a.listener)
	}
	s.count(&v)
}

// unfixed says why what no policy decided may be decided otherwise all the same.
func (s *run) unfixed(f *flows.Flow, b, a place) string {
	r := policy.ParseReason(f.Example.Reason)
	switch r.Kind {
	case policy.ByFeed, policy.FeedNotLoaded:
		// A feed that is not in the set at all was gone before, and the proposal changes nothing.
		if s.feeds[r.Feed] {
			return fmt.Sprintf("threat feed %q decided, and the proposal changes it", r.Feed)
		}
	case policy.FeedsUnavailable:
		if b.workload != nil && a.workload != nil && b.workload.FeedsClosed != a.workload.FeedsClosed {
			return "the feeds could not be asked, and the proposal changes what happens then"
		}
	default:
		if (b.listener == nil) != (a.listener == nil) || b.listener != nil && !sameForm(b.listener, a.listener) {
			return "it was refused for its form, and the proposal changes the listener"
		}
	}
	return ""
}

// sameForm reports whether two listeners take and refuse the same requests before any rule.
func sameForm(a, b *policy.Listener) bool {
	return a.Traffic == b.Traffic && a.Direction == b.Direction && a.Paths == b.Paths &&
		a.Address.Port() == b.Address.Port() && slices.Equal(a.Opaque, b.Opaque)
}

// compare finds the ways in which both listeners may decide a flow, and of those of the current
// one keeps the ways that fit what was recorded.
func (s *run) compare(v *verdictOf, b, a *policy.Listener) {
	if !sameForm(b, a) {
		v.why = "the proposal changes what the listener takes, and the request is not recorded as it was sent"
		return
	}
	r := &v.flow.Example
	unresolved := policy.ParseReason(r.Reason).Kind == policy.NotResolved
	if unresolved {
		b, a = preliminary(b), preliminary(a)
	}
	outcome := func(d *policy.Decision) Outcome {
		if unresolved && d.Verdict == policy.Allowed {
			return Outcome{Verdict: policy.Denied, Reason: string(policy.NotResolved)}
		}
		o := Outcome{Verdict: d.Verdict, Reason: d.Reason.String()}
		for i := range d.Trace {
			if t := &d.Trace[i]; t.Matched && d.Reason.Kind == policy.ByRule && t.Reason.String() == o.Reason {
				o.Field = t.Field
			}
		}
		return o
	}
	type way struct {
		question *question
		branch   branch
		outcome  Outcome
	}
	var ways, fitting []way
	qs := questions(b, v.flow, s.opt.Presume)
	for i := range qs {
		branches, open, overflow := explore(b, &qs[i], nil)
		v.note(open, branches, overflow)
		for _, one := range branches {
			w := way{&qs[i], one, outcome(&one.Decision)}
			ways = append(ways, w)
			if w.outcome.Verdict == r.Verdict && w.outcome.Reason == r.Reason {
				fitting = append(fitting, w)
			}
		}
	}
	if len(fitting) == 0 && b.Traffic == policy.Proxy && r.Verdict == policy.Denied {
		// Where a proxy denies a name before it is looked up, what is not known decides which of the
		// reasons to deny is named; that it is denied, it does not.
		for _, w := range ways {
			if w.outcome.Verdict == policy.Denied {
				fitting = append(fitting, w)
			}
		}
	}
	if len(fitting) == 0 {
		fitting, v.outdated = ways, true
	}
	for _, w := range fitting {
		branches, open, overflow := explore(a, w.question, w.branch.matched)
		v.note(open, branches, overflow)
		for i := range branches {
			v.pairs = append(v.pairs, pair{w.outcome, outcome(&branches[i].Decision)})
		}
	}
}

// preliminary is the listener as it is asked before a name is looked up.
func preliminary(l *policy.Listener) *policy.Listener {
	c := *l
	c.Program = l.Program.Preliminary()
	return &c
}

// note keeps which rules the ways parted at.
func (v *verdictOf) note(open map[*policy.Rule]fact, branches []branch, overflow bool) {
	if overflow {
		v.why = fmt.Sprintf("there are more than %d ways in which it may be decided", maxBranches)
	}
	for _, b := range branches {
		for r := range b.matched {
			if asked, ok := open[r]; ok && len(v.asked) < 4*maxAsks {
				v.asked[Ask{Rule: r.Reason().String(), What: describe(r, asked)}] = true
			}
		}
	}
}

// describe says what a rule asked that was not recorded.
func describe(r *policy.Rule, asked fact) string {
	var out []string
	for _, w := range words {
		if asked&w.fact != 0 {
			out = append(out, w.word)
		}
	}
	if asked&values != 0 {
		for _, t := range r.Terms {
			if t.HTTP == nil {
				continue
			}
			for i := range t.HTTP.Values {
				if label := t.HTTP.Values[i].Label; !slices.Contains(out, label) {
					out = append(out, label)
				}
			}
		}
	}
	if len(out) > maxAsks {
		out = append(out[:maxAsks], "…")
	}
	return strings.Join(out, ", ")
}

// verdict sums up the ways: every one of them leaves the verdict as it is, or every one changes it
// in the same way, or nobody can say.
func (v *verdictOf) verdict() (same, sameReason, certain bool) {
	if v.why != "" || len(v.pairs) == 0 {
		return false, false, false
	}
	same, sameReason, certain = true, true, true
	first := v.pairs[0]
	for _, p := range v.pairs {
		same = same && p.before.Verdict == p.after.Verdict
		sameReason = sameReason && p.before.Verdict == p.after.Verdict && p.before.Reason == p.after.Reason
		certain = certain && p.before.Verdict == first.before.Verdict && p.after.Verdict == first.after.Verdict
	}
	return same, sameReason, certain || same
}

func (s *run) count(v *verdictOf) {
	f := v.flow
	one := s.counts[f.Workload]
	if one == nil {
		one = &Counts{Workload: f.Workload}
		s.counts[f.Workload] = one
	}
	each := func(of func(*Counts) *Tally) {
		of(one).add(max(1, f.Count))
		of(&s.res.Total).add(max(1, f.Count))
	}
	each(func(c *Counts) *Tally { return &c.All })
	if v.fixed {
		each(func(c *Counts) *Tally { return &c.Fixed })
	}
	if v.outdated {
		each(func(c *Counts) *Tally { return &c.Outdated })
	}
	same, sameReason, certain := v.verdict()
	switch {
	case !certain:
		each(func(c *Counts) *Tally { return &c.Uncertain })
		s.res.Uncertain = append(s.res.Uncertain, v.uncertain())
	case sameReason:
		each(func(c *Counts) *Tally { return &c.Unchanged })
	case same:
		each(func(c *Counts) *Tally { return &c.Reason })
		i := slices.IndexFunc(v.pairs, func(p pair) bool { return p.before.Reason != p.after.Reason })
		s.res.Reasons = append(s.res.Reasons, v.change(v.pairs[i]))
	case v.pairs[0].after.Verdict == policy.Denied:
		each(func(c *Counts) *Tally { return &c.Denied })
		s.res.Changes = append(s.res.Changes, v.change(v.pairs[0]))
	default:
		each(func(c *Counts) *Tally { return &c.Allowed })
		s.res.Changes = append(s.res.Changes, v.change(v.pairs[0]))
	}
}

func (v *verdictOf) brief() Brief {
	f := v.flow
	return Brief{ID: f.ID, Key: f.Key, First: f.First, Last: f.Last, Count: max(1, f.Count)}
}

func (v *verdictOf) change(p pair) Change {
	return Change{Flow: v.brief(), Before: p.before, After: p.after, Outdated: v.outdated}
}

func (v *verdictOf) uncertain() Uncertain {
	u := Uncertain{Flow: v.brief(), Why: v.why, Outdated: v.outdated}
	if u.Why == "" {
		u.Why = "rules asked for what was not recorded"
	}
	u.Asked = slices.SortedFunc(maps.Keys(v.asked), func(a, b Ask) int {
		return cmp.Or(strings.Compare(a.Rule, b.Rule), strings.Compare(a.What, b.What))
	})
	u.Asked = u.Asked[:min(len(u.Asked), maxAsks)]
	for _, p := range v.pairs {
		if len(u.Before) < maxAsks && !slices.Contains(u.Before, p.before) {
			u.Before = append(u.Before, p.before)
		}
		if len(u.After) < maxAsks && !slices.Contains(u.After, p.after) {
			u.After = append(u.After, p.after)
		}
	}
	return u
}

// finish sorts the lists and cuts them to their bound.
func (s *run) finish() {
	most := s.opt.List
	if most <= 0 {
		most = DefaultList
	}
	order := func(a, b Brief) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), strings.Compare(a.Workload, b.Workload), strings.Compare(a.Listener, b.Listener),
			strings.Compare(a.Peer, b.Peer), strings.Compare(a.Name, b.Name), strings.Compare(a.Path, b.Path), strings.Compare(a.ID, b.ID))
	}
	changes := func(l []Change) []Change {
		slices.SortStableFunc(l, func(a, b Change) int { return order(a.Flow, b.Flow) })
		s.res.LeftOff += max(0, len(l)-most)
		return l[:min(len(l), most)]
	}
	s.res.Changes, s.res.Reasons = changes(s.res.Changes), changes(s.res.Reasons)
	u := s.res.Uncertain
	slices.SortStableFunc(u, func(a, b Uncertain) int { return order(a.Flow, b.Flow) })
	s.res.LeftOff += max(0, len(u)-most)
	s.res.Uncertain = u[:min(len(u), most)]
	for _, name := range slices.Sorted(maps.Keys(s.counts)) {
		s.res.Workloads = append(s.res.Workloads, *s.counts[name])
	}
}

// IsInput reports whether an error is the caller's to mend.
func IsInput(err error) bool {
	var e *InputError
	return errors.As(err, &e)
}
