package relay

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

const listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"

// Listener is one that Envoy has in force, as the last set has it that was acknowledged as a
// whole; nil if there is none of that name.
func (r *Relay) Listener(name string) *listenerv3.Listener {
	var l listenerv3.Listener
	if x := r.listener(name); x == nil || x.GetResource().UnmarshalTo(&l) != nil {
		return nil
	}
	return &l
}

// Version of a listener; empty if there is none of that name.
func (r *Relay) Version(name string) string { return r.listener(name).GetVersion() }

func (r *Relay) listener(name string) *resource {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pinned == nil {
		return nil
	}
	return r.pinned.types[listenerType][name]
}
