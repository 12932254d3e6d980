package delta

import (
	"context"
	"sync"
	"time"
)

// slow is how long a worker may be held up by one client before another takes its place.
const slow = 20 * time.Millisecond

// queue is the streams that may have something to be sent, each at most once. It is safe
// for concurrent use.
type queue struct {
	mu      sync.Mutex
	ready   sync.Cond
	streams []*Stream
}

func newQueue() *queue {
	q := &queue{}
	q.ready.L = &q.mu
	return q
}

func (q *queue) add(s *Stream) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !s.queued {
		s.queued = true
		q.streams = append(q.streams, s)
		q.ready.Signal()
	}
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.streams)
}

// take waits for the next; nil at the end.
func (q *queue) take(ctx context.Context) *Stream {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.streams) == 0 && ctx.Err() == nil {
		q.ready.Wait()
	}
	if ctx.Err() != nil {
		return nil
	}
	s := q.streams[0]
	q.streams[0] = nil
	if q.streams = q.streams[1:]; len(q.streams) == 0 {
		q.streams = nil // and the room of a storm with it
	}
	s.queued = false
	return s
}

// work serves the queue with so many goroutines, and one more for each that a client which
// does not read holds up, until the context ends.
func (q *queue) work(ctx context.Context, workers int) {
	stop := context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.ready.Broadcast()
	})
	defer stop()
	var all sync.WaitGroup
	var worker func()
	worker = func() {
		for {
			s := q.take(ctx)
			if s == nil {
				return
			}
			// The group cannot be empty meanwhile: this worker is in it.
			replaced := time.AfterFunc(slow, func() { all.Go(worker) })
			s.pump()
			if !replaced.Stop() {
				return
			}
		}
	}
	for range workers {
		all.Go(worker)
	}
	all.Wait()
}
