package page

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/policy"
)

const (
	// mostCrossed workloads are shown each with each; more are a list.
	mostCrossed = 10
	// unknown is the traffic of a workload that has no address, so that no rule can be asked about it.
	unknown = admin.Traffic("unknown")
	// untold is the traffic of what nothing is asked about: no listener takes it, or nothing holds it.
	untold = admin.Traffic("")
)

// graphPage says who may reach whom.
type graphPage struct {
	Form *form
	// None says that this process has no policies.
	None   bool
	Digest string
	// Rows cross each workload with each, to the workloads Heads; nil where they are too many.
	Heads []string
	Rows  []crossing
	// Nodes are the workloads of a list; Edges what is otherwise than they say of anyone.
	Nodes     []admin.GraphNode
	Edges     []admin.GraphEdge
	EdgePages pager
	LeftOff   int
	// Pages lead to other workloads.
	Pages pager
	// About is the workload that was asked for; In and Out are who may reach it, and whom it may.
	About    *admin.GraphNode
	In, Out  []reach
	InPages  pager
	OutPages pager
}

// crossing is a row: what one workload, or anyone, may send to each.
type crossing struct {
	From  string
	Cells []cell
}

type cell struct {
	Traffic admin.Traffic
	// Same is a workload and itself.
	Same     bool
	From, To string
}

// reach is one of whom a workload may send to, or get from.
type reach struct {
	Name    string
	Traffic admin.Traffic
}

func (s *site) graph(w http.ResponseWriter, r *http.Request) {
	f := &form{Path: "/graph", Button: "Show", Fields: []*field{
		{Kind: text, Name: "namespace", Label: "Namespace", Hint: "only workloads there are reached"},
		{Kind: text, Name: "workload", Label: "Workload", Hint: "NAMESPACE/NAME, for one alone"},
		{Kind: parameter, Name: "cursor"},
		{Kind: parameter, Name: "edge"},
		{Kind: parameter, Name: "in"},
		{Kind: parameter, Name: "out"},
	}}
	f.read(r)
	m, _ := s.src.Current()
	p := graphPage{Form: f, None: m == nil}
	if m == nil {
		s.show(w, "graph", "/graph", "Who may reach whom", f, p)
		return
	}
	f.Fields[1].Suggest = workloadNames(m)
	p.Digest = m.Digest
	var about *policy.Workload
	if name := f.value("workload"); name != "" {
		ns, base, _ := strings.Cut(name, "/")
		if about = m.Workload(ns, base); about == nil {
			f.fail("workload", "there is no such workload; it is NAMESPACE/NAME")
		}
	}
	if len(f.Problems) == 0 {
		s.heavy(r.Context(), w, f, func(ctx context.Context) error {
			if about != nil {
				g, err := admin.GraphAround(ctx, m, about)
				if err == nil {
					p.around(f, m, g)
				}
				return err
			}
			g, err := admin.GraphOf(ctx, m, f.value("namespace"), f.value("cursor"), pageSize)
			if err == nil {
				p.take(f, m, g)
			}
			return err
		})
	}
	s.show(w, "graph", "/graph", "Who may reach whom", f, p)
}

// take shows few workloads each with each, and more as lists.
func (p *graphPage) take(f *form, m *policy.Model, g *admin.Graph) {
	p.LeftOff = g.LeftOff
	if len(m.Workloads) <= mostCrossed {
		p.cross(m, g)
		return
	}
	p.Nodes = g.Nodes
	p.Pages = pager{Of: "workloads", Text: "Workloads by their names"}
	if f.value("cursor") != "" {
		p.Pages.First = withValues(f.Path, f.again("cursor", "edge"))
	}
	if g.Next != "" {
		v := f.again("cursor", "edge")
		v.Set("cursor", g.Next)
		p.Pages.Next = withValues(f.Path, v)
	}
	from, to, pages := window(f, "edge", f.Path, "exceptions", len(g.Edges), 2*pageSize)
	p.Edges, p.EdgePages = g.Edges[from:to], pages
}

// cross makes the table of each with each.
func (p *graphPage) cross(m *policy.Model, g *admin.Graph) {
	edges := edgesOf(g)
	anyone := crossing{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		p.Heads = append(p.Heads, n.Name)
		anyone.Cells = append(anyone.Cells, cell{Traffic: n.Anyone, To: n.Name})
	}
	if len(p.Heads) == 0 {
		return
	}
	for _, w := range m.Workloads {
		row := crossing{From: w.Key()}
		for i := range g.Nodes {
			n := &g.Nodes[i]
			row.Cells = append(row.Cells, cell{Traffic: edges.traffic(w, n), Same: n.Name == row.From, From: row.From, To: n.Name})
		}
		p.Rows = append(p.Rows, row)
	}
	p.Rows = append(p.Rows, anyone)
}

// around takes what concerns one workload, which is the first node.
func (p *graphPage) around(f *form, m *policy.Model, g *admin.Graph) {
	p.About, p.LeftOff = &g.Nodes[0], g.LeftOff
	edges := edgesOf(g)
	ns, base, _ := strings.Cut(p.About.Name, "/")
	self := m.Workload(ns, base)
	var in, out []reach
	for _, w := range m.Workloads {
		if w != self && p.About.Anyone != untold {
			in = append(in, reach{w.Key(), edges.traffic(w, p.About)})
		}
	}
	for i := range g.Nodes[1:] {
		if n := &g.Nodes[1+i]; n.Anyone != untold {
			out = append(out, reach{n.Name, edges.traffic(self, n)})
		}
	}
	sortReach(in)
	sortReach(out)
	from, to, pages := window(f, "in", f.Path, "who may reach it", len(in), pageSize)
	p.In, p.InPages = in[from:to], pages
	from, to, pages = window(f, "out", f.Path, "whom it may reach", len(out), pageSize)
	p.Out, p.OutPages = out[from:to], pages
}

// sortReach puts those first that reach, in the order of their names.
func sortReach(list []reach) {
	order := []admin.Traffic{admin.AllTraffic, admin.SomeTraffic, unknown, admin.NoTraffic}
	slices.SortStableFunc(list, func(a, b reach) int {
		return cmp.Compare(slices.Index(order, a.Traffic), slices.Index(order, b.Traffic))
	})
}

// edgesByEnds are edges by who sends and who gets.
type edgesByEnds map[[2]string]admin.Traffic

func edgesOf(g *admin.Graph) edgesByEnds {
	out := make(edgesByEnds, len(g.Edges))
	for _, e := range g.Edges {
		out[[2]string{e.From, e.To}] = e.Traffic
	}
	return out
}

// traffic is that of the edge, or else what anyone may send, or else not known.
func (e edgesByEnds) traffic(from *policy.Workload, to *admin.GraphNode) admin.Traffic {
	if t, ok := e[[2]string{from.Key(), to.Name}]; ok {
		return t
	}
	if to.Anyone != untold && len(from.Addresses) == 0 {
		return unknown
	}
	return to.Anyone
}

// workloadNames are those that a field suggests.
func workloadNames(m *policy.Model) (names []string) {
	for _, w := range m.Workloads[:min(len(m.Workloads), mostSuggested)] {
		names = append(names, w.Key())
	}
	return names
}
