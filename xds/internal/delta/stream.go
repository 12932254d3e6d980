package delta

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// maxPerNode bounds the streams of one node; the oldest is ended for a new one. A
	// client that reconnects has two for as long as the end of the first is not noticed.
	maxPerNode = 3
	// maxNACK bounds how much of a message is kept: Envoy quotes whole resources.
	maxNACK = 4096
)

// Transport is what a stream is on.
type Transport interface {
	Context() context.Context
	SendMsg(m any) error
}

// Stream is one client's. Its requests come from one goroutine; responses leave from
// that or from a worker, one at a time.
type Stream struct {
	hub  *Hub
	on   Transport
	end  context.CancelCauseFunc
	node *node // nil until it has said who it is; the reader's, and constant after

	queued  bool // the queue's
	waiting bool // the budget's

	mu       sync.Mutex
	proto    protocol
	sending  bool
	again    bool
	admitted bool
	synced   bool // has had its first resources
	inForce  bool
}

// Open begins a stream; Close ends it. The function ends it for a cause from another
// goroutine: Context of the transport ends with it.
func (h *Hub) Open(on Transport, end context.CancelCauseFunc) (*Stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.config.MaxStreams > 0 && h.streams >= h.config.MaxStreams {
		return nil, status.Errorf(codes.Unavailable, "there are %d streams, which is as many as this control plane takes; ask another", h.streams)
	}
	h.streams++
	return &Stream{hub: h, on: on, end: end, proto: newProtocol()}, nil
}

// Close is called once, when nothing is received any more.
func (s *Stream) Close() {
	s.hub.budget.leave(s)
	s.hub.left(s)
}

// Identify says which node it is of, once, before the first Request.
func (s *Stream) Identify(name string) {
	h := s.hub
	name = strings.Clone(name)
	h.mu.Lock()
	n := h.node(name)
	s.node = n
	n.mu.Lock()
	h.mu.Unlock()
	n.streams = append(n.streams, s)
	if len(n.streams) > maxPerNode {
		n.streams[0].end(errors.New("the node has newer streams"))
	}
	n.record.Connected, n.record.Since = true, time.Now()
	n.mu.Unlock()
	h.changed(n)
	h.config.Logger.Info("envoy connected", "node", name)
}

// Request takes in what the client says, and sends what follows from it.
func (s *Stream) Request(q *discoveryv3.DeltaDiscoveryRequest) error {
	n := s.node
	n.mu.Lock()
	s.mu.Lock()
	no, err := s.proto.request(q, n.content)
	changed := no != nil
	if no != nil {
		n.refuse(no, s)
	}
	if c := n.content; c != nil {
		changed = s.sync(c) || changed
	}
	s.mu.Unlock()
	n.mu.Unlock()
	if changed {
		s.hub.changed(n)
	}
	if err != nil {
		return err
	}
	s.pump()
	return nil
}

// refuse notes a refusal. It is called with the locks held.
func (n *node) refuse(no *refusal, s *Stream) {
	n.record.NACKs++
	message := strings.Clone(no.message[:min(len(no.message), maxNACK)])
	names := no.frame.names()
	s.hub.config.Logger.Error("envoy refused resources and keeps the last good",
		"node", n.name, "type", Types[no.kind], "resources", names, "message", message)
	if n.content == nil || n.content.sets[no.kind] != no.frame.to {
		return // it has been replaced meanwhile
	}
	n.ended(Refused, message)
	n.refused = no.frame.to
	n.record.NACK = &NACK{Time: time.Now(), TypeURL: Types[no.kind], Resources: names, Message: message}
}

// sync notes whether the client has all of the content, and reports a change of that. It is
// called with the locks of the node and the stream held.
func (s *Stream) sync(c *Content) (changed bool) {
	n := s.node
	is := s.proto.inForce(c)
	if n.streams[len(n.streams)-1] == s && is && (!s.inForce || n.record.Acked != c.Digest) {
		n.record.InForceAt, n.record.Acked, n.record.NACK, n.refused = time.Now(), c.Digest, nil, nil
		n.ended(InForce, "")
		changed = true
	}
	changed = changed || is != s.inForce
	s.inForce = is
	if s.admitted && !s.synced && s.proto.synced(c) {
		s.synced = true
		s.hub.budget.leave(s)
	}
	return changed
}

// pump sends what there is to be sent. One goroutine at a time does; what another finds in
// the meantime it leaves to that.
func (s *Stream) pump() {
	s.mu.Lock()
	if s.sending {
		s.again = true
		s.mu.Unlock()
		return
	}
	s.sending = true
	s.mu.Unlock()
	var late *time.Timer
	for {
		m := s.next()
		if m.frame == nil {
			break
		}
		if late == nil {
			late = time.AfterFunc(s.hub.config.SendTime, func() {
				s.end(fmt.Errorf("the client did not read for %s", s.hub.config.SendTime))
			})
		} else {
			late.Reset(s.hub.config.SendTime)
		}
		if err := s.on.SendMsg(m); err != nil {
			s.end(err) // and the reader sees to the rest
		}
	}
	if late != nil {
		late.Stop()
	}
}

// next is the next response; one without a frame ends the sending.
func (s *Stream) next() message {
	n := s.node
	n.mu.Lock()
	c := n.content
	n.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.on.Context().Err() == nil {
		s.again = false
		if c != nil && (s.admitted || s.hub.budget.enter(s)) {
			s.admitted = true
			if f := s.proto.next(c); f != nil {
				return message{f, c}
			}
		}
		if !s.again {
			break
		}
		s.mu.Unlock()
		n.mu.Lock()
		c = n.content
		n.mu.Unlock()
		s.mu.Lock()
	}
	s.sending = false
	return message{}
}
