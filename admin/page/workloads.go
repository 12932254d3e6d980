package page

import (
	"net/http"
	"slices"
	"strings"

	"pavise.dev/pavise/policy"
)

// workloadRow is a workload in the list of all.
type workloadRow struct {
	Name                string
	Addresses, Policies int
	Listeners           int
	// In and Out are the rules for what comes in and goes out, and what becomes of what none of
	// them matches; nil where there is no listener.
	In, Out *ruleCount
}

type ruleCount struct {
	Rules  int
	Denied bool
}

// workloadList is a part of all workloads.
type workloadList struct {
	Form  *form
	Rows  []workloadRow
	Pages pager
	// None says that this process has no policies.
	None bool
}

func (s *site) workloads(w http.ResponseWriter, r *http.Request) {
	f := &form{Path: "/workloads", Button: "Search", Fields: []*field{
		{Kind: text, Name: "text", Label: "Name or namespace", Hint: "a part of NAMESPACE/NAME"},
		{Kind: parameter, Name: "from"},
	}}
	f.read(r)
	m, _ := s.src.Current()
	list := workloadList{Form: f, None: m == nil}
	if m != nil {
		var all []*policy.Workload
		for _, x := range m.Workloads {
			if strings.Contains(x.Key(), strings.ToLower(f.value("text"))) {
				all = append(all, x)
			}
		}
		from, to, p := window(f, "from", "/workloads", "workloads", len(all), pageSize)
		list.Pages = p
		for _, x := range all[from:to] {
			list.Rows = append(list.Rows, rowOf(x))
		}
	}
	s.show(w, "workloads", "/workloads", "Workloads", f, list)
}

func rowOf(w *policy.Workload) workloadRow {
	row := workloadRow{Name: w.Key(), Addresses: len(w.Addresses), Policies: len(w.Policies), Listeners: len(w.Listeners)}
	for _, p := range programs(w) {
		c := &ruleCount{Rules: len(p.Rules)}
		c.Denied = slices.ContainsFunc(p.Stages(policy.Enforced), func(s policy.Stage) bool { return s.Default != nil })
		if p.Direction == policy.Ingress {
			row.In = c
		} else {
			row.Out = c
		}
	}
	return row
}
