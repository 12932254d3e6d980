package status

import (
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"go.uber.org/goleak"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeFleet has workloads with nodes; held ones were given something else than the model says.
type fakeFleet struct {
	set   *api.Set
	model *policy.Model
	nodes map[string][]string // by workload
	held  map[string]bool
}

func (f *fakeFleet) Set() *api.Set             { return f.set }
func (f *fakeFleet) Model() *policy.Model      { return f.model }
func (f *fakeFleet) NodesOf(w string) []string { return f.nodes[w] }
func (f *fakeFleet) WorkloadOf(node string) string {
	for w, nodes := range f.nodes {
		if slices.Contains(nodes, node) {
			return w
		}
	}
	return ""
}

func (f *fakeFleet) Selected(p policy.PolicyRef) []*policy.Workload {
	var out []*policy.Workload
	for _, w := range f.model.Workloads {
		if slices.Contains(w.Policies, p) {
			out = append(out, w)
		}
	}
	return out
}

func (f *fakeFleet) Digest(w string) string {
	if f.held[w] {
		return "earlier"
	}
	return digestsOf(f.model)[w]
}

type fakeServer struct {
	mu      sync.Mutex
	nodes   map[string]xds.NodeStatus
	changed chan struct{}
}

func (s *fakeServer) Nodes() iter.Seq2[string, xds.NodeStatus] {
	return func(yield func(string, xds.NodeStatus) bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for n, st := range s.nodes {
			if !yield(n, st) {
				return
			}
		}
	}
}

func (s *fakeServer) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

func (s *fakeServer) set(node string, st xds.NodeStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodes == nil {
		s.nodes = map[string]xds.NodeStatus{}
	}
	s.nodes[node] = st
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

type fakeFeeds struct {
	list    []feeds.Status
	trouble error
}

func (f *fakeFeeds) Status() []feeds.Status       { return f.list }
func (f *fakeFeeds) Snapshot() *snapshot.Snapshot { return nil }
func (f *fakeFeeds) Trouble() error               { return f.trouble }

var t0 = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func metaOf(namespace, name string, generation int64) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Generation: generation, UID: types.UID("uid-of-" + namespace + name)}
}

// world is one workload, shop/web, of two nodes, that policies select.
func world(policies ...*api.AccessPolicy) *fakeFleet {
	w := &policy.Workload{Namespace: "shop", Name: "web"}
	for _, p := range policies {
		w.Policies = append(w.Policies, policy.PolicyRef{Namespace: p.Namespace, Name: p.Name})
	}
	return &fakeFleet{
		set: &api.Set{AccessPolicies: policies}, model: &policy.Model{Workloads: []*policy.Workload{w}},
		nodes: map[string][]string{"shop/web": {"shop/web-0", "shop/web-1"}}, held: map[string]bool{},
	}
}

// synced is a sidecar that has what the fleet gave it.
func synced(f *fakeFleet) xds.NodeStatus {
	d := f.Digest("shop/web")
	return xds.NodeStatus{Status: xds.Status{Connected: true, Wanted: d, InForceAt: t0}, Acked: d, Since: t0}
}

func refusing(f *fakeFleet, message string) xds.NodeStatus {
	s := synced(f)
	s.NACK, s.NACKs, s.Pending = &xds.NACK{Time: t0, TypeURL: "type.googleapis.com/x", Message: message}, 1, 1
	return s
}
