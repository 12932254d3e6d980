package delta

import (
	"slices"
	"sync"
	"time"
)

// budget admits streams to their first resources: some at once, the others in the order in
// which they came. Each leaves when it has them, when it ends, or when its time is over, so
// that those who do not answer starve nobody.
type budget struct {
	max     int
	time    time.Duration
	granted func(*Stream)

	mu      sync.Mutex
	in      map[*Stream]*time.Timer
	waiting []*Stream
}

// enter reports whether the stream may go on. If not, it waits, and granted is called when
// it may; then enter is true.
func (b *budget) enter(s *Stream) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.in[s]; ok {
		return true
	}
	if len(b.in) < b.max && len(b.waiting) == 0 {
		b.admit(s)
		return true
	}
	if !s.waiting {
		s.waiting = true
		b.waiting = append(b.waiting, s)
	}
	return false
}

func (b *budget) admit(s *Stream) {
	b.in[s] = time.AfterFunc(b.time, func() { b.leave(s) })
}

// leave gives the place to the next. A stream that was granted one and has not come to
// take it keeps it until its time is over.
func (b *budget) leave(s *Stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t, ok := b.in[s]; ok {
		t.Stop()
		delete(b.in, s)
	} else if s.waiting {
		b.waiting = slices.DeleteFunc(b.waiting, func(w *Stream) bool { return w == s })
		s.waiting = false
	}
	for len(b.in) < b.max && len(b.waiting) > 0 {
		next := b.waiting[0]
		b.waiting[0] = nil
		b.waiting = b.waiting[1:]
		next.waiting = false
		b.admit(next)
		b.granted(next)
	}
}

func (b *budget) load() (in, waiting int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.in), len(b.waiting)
}
