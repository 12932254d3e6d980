package page

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// overview says what is in force, what is not, and what happened last.
type overview struct {
	// Model is nil where this process has no policies.
	Model                      *policy.Model
	Workloads, Policies, Rules int
	Notices                    []notice
	NoticePages                pager
	Problems                   []api.Problem
	ProblemPages               pager
	Facts                      []fact
	FactsLeft                  int
	// Stats is nil where flows are not kept, and so is Watch where nobody looks for anomalies.
	Stats   *flows.Stats
	Denials []flows.Flow
	Watch   *anomaly.Stats
	Alerts  []anomaly.Alert
	// FeedsInForce have entries that decide.
	Feeds, FeedsInForce int
	Entries             int64
	Sidecars            []tally
}

// tally is how many there are of a kind.
type tally struct {
	Name  string
	Count int
}

func (s *site) overview(w http.ResponseWriter, r *http.Request) {
	f := &form{Path: "/", Fields: []*field{{Kind: parameter, Name: "notice"}, {Kind: parameter, Name: "problem"}}}
	f.read(r)
	var o overview
	o.Model, _ = s.src.Current()
	if o.Model != nil {
		o.Workloads = len(o.Model.Workloads)
		o.Policies, o.Rules = sizes(o.Model)
	}
	st := readStatus(s.src.Status())
	o.Facts, o.FactsLeft = st.facts()
	notices := st.notices()
	if l, ok := s.src.(admin.HasFeeds); ok {
		list := l.FeedList()
		o.Feeds = len(list)
		for i := range list {
			if list[i].Entries > 0 && list[i].State != api.FeedSuspended {
				o.FeedsInForce++
				o.Entries += list[i].Entries
			}
		}
		notices = append(notices, feedNotices(list)...)
	}
	if l, ok := s.src.(admin.HasSidecars); ok {
		list := l.Sidecars()
		o.Sidecars = states(list)
		notices = append(notices, sidecarNotices(list)...)
	}
	from, to, p := window(f, "notice", "/", "what is not in force", len(notices), pageSize)
	o.Notices, o.NoticePages = notices[from:to], p
	from, to, p = window(f, "problem", "/", "problems", len(st.Problems), pageSize)
	o.Problems, o.ProblemPages = st.Problems[from:to], p
	if store := s.src.Flows(); store != nil {
		stats := store.Stats()
		o.Stats = &stats
		if page, err := store.Query(flows.Filter{Verdict: policy.Denied}, flows.Cursor{}, shortList); err != nil {
			f.wrong(err)
		} else {
			o.Denials = page.Flows
		}
	}
	if d := s.src.Anomalies(); d != nil {
		stats := d.Stats()
		o.Watch = &stats
		if page, err := d.Alerts(anomaly.Filter{}, "", shortList); err != nil {
			f.wrong(err)
		} else {
			o.Alerts = page.Alerts
		}
	}
	s.show(w, "overview", "/", "Overview", f, o)
}

// sizes count policies and rules that select at least one workload, each policy once.
func sizes(m *policy.Model) (policies, rules int) {
	seen := map[policy.PolicyRef]bool{}
	for _, w := range m.Workloads {
		for _, p := range w.Policies {
			seen[p] = true
		}
		for _, p := range programs(w) {
			rules += len(p.Rules)
		}
	}
	return len(seen), rules
}

// programs are those of a workload, that of ingress first.
func programs(w *policy.Workload) []*policy.Program {
	var out []*policy.Program
	for _, d := range []policy.Direction{policy.Ingress, policy.Egress} {
		if i := slices.IndexFunc(w.Listeners, func(l *policy.Listener) bool { return l.Direction == d }); i >= 0 {
			out = append(out, w.Listeners[i].Program)
		}
	}
	return out
}

// states count sidecars by state, by name.
func states(list []admin.Sidecar) []tally {
	counts := map[string]int{}
	for i := range list {
		counts[list[i].State]++
	}
	var out []tally
	for name, n := range counts {
		out = append(out, tally{name, n})
	}
	slices.SortFunc(out, func(a, b tally) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// sidecarNotices are of those that do not enforce what they shall, in the order of their names.
func sidecarNotices(list []admin.Sidecar) []notice {
	var out []notice
	for i := range list {
		c := &list[i]
		if c.State == inForce {
			continue
		}
		why := c.State
		if c.NACK != "" {
			why += ": " + c.NACK
		} else if c.Pending > 0 {
			why += fmt.Sprintf(": %d resources are not acknowledged", c.Pending)
		}
		out = append(out, notice{"sidecar " + c.Node, why, link("/sidecars", "text", c.Node)})
	}
	slices.SortFunc(out, func(a, b notice) int { return cmp.Compare(a.What, b.What) })
	return out
}
