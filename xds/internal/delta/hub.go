package delta

import (
	"context"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Config of a Hub.
type Config struct {
	// MaxStreams bounds the streams; 0 for no bound.
	MaxStreams int
	// MaxSyncing bounds the streams that are given their first resources at once.
	MaxSyncing int
	// SyncTime is how long one may count among them.
	SyncTime time.Duration
	// SendTime is how long a client may not read before its stream is ended.
	SendTime time.Duration
	// Logger; not nil.
	Logger *slog.Logger
}

// Hub keeps the nodes and their streams. It is safe for concurrent use.
type Hub struct {
	config  Config
	queue   *queue
	budget  *budget
	changes changes

	mu      sync.Mutex
	nodes   map[string]*node
	streams int
}

// node is one client by name, whether it is connected or not.
type node struct {
	name string

	mu      sync.Mutex
	content *Content // nil: it was not given any yet
	before  *Content // the last but one
	streams []*Stream
	record  Record
	refused *set // that of record.NACK
	push    Push // nil where nobody wants to know
	changes changes
}

// Record is what one client was given and what it made of that.
type Record struct {
	Connected bool
	Since     time.Time // of its latest stream
	Wanted    string    // digest of the content that it shall have
	Acked     string    // digest of the last content that it took over whole
	Pending   int
	NACK      *NACK
	NACKs     int
	InForceAt time.Time
}

// NACK is a refusal in the client's words.
type NACK struct {
	Time      time.Time
	TypeURL   string
	Resources []string
	Message   string
}

// NewHub makes one. Nothing is sent before Work runs.
func NewHub(c Config) *Hub {
	h := &Hub{config: c, queue: newQueue(), nodes: map[string]*node{}}
	h.budget = &budget{max: c.MaxSyncing, time: c.SyncTime, in: map[*Stream]*time.Timer{}, granted: h.queue.add}
	return h
}

// node finds or makes one.
func (h *Hub) node(name string) *node {
	n := h.nodes[name]
	if n == nil {
		n = &node{name: name}
		h.nodes[name] = n
	}
	return n
}

// Set gives a client its content. Who has it already is sent nothing.
func (h *Hub) Set(name string, c *Content) { h.Push(name, c, nil) }

// Push is Set with somebody who wants to know what becomes of it; nil for nobody.
func (h *Hub) Push(name string, c *Content, p Push) {
	h.mu.Lock()
	n := h.node(name)
	n.mu.Lock()
	h.mu.Unlock()
	n.ended(Replaced, "")
	n.push = p
	if n.content != c {
		n.before, n.content = n.content, c
	}
	n.record.Wanted = c.Digest
	if n.refused != nil && c.sets[n.refused.kind] != n.refused {
		n.record.NACK, n.refused = nil, nil // it is replaced or withdrawn
	}
	for _, s := range n.streams {
		s.mu.Lock()
		s.sync(c)
		s.mu.Unlock()
		h.queue.add(s)
	}
	switch {
	case len(n.streams) == 0:
		n.ended(Away, "")
	case n.record.Acked == c.Digest && n.streams[len(n.streams)-1].inForce:
		n.ended(InForce, "") // there was nothing to send
	}
	n.mu.Unlock()
	h.changed(n)
}

// Forget drops what a client was given. One that is connected keeps what it has.
func (h *Hub) Forget(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.nodes[name]
	if n == nil {
		return
	}
	n.mu.Lock()
	n.ended(Replaced, "")
	n.content, n.before, n.record.Wanted, n.record.NACK, n.refused = nil, nil, "", nil, nil
	unused := len(n.streams) == 0
	n.mu.Unlock()
	if unused {
		delete(h.nodes, name)
	}
	h.changed(n)
}

func (h *Hub) changed(n *node) {
	n.changes.tell()
	h.changes.tell()
}

// Changed is closed at the next change of any client. Changes of many within a few
// milliseconds are one.
func (h *Hub) Changed() <-chan struct{} { return h.changes.next() }

// NodeChanged is closed at the next change of one. It is nil for one that is not known.
func (h *Hub) NodeChanged(name string) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.nodes[name]; n != nil {
		return n.changes.next()
	}
	return nil
}

// Record of one client.
func (h *Hub) Record(name string) Record {
	h.mu.Lock()
	n := h.nodes[name]
	h.mu.Unlock()
	if n == nil {
		return Record{}
	}
	return n.get()
}

func (n *node) get() Record {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.record
	if c := n.content; c != nil {
		r.Pending = n.pending(c)
	}
	return r
}

func (n *node) pending(c *Content) int {
	if len(n.streams) == 0 {
		total := 0
		for _, s := range c.sets {
			total += len(s.pieces)
		}
		return total
	}
	s := n.streams[len(n.streams)-1]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proto.pending(c)
}

// All yields the records of all clients, in no order. It holds no lock meanwhile.
func (h *Hub) All() iter.Seq2[string, Record] {
	return func(yield func(string, Record) bool) {
		h.mu.Lock()
		all := make([]*node, 0, len(h.nodes))
		for _, n := range h.nodes {
			all = append(all, n)
		}
		h.mu.Unlock()
		for _, n := range all {
			if !yield(n.name, n.get()) {
				return
			}
		}
	}
}

// Contents are what a client was given, the latest first, and the one before: what it
// reports may be of either.
func (h *Hub) Contents(name string) (latest, before *Content) {
	h.mu.Lock()
	n := h.nodes[name]
	h.mu.Unlock()
	if n == nil {
		return nil, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.content, n.before
}

// Load is how much there is to do.
type Load struct{ Streams, Syncing, Waiting, Queued int }

// Load of now.
func (h *Hub) Load() Load {
	h.mu.Lock()
	l := Load{Streams: h.streams}
	h.mu.Unlock()
	l.Syncing, l.Waiting = h.budget.load()
	l.Queued = h.queue.len()
	return l
}

// Work sends what is to be sent, some at once, until the context ends.
func (h *Hub) Work(ctx context.Context, workers int) { h.queue.work(ctx, workers) }

// left is called with the end of a stream.
func (h *Hub) left(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.streams--
	n := s.node
	if n == nil {
		return
	}
	n.mu.Lock()
	latest := n.streams[len(n.streams)-1] == s
	n.streams = slices.DeleteFunc(n.streams, func(x *Stream) bool { return x == s })
	if len(n.streams) == 0 {
		n.record.Connected = false
		n.ended(Away, "")
		if n.content == nil {
			delete(h.nodes, n.name)
		}
	}
	n.mu.Unlock()
	if latest {
		h.changed(n)
		h.config.Logger.Info("envoy disconnected", "node", n.name)
	}
}
