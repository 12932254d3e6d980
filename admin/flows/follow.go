package flows

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"pavise.dev/pavise/policy"
)

const (
	// mostFollowers may follow at a time; each costs every Add a comparison.
	mostFollowers = 32
	// followBuffer is how many decisions a follower may be behind.
	followBuffer = 256
)

// Event is one decision as a follower gets it.
type Event struct {
	// Flow that the decision belongs to, as it was then, with the decision as its Example.
	Flow Flow `json:"flow"`
	// Lost is how many decisions this follower missed just before this one.
	Lost uint64 `json:"lost,omitempty"`
}

// Follow sends every decision from now on whose flow matches. A reader that is more than 256
// decisions behind loses what comes, and is told with the next event how many that were.
// The channel is closed when the context ends. It is an error if 32 follow already.
func (s *Store) Follow(ctx context.Context, f Filter) (<-chan Event, error) {
	w := &follower{filter: f, events: make(chan Event, followBuffer)}
	if !s.follow.join(w) {
		return nil, fmt.Errorf("flows: %d follow already, which is as many as can: try again when one of them has ended", mostFollowers)
	}
	context.AfterFunc(ctx, func() { s.follow.leave(w) })
	return w.events, nil
}

type following struct {
	mu   sync.Mutex // of changes
	now  atomic.Pointer[[]*follower]
	lost atomic.Uint64
}

type follower struct {
	filter Filter
	mu     sync.Mutex // never held while waiting
	events chan Event
	lost   uint64
	closed bool
}

func (g *following) list() []*follower {
	if l := g.now.Load(); l != nil {
		return *l
	}
	return nil
}

// wants says whether somebody follows who may want a decision of that verdict: what nobody
// wants is not made ready for anybody.
func (g *following) wants(v policy.Verdict) bool {
	return slices.ContainsFunc(g.list(), func(w *follower) bool { return w.filter.Verdict == "" || w.filter.Verdict == v })
}

func (g *following) join(w *follower) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.list()
	if len(old) >= mostFollowers {
		return false
	}
	l := append(slices.Clone(old), w)
	g.now.Store(&l)
	return true
}

func (g *following) leave(w *follower) {
	g.mu.Lock()
	l := slices.DeleteFunc(slices.Clone(g.list()), func(o *follower) bool { return o == w })
	g.now.Store(&l)
	g.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	close(w.events)
}

func (g *following) send(f *Flow) {
	for _, w := range g.list() {
		if w.filter.Match(f) && !w.send(f) {
			g.lost.Add(1)
		}
	}
}

func (w *follower) send(f *Flow) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return true
	}
	select {
	case w.events <- Event{*f, w.lost}:
		w.lost = 0
		return true
	default:
		w.lost++
		return false
	}
}

func (g *following) stats() (now int, lost uint64) { return len(g.list()), g.lost.Load() }
