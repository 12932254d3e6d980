package relay

import (
	"time"

	"pavise.dev/pavise/xds"
)

// Source is where what Envoy has came from.
type Source string

const (
	// None is an Envoy that has been given nothing, or none.
	None Source = "none"
	// Disk is the pinned set, since when the control plane has said nothing else.
	Disk Source = "disk"
	// ControlPlane is what the control plane sent, or said that nothing is to be added to.
	ControlPlane Source = "control-plane"
)

// Status is what is known at one moment. What the control plane and Envoy said is in it,
// bounded.
type Status struct {
	Node string `json:"node"`
	// Envoy is whether it is connected to the relay.
	Envoy bool `json:"envoy"`
	// Connected is whether a stream to the control plane is open, and Since when that
	// last changed. There is one only while there is an Envoy.
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`
	Source    Source    `json:"source"`
	// Ready is whether this Envoy has had all that it asked for at some time: since then it
	// has had that, or what it took of it later. A refusal does not change it, so that a bad
	// policy takes no pod out of service.
	Ready bool `json:"ready"`
	// InForce is whether Envoy has acknowledged all that it asked for, and Lacking what
	// else there is to wait for.
	InForce bool   `json:"inForce"`
	Lacking string `json:"lacking,omitempty"`
	// Digest is the control plane's name for the set that was last in force as a whole,
	// its system_version_info, and Wanted that of the last it sent. A change that leaves
	// Envoy's resources as they are is not sent, and so not seen here.
	Digest string `json:"digest,omitempty"`
	Wanted string `json:"wanted,omitempty"`
	// Types of resources, by type URL.
	Types map[string]Versions `json:"types,omitempty"`
	// NACK is the last refusal; nil once what was refused has been replaced. Envoy's own
	// words, or those of the relay, which begin with "relay:".
	NACK *xds.NACK `json:"nack,omitempty"`
	// LastError is why the last stream to the control plane ended; empty once another one
	// has brought something.
	LastError string    `json:"lastError,omitempty"`
	Pinned    PinStatus `json:"pinned"`
	Counts    Counts    `json:"counts"`
}

// Versions of resources by name.
type Versions struct {
	Wanted map[string]string `json:"wanted"`
	Acked  map[string]string `json:"acked"`
}

// PinStatus is what an Envoy would be given without a control plane.
type PinStatus struct {
	// At is when it was acknowledged, or, where it was read at the start, written; zero for
	// none.
	At     time.Time `json:"at,omitzero"`
	Digest string    `json:"digest,omitempty"`
	// OnDisk is whether it is written; until then it is in memory only, and would be lost
	// with the process.
	OnDisk bool `json:"onDisk"`
	// Error is why what was on disk is not used, or why nothing could be written.
	Error string `json:"error,omitempty"`
}

// Counts are since the start.
type Counts struct {
	// NACKs are refusals of Envoy, Refused those of the relay.
	NACKs   int `json:"nacks"`
	Refused int `json:"refused"`
	// Ignored are requests and responses of types that are not relayed, or were not asked
	// for.
	Ignored int `json:"ignored"`
	// Rejected are streams that were not accepted: a second Envoy, or another node.
	Rejected int `json:"rejected"`
	// Streams are those begun to the control plane, whether they opened or not.
	Streams int `json:"streams"`
	// Restored is how many times Envoy was given the pinned set.
	Restored int `json:"restored"`
	// Passed are responses of the control plane that were passed to Envoy.
	Passed int `json:"passed"`
	// AccessLogs are messages of Envoy's access log.
	AccessLogs int64 `json:"accessLogs"`
}

// Status says what is known now.
func (r *Relay) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := Status{
		Node: r.config.Node, Source: None, Digest: r.digest, NACK: r.nack, LastError: r.lastError,
		Since: r.since, Counts: r.counts, Pinned: PinStatus{Error: r.pinError},
		Lacking: "no Envoy is connected",
	}
	st.Counts.AccessLogs = r.accessLogs.Load()
	if r.pinned != nil {
		st.Pinned.At, st.Pinned.Digest, st.Pinned.OnDisk = r.pinned.at, r.pinned.digest, r.pinned == r.onDisk
	}
	if s := r.session; s != nil {
		s.describe(&st)
	}
	return st
}

// Changed is closed at the next change of the status.
func (r *Relay) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// tell is called with the lock held after every change.
func (r *Relay) tell() {
	close(r.changed)
	r.changed = make(chan struct{})
}
