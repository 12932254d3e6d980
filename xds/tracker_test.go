package xds

import (
	"context"
	"log/slog"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// TestLateEndOfAnOldStream: an Envoy that reconnects before its old connection is noticed
// to be broken is connected, and has what it acknowledged.
func TestLateEndOfAnOldStream(t *testing.T) {
	tr := newTracker(slog.New(slog.DiscardHandler))
	tr.want("n", "digest", map[string]map[string]string{"type": {"a": "1"}})
	connect := func(id int64, has map[string]string) {
		t.Helper()
		if err := tr.open(context.Background(), id, ""); err != nil {
			t.Fatal(err)
		}
		r := &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "n"}, TypeUrl: "type", InitialResourceVersions: has}
		if err := tr.request(id, r); err != nil {
			t.Fatal(err)
		}
	}
	connect(1, map[string]string{"a": "1"})
	connect(2, map[string]string{"a": "1"})
	tr.closed(1, nil)
	if st := tr.status("n"); !st.Connected || !st.InForce() {
		t.Errorf("after the end of the old stream: %+v", st)
	}
	tr.closed(2, nil)
	if st := tr.status("n"); st.Connected || st.InForce() {
		t.Errorf("after the end of the last: %+v", st)
	}
	connect(3, nil)
	if st := tr.status("n"); !st.Connected || st.InForce() {
		t.Errorf("an Envoy that starts with nothing: %+v", st)
	}
}

// TestAnotherNodesResources: who has proven to be one node is refused what is another's, in
// the first message and in a later one, and need not say who it is.
func TestAnotherNodesResources(t *testing.T) {
	proven := context.WithValue(context.Background(), nodeKey{}, "shop/web")
	node := func(id string) *discoveryv3.DeltaDiscoveryRequest {
		r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: "type"}
		if id != "" {
			r.Node = &corev3.Node{Id: id}
		}
		return r
	}
	for _, c := range []struct {
		name  string
		asks  []string
		fails int // from 1; 0 for none
	}{
		{"itself", []string{"shop/web", "", "shop/web"}, 0},
		{"another", []string{"shop/database"}, 1},
		{"another later", []string{"shop/web", "shop/database"}, 2},
		{"nobody, then another", []string{"", "shop/database"}, 2},
	} {
		tr := newTracker(slog.New(slog.DiscardHandler))
		if err := tr.open(proven, 1, ""); err != nil {
			t.Fatal(err)
		}
		failed := 0
		for i, id := range c.asks {
			r := node(id)
			if err := tr.request(1, r); err != nil {
				failed = i + 1
				break
			}
			if i == 0 && r.GetNode().GetId() != "shop/web" {
				t.Errorf("%s: asked for as %q", c.name, r.GetNode().GetId())
			}
		}
		if failed != c.fails {
			t.Errorf("%s: message %d was refused, want %d", c.name, failed, c.fails)
		}
	}
}
