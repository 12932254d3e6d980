package page

import (
	"net/http"
	"strings"
	"time"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// workloadPage is one workload.
type workloadPage struct {
	Name string
	// Workload is nil where this process has no such policies, but has seen flows of it.
	Workload      *policy.Workload
	Digest        string
	Listeners     []*policy.Listener
	ListenerPages pager
	Policies      []policyRow
	PolicyPages   pager
	Sides         []rulesOf
	// Kept says that flows are kept, and Simulates that changes can be tried on them.
	Kept, Simulates bool

	Flows    []flows.Flow
	Baseline *anomaly.Baseline
	Usual    []usualSide
	// Watched says that anomalies are looked for.
	Watched bool
	// Node is what the graph says of it; nil where it has no policies.
	Node *admin.GraphNode
	// UsualPages lead to more of what is usual.
	UsualPages pager
}

// policyRow is a policy that selects the workload.
type policyRow struct {
	Number int
	policy.PolicyRef
	// Tier is empty where it has no rules here.
	Tier policy.Tier
	// In and Out count its rules.
	In, Out int
	// Audit says that it is audited and not enforced.
	Audit bool
	// Object is KIND NAMESPACE/NAME.
	Object string
}

// rulesOf are the rules of one direction, in the order in which they are asked.
type rulesOf struct {
	Title string
	Rows  []ruleRow
	Pages pager
	// Default is what becomes of what nothing matches.
	Default policy.Reason
	Denied  bool
}

type ruleRow struct {
	Number int
	*policy.Rule
	Terms []string
}

// usualSide is what is usual in one direction.
type usualSide struct {
	Title      string
	Dimensions []dimension
	// Week are the allowed decisions by hour of the week.
	Week *spark
}

type dimension struct {
	Name string
	Part []anomaly.Value
	// More is how many there are beyond this part.
	More     int
	Open     bool
	Overflow uint64
}

func (s *site) workload(w http.ResponseWriter, r *http.Request) {
	f := &form{Path: "/workload", Fields: []*field{
		{Kind: text, Name: "name", Label: "Workload"},
		{Kind: parameter, Name: "listener"},
		{Kind: parameter, Name: "policy"},
		{Kind: parameter, Name: "in"},
		{Kind: parameter, Name: "out"},
		{Kind: parameter, Name: "usual"},
	}}
	f.read(r)
	p := workloadPage{Name: f.value("name")}
	if ns, name, ok := strings.Cut(p.Name, "/"); ok {
		if m, _ := s.src.Current(); m != nil {
			p.Workload = m.Workload(ns, name)
		}
	}
	if p.Workload != nil {
		p.rules(f)
		p.Node = admin.NodeOf(p.Workload)
	}
	p.Simulates = s.canSimulate()
	if d := s.src.Anomalies(); d != nil {
		p.Watched = true
		if b, ok := d.Baseline(p.Name); ok {
			p.usual(f, &b)
		}
	}
	if store := s.src.Flows(); store != nil && strings.Contains(p.Name, "/") {
		p.Kept = true
		if page, err := store.Query(flows.Filter{Workload: p.Name}, flows.Cursor{}, shortList); err != nil {
			f.wrong(err)
		} else {
			p.Flows = page.Flows
		}
	}
	if p.Workload == nil && p.Baseline == nil && len(p.Flows) == 0 {
		s.write(w, http.StatusNotFound, "nothing", frame{
			Title: "There is no such workload", Menu: s.menu("/workloads"), Problems: f.unplaced(),
			Body: "Its name is NAMESPACE/NAME, as in the list of workloads. Nothing of that name was seen lately either.",
		})
		return
	}
	s.show(w, "workload", "/workloads", visible(p.Name), f, p)
}

// rules fills in what is in force.
func (p *workloadPage) rules(f *form) {
	w := p.Workload
	p.Digest = w.Digest()
	from, to, pages := window(f, "listener", f.Path, "listeners", len(w.Listeners), pageSize)
	p.Listeners, p.ListenerPages = w.Listeners[from:to], pages
	from, to, pages = window(f, "policy", f.Path, "policies", len(w.Policies), pageSize)
	p.PolicyPages = pages
	for i, ref := range w.Policies[from:to] {
		p.Policies = append(p.Policies, policyOf(w, ref, from+i+1))
	}
	for _, program := range programs(w) {
		side := rulesOf{Title: "What comes in", Default: policy.Reason{Kind: policy.DefaultAllow}}
		param := "in"
		if program.Direction == policy.Egress {
			side.Title, param = "What goes out", "out"
		}
		for _, stage := range program.Stages(policy.Enforced) {
			if stage.Default != nil {
				side.Default, side.Denied = *stage.Default, true
			}
		}
		from, to, side.Pages = window(f, param, f.Path, strings.ToLower(side.Title), len(program.Rules), pageSize)
		for i, rule := range program.Rules[from:to] {
			side.Rows = append(side.Rows, ruleRow{from + i + 1, rule, terms(rule)})
		}
		p.Sides = append(p.Sides, side)
	}
}

// policyOf is what a policy has to say at a workload.
func policyOf(w *policy.Workload, ref policy.PolicyRef, number int) policyRow {
	row := policyRow{Number: number, PolicyRef: ref, Object: api.ObjectName(api.KindAccessPolicy, ref.Namespace, ref.Name)}
	if ref.Namespace == "" {
		row.Object = api.ObjectName(api.KindClusterAccessPolicy, "", ref.Name)
	}
	for _, program := range programs(w) {
		for _, rule := range program.Rules {
			if rule.Policy != ref {
				continue
			}
			row.Tier, row.Audit = rule.Tier, rule.Audit
			if program.Direction == policy.Egress {
				row.Out++
			} else {
				row.In++
			}
		}
	}
	return row
}

// usual fills in the baseline.
func (p *workloadPage) usual(f *form, b *anomaly.Baseline) {
	p.Baseline = b
	most := 0
	for i := range b.Sides {
		side := &b.Sides[i]
		for _, v := range []*anomaly.Values{&side.Peers, &side.Names, &side.Ports, &side.Methods, &side.Paths} {
			most = max(most, len(v.Values))
		}
	}
	from, to, pages := window(f, "usual", f.Path, "what is usual", most, shortList)
	p.UsualPages = pages
	for i := range b.Sides {
		side := &b.Sides[i]
		u := usualSide{Title: "What comes in"}
		if side.Direction == policy.Egress {
			u.Title = "What goes out"
		}
		for _, d := range []struct {
			name   string
			values anomaly.Values
		}{
			{"Peers", side.Peers}, {"Names", side.Names}, {"Ports", side.Ports}, {"Methods", side.Methods}, {"Paths", side.Paths},
		} {
			n := len(d.values.Values)
			part := d.values.Values[min(from, n):min(to, n)]
			if n > 0 {
				u.Dimensions = append(u.Dimensions, dimension{d.name, part, n - min(to, n), d.values.Open, d.values.Overflow})
			}
		}
		u.Week = weekOf(side)
		p.Usual = append(p.Usual, u)
	}
}

// weekOf draws the hours of the week; nil where none is known.
func weekOf(side *anomaly.Side) *spark {
	const perDay = int(24 * time.Hour / time.Hour)
	values := make([]float64, 0, 7*perDay)
	known := 0
	for _, v := range side.Allowed {
		if v >= 0 {
			known++
		}
		values = append(values, float64(max(0, v)))
	}
	if known == 0 {
		return nil
	}
	return sparkline("allowed in each hour of the week from Monday 0:00 UTC", values)
}
