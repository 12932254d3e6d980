package xds

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Status is what one Envoy was given and what it made of that.
type Status struct {
	// Connected is whether a stream of it is open.
	Connected bool `json:"connected"`
	// Wanted is the digest of the model it shall enforce.
	Wanted string `json:"wanted"`
	// Pending is how many resources it has not acknowledged.
	Pending int `json:"pending"`
	// NACK is the last refusal; nil once what was refused has been replaced.
	NACK *NACK `json:"nack,omitempty"`
	// NACKs counts refusals since the start.
	NACKs int `json:"nacks"`
	// InForceAt is when everything was last acknowledged.
	InForceAt time.Time `json:"inForceAt,omitzero"`
}

// InForce reports whether the Envoy has acknowledged all it was given.
func (s Status) InForce() bool { return s.Wanted != "" && s.Pending == 0 && s.NACK == nil }

// NACK is a refusal in Envoy's own words. Envoy goes on with what it had.
type NACK struct {
	Time      time.Time `json:"time"`
	TypeURL   string    `json:"type"`
	Resources []string  `json:"resources"`
	Message   string    `json:"message"`
}

// maxNACK bounds how much of a message is kept: Envoy quotes whole resources.
const maxNACK = 4096

// tracker follows what Envoys acknowledge, from the requests and responses on their
// streams.
type tracker struct {
	log *slog.Logger

	mu      sync.Mutex
	nodes   map[string]*nodeState
	streams map[int64]*streamState
	change  chan struct{}
}

type nodeState struct {
	status Status
	// stream is the latest of its streams: the end of an older one says nothing of it.
	stream int64
	// wanted and acked are versions by type and resource name.
	wanted, acked map[string]map[string]string
}

type streamState struct {
	node string
	// proven is the only name that it may claim; empty where it proves none.
	proven string
	sent   map[string]sent // by nonce
}

type sent struct {
	typeURL  string
	versions map[string]string // empty version: removed
}

func newTracker(log *slog.Logger) *tracker {
	return &tracker{log: log, nodes: map[string]*nodeState{}, streams: map[int64]*streamState{}, change: make(chan struct{})}
}

func (t *tracker) node(name string) *nodeState {
	n, ok := t.nodes[name]
	if !ok {
		n = &nodeState{acked: map[string]map[string]string{}}
		t.nodes[name] = n
	}
	return n
}

func (t *tracker) want(node, digest string, versions map[string]map[string]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.node(node)
	n.wanted, n.status.Wanted = versions, digest
	n.status.NACK = nil // what was refused is replaced or withdrawn
	t.recount(n)
}

// recount is called with the lock held after every change.
func (t *tracker) recount(n *nodeState) {
	n.status.Pending = 0
	for typ, versions := range n.wanted {
		for name, v := range versions {
			if n.acked[typ][name] != v {
				n.status.Pending++
			}
		}
	}
	if n.status.Pending == 0 {
		n.status.InForceAt = time.Now()
	}
	close(t.change)
	t.change = make(chan struct{})
}

func (t *tracker) status(node string) Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n, ok := t.nodes[node]; ok {
		return n.status
	}
	return Status{}
}

func (t *tracker) changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.change
}

func (t *tracker) callbacks() serverv3.CallbackFuncs {
	return serverv3.CallbackFuncs{
		DeltaStreamOpenFunc:     t.open,
		DeltaStreamClosedFunc:   t.closed,
		StreamDeltaRequestFunc:  t.request,
		StreamDeltaResponseFunc: t.response,
	}
}

func (t *tracker) open(ctx context.Context, id int64, _ string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.streams[id] = &streamState{proven: provenNode(ctx), sent: map[string]sent{}}
	return nil
}

func (t *tracker) closed(id int64, _ *corev3.Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.streams[id]; s != nil && s.node != "" {
		if n := t.node(s.node); n.stream == id {
			n.status.Connected = false
			n.acked = map[string]map[string]string{} // the next Envoy starts from nothing
			t.recount(n)
			t.log.Info("envoy disconnected", "node", s.node)
		}
	}
	delete(t.streams, id)
}

func (t *tracker) request(id int64, r *discoveryv3.DeltaDiscoveryRequest) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.streams[id]
	if s == nil {
		return nil
	}
	if s.proven != "" && s.node == "" && r.GetNode() == nil {
		r.Node = &corev3.Node{Id: s.proven}
	}
	// Any message may name a node, and the server believes the last.
	if s.proven != "" && r.GetNode() != nil && r.GetNode().GetId() != s.proven {
		t.log.Error("an Envoy was refused the resources of another", "is", s.proven, "claims", quoted(r.GetNode().GetId()))
		return status.Errorf(codes.PermissionDenied, "the certificate is of node %q, and it asks as another", s.proven)
	}
	if s.node == "" && r.GetNode() != nil {
		s.node = r.GetNode().GetId()
		n := t.node(s.node)
		n.status.Connected, n.stream = true, id
		n.acked = map[string]map[string]string{} // what it still has it says below
		t.log.Info("envoy connected", "node", s.node)
	}
	n := t.node(s.node)
	// An Envoy that reconnects says what it still has.
	if len(r.GetInitialResourceVersions()) > 0 {
		n.acked[r.GetTypeUrl()] = maps.Clone(r.GetInitialResourceVersions())
	}
	what, ok := s.sent[r.GetResponseNonce()]
	if ok {
		delete(s.sent, r.GetResponseNonce())
		t.answered(n, s.node, what, r)
	}
	t.recount(n)
	return nil
}

func (t *tracker) answered(n *nodeState, node string, what sent, r *discoveryv3.DeltaDiscoveryRequest) {
	if e := r.GetErrorDetail(); e != nil {
		names := make([]string, 0, len(what.versions))
		for name := range what.versions {
			names = append(names, name)
		}
		message := e.GetMessage()
		message = message[:min(len(message), maxNACK)]
		n.status.NACKs++
		n.status.NACK = &NACK{Time: time.Now(), TypeURL: what.typeURL, Resources: names, Message: message}
		t.log.Error("envoy refused resources and keeps the last good", "node", node, "type", what.typeURL, "resources", names, "message", message)
		return
	}
	acked := n.acked[what.typeURL]
	if acked == nil {
		acked = map[string]string{}
		n.acked[what.typeURL] = acked
	}
	for name, v := range what.versions {
		if v == "" {
			delete(acked, name)
		} else {
			acked[name] = v
		}
	}
}

func (t *tracker) response(id int64, _ *discoveryv3.DeltaDiscoveryRequest, r *discoveryv3.DeltaDiscoveryResponse) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.streams[id]
	if s == nil {
		return
	}
	versions := map[string]string{}
	for _, x := range r.GetResources() {
		versions[x.GetName()] = x.GetVersion()
	}
	for _, name := range r.GetRemovedResources() {
		versions[name] = ""
	}
	s.sent[r.GetNonce()] = sent{r.GetTypeUrl(), versions}
}
