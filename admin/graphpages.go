package admin

import (
	"context"
	"net/http"
	"net/netip"
	"slices"

	"pavise.dev/pavise/policy"
)

// Bounds of a graph.
const (
	mostEdges = 10_000
	// mostTried addresses of a workload are looked at: those of a class of pods are named together.
	mostTried = 4
)

// Traffic that is let through: as far as addresses and selectors say, without looking at
// ports, names, methods and paths.
type Traffic string

const (
	NoTraffic   Traffic = "none"
	SomeTraffic Traffic = "some" // it depends on ports, names, methods, paths or headers
	AllTraffic  Traffic = "all"
)

// Graph is a page of the compiled model as who may reach whom. It is made of the policies in
// mode Enforce; threat feeds, and what other firewalls do, are not in it.
type Graph struct {
	// Digest of the model.
	Digest string      `json:"digest"`
	Nodes  []GraphNode `json:"nodes"`
	// Edges are from every workload to those in Nodes, where it is not what Anyone of the node says.
	Edges []GraphEdge `json:"edges"`
	// LeftOff is how many edges there are beyond 10,000.
	LeftOff int `json:"leftOff,omitempty"`
	// Next is the cursor of the next page of nodes; empty on the last.
	Next string `json:"next,omitempty"`
}

// GraphNode is a workload.
type GraphNode struct {
	Name string `json:"name"`
	// Policies that select it, in the order of evaluation.
	Policies []policy.PolicyRef `json:"policies,omitempty"`
	// Anyone is what an address that no rule names may send it; left out where it has no
	// listener that takes anything.
	Anyone Traffic `json:"anyone,omitempty"`
	// Anywhere is what it may send to an address that no rule names. Left out where its
	// connections are not redirected, so that nothing holds it.
	Anywhere Traffic `json:"anywhere,omitempty"`
}

// GraphEdge is what one workload may send another. Both ends have to let it through.
type GraphEdge struct {
	From    string  `json:"from"`
	To      string  `json:"to"`
	Traffic Traffic `json:"traffic"`
}

func serveGraph(e *endpoint, w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	most, err := limit(v)
	if err != nil {
		parameter400(w, err)
		return
	}
	m, ok := e.model(w)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), e.timeout)
	defer cancel()
	g, err := GraphOf(ctx, m, v.Get("namespace"), v.Get("cursor"), most)
	if err != nil {
		late(w, err)
		return
	}
	reply(w, g)
}

// GraphOf is the part of a graph that leads to at most so many workloads after a cursor, those
// of one namespace unless it is empty. It takes time by the product of these and all workloads,
// until ctx ends.
func GraphOf(ctx context.Context, m *policy.Model, namespace, cursor string, most int) (*Graph, error) {
	to, more := workloadsAfter(m, namespace, cursor, most)
	g, err := graph(ctx, m, to)
	if err == nil && more {
		g.Next = to[len(to)-1].Key()
	}
	return g, err
}

// GraphAround is who may reach a workload, and whom it may reach: its own node, then all that
// there are edges to.
func GraphAround(ctx context.Context, m *policy.Model, w *policy.Workload) (*Graph, error) {
	g, err := graph(ctx, m, []*policy.Workload{w})
	if err != nil {
		return nil, err
	}
	out, err := graphFrom(ctx, m.Digest, []*policy.Workload{w}, m.Workloads)
	if err != nil {
		return nil, err
	}
	g.Nodes = append(g.Nodes, slices.DeleteFunc(out.Nodes, func(n GraphNode) bool { return n.Name == w.Key() })...)
	g.Edges, g.LeftOff = append(g.Edges, out.Edges...), g.LeftOff+out.LeftOff
	return g, nil
}

// graph says who may reach each of some workloads.
func graph(ctx context.Context, m *policy.Model, to []*policy.Workload) (*Graph, error) {
	return graphFrom(ctx, m.Digest, m.Workloads, to)
}

// graphFrom is graph with the edges of some workloads alone.
func graphFrom(ctx context.Context, digest string, senders, to []*policy.Workload) (*Graph, error) {
	g := &Graph{Digest: digest, Nodes: make([]GraphNode, 0, len(to)), Edges: []GraphEdge{}}
	from := make([]end, 0, len(senders))
	for _, w := range senders {
		from = append(from, endOf(w))
	}
	for _, w := range to {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		t := endOf(w)
		n := t.node()
		if t.in != nil {
			for i := range from {
				if from[i].w == w {
					continue
				}
				traffic, known := between(&from[i], &t)
				switch {
				case !known || traffic == n.Anyone:
				case len(g.Edges) == mostEdges:
					g.LeftOff++
				default:
					g.Edges = append(g.Edges, GraphEdge{from[i].w.Key(), n.Name, traffic})
				}
			}
		}
		g.Nodes = append(g.Nodes, n)
	}
	return g, nil
}

// end is a workload with what decides at it; nil where nothing does.
type end struct {
	w       *policy.Workload
	in, out []policy.Stage
	at      []netip.Addr
}

func endOf(w *policy.Workload) end {
	e := end{w: w, at: w.Addresses[:min(len(w.Addresses), mostTried)]}
	for _, l := range w.Listeners {
		switch {
		case l.Direction == policy.Ingress && e.in == nil:
			e.in = l.Program.Stages(policy.Enforced)
		case l.Direction == policy.Egress && l.Traffic == policy.Transparent:
			e.out = l.Program.Stages(policy.Enforced)
		}
	}
	return e
}

// NodeOf is what a graph says of a workload by itself.
func NodeOf(w *policy.Workload) *GraphNode {
	e := endOf(w)
	n := e.node()
	return &n
}

func (e *end) node() GraphNode {
	n := GraphNode{Name: e.w.Key(), Policies: e.w.Policies}
	if e.out != nil {
		n.Anywhere = through(e.out, policy.Egress, netip.Addr{})
	}
	if e.in != nil {
		n.Anyone = through(e.in, policy.Ingress, netip.Addr{})
	}
	return n
}

// between is what one may send the other; not known where one has no address.
func between(from, to *end) (Traffic, bool) {
	var all mixture
	for _, s := range from.at {
		in := through(to.in, policy.Ingress, s)
		for _, d := range to.at {
			out := AllTraffic
			if from.out != nil {
				out = through(from.out, policy.Egress, d)
			}
			switch {
			case in == NoTraffic || out == NoTraffic:
				all.add(NoTraffic)
			case in == AllTraffic:
				all.add(out)
			default:
				all.add(in)
			}
		}
	}
	return all.traffic, all.traffic != ""
}

// mixture of the ways that traffic may go.
type mixture struct{ traffic Traffic }

func (m *mixture) add(t Traffic) {
	switch m.traffic {
	case "", t:
		m.traffic = t
	default:
		m.traffic = SomeTraffic
	}
}

// through is what the stages let through of what comes from or goes to an address; of the
// zero address, one that no rule names.
func through(stages []policy.Stage, d policy.Direction, a netip.Addr) Traffic {
	if len(stages) == 0 {
		return AllTraffic
	}
	next := Traffic("")
	beyond := func() Traffic {
		if next == "" {
			next = through(stages[1:], d, a)
		}
		return next
	}
	var all mixture
	for _, r := range stages[0].Rules {
		m := meets(r, d, a)
		if m == NoTraffic {
			continue
		}
		switch r.Action {
		case policy.Allow:
			all.add(AllTraffic)
		case policy.Deny:
			all.add(NoTraffic)
		case policy.Pass:
			all.add(beyond())
		default:
			all.add(SomeTraffic)
		}
		if m == AllTraffic {
			return all.traffic
		}
	}
	if stages[0].Default != nil {
		all.add(NoTraffic)
	} else {
		all.add(beyond())
	}
	return all.traffic
}

var (
	everyPort = policy.PortRange{First: 1, Last: 1<<16 - 1}
	everyIPv4 = netip.MustParsePrefix("0.0.0.0/0")
)

// meets is how much of the traffic of an address a rule matches.
func meets(r *policy.Rule, d policy.Direction, a netip.Addr) Traffic {
	best := NoTraffic
	for _, t := range r.Terms {
		set, other := t.Sources, t.Destinations
		if d == policy.Egress {
			set, other = other, set
		}
		if set != nil && !(a.IsValid() && set.Contains(a) || !a.IsValid() && set.ContainsPrefix(everyIPv4)) {
			continue
		}
		whole := other == nil && len(t.Domains) == 0 && len(t.ServerNames) == 0 && t.HTTP == nil &&
			(len(t.Ports) == 0 || slices.Contains(t.Ports, everyPort))
		if whole {
			return AllTraffic
		}
		best = SomeTraffic
	}
	return best
}
