package xds

import (
	"context"
	"fmt"
	"iter"
	"time"

	"pavise.dev/pavise/xds/internal/delta"
)

// Status is what one Envoy was given and what it made of that.
type Status struct {
	// Connected is whether a stream of it is open.
	Connected bool `json:"connected"`
	// Wanted is the digest of the model it shall enforce.
	Wanted string `json:"wanted"`
	// Pending is how many resources it has not acknowledged, or has and shall not have.
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

// NodeStatus is the status of one of many.
type NodeStatus struct {
	Status
	// Since is when its latest stream began.
	Since time.Time
	// Acked is the digest of the last resources that it took over as a whole.
	Acked string
}

func statusOf(r delta.Record) NodeStatus {
	s := NodeStatus{Since: r.Since, Acked: r.Acked, Status: Status{
		Connected: r.Connected, Wanted: r.Wanted, Pending: r.Pending, NACKs: r.NACKs, InForceAt: r.InForceAt,
	}}
	if r.NACK != nil {
		n := NACK(*r.NACK)
		s.NACK = &n
	}
	return s
}

// Status says what the Envoy of that name was given and has taken.
func (s *Server) Status(node string) Status { return statusOf(s.hub.Record(node)).Status }

// Nodes are all that were given resources or are connected, in no order. What changes
// meanwhile may be in it or not.
func (s *Server) Nodes() iter.Seq2[string, NodeStatus] {
	return func(yield func(string, NodeStatus) bool) {
		for name, r := range s.hub.All() {
			if !yield(name, statusOf(r)) {
				return
			}
		}
	}
}

// Changed is closed at the next change of any Envoy's status. Changes within a few
// milliseconds are one.
func (s *Server) Changed() <-chan struct{} { return s.hub.Changed() }

// Load is how much a server has to do.
type Load struct {
	// Streams are open; of them Syncing are given their first resources, and Waiting wait
	// for that.
	Streams, Syncing, Waiting int
	// Queued streams may have something to be sent.
	Queued int
}

// Load of now.
func (s *Server) Load() Load { return Load(s.hub.Load()) }

// WaitInForce waits until the Envoy has taken over everything it was last given, or has
// refused some of it, which is an error.
func (s *Server) WaitInForce(ctx context.Context, node string) error {
	for {
		changed := s.hub.NodeChanged(node)
		if changed == nil { // nothing is known of it yet
			changed = s.Changed()
		}
		st := s.Status(node)
		if st.InForce() {
			return nil
		}
		if st.NACK != nil {
			return fmt.Errorf("envoy refused %v: %s", st.NACK.Resources, st.NACK.Message)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for envoy %s: %w", node, context.Cause(ctx))
		}
	}
}
