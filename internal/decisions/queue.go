package decisions

import (
	"context"
	"sync"
	"time"
)

// queue is a bounded queue of records between Add and one sink. put may be called from
// anywhere; the rest is for the one goroutine that writes, except for stop and stats.
type queue struct {
	mostRecords, mostOctets int
	wake                    chan struct{} // something was put, or the queue was closed
	closing                 chan struct{} // closed with the queue

	mu      sync.Mutex
	items   []*Record // waiting
	writing []*Record // taken and not yet settled; they count as queued
	octets  int       // of both
	queued  Tally     // of both
	written Tally
	records uint64
	dropped [len(Drops)]Tally // as Drops
	closed  bool              // nothing more comes
	stopped bool              // nothing more goes
}

func newQueue(records, octets int) *queue {
	return &queue{mostRecords: records, mostOctets: octets, wake: make(chan struct{}, 1), closing: make(chan struct{})}
}

// put takes a record in, or drops it. A plain allow may use half of the bounds.
func (q *queue) put(r *Record) {
	size := r.octets()
	q.mu.Lock()
	defer q.mu.Unlock()
	records, octets := q.mostRecords, q.mostOctets
	if r.plain() {
		records, octets = (records+1)/2, octets/2
	}
	switch {
	case q.closed:
		q.drop(r, Stopped)
		return
	case len(q.items)+len(q.writing) >= records || q.octets+size > octets:
		q.drop(r, QueueFull)
		return
	}
	q.items = append(q.items, r)
	q.octets += size
	q.queued.add(r.Verdict, r.weight())
	q.signal()
}

func (q *queue) drop(r *Record, why Drop) {
	for i, d := range Drops {
		if d == why {
			q.dropped[i].add(r.Verdict, r.weight())
		}
	}
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// close says that nothing more is put. It is called once.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	close(q.closing)
	q.signal()
}

// stop drops what is not written; what a sink does later changes nothing any more.
func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.writing {
		q.drop(r, Stopped)
	}
	for _, r := range q.items {
		q.drop(r, Stopped)
	}
	q.items, q.writing, q.octets, q.queued = nil, nil, 0, Tally{}
	q.closed, q.stopped = true, true
}

// take waits for records and takes at most that many of them, and no more octets than one
// record exceeds. It waits up to linger for there to be that many. It returns nil when the
// queue is closed and empty, or the context ends.
func (q *queue) take(ctx context.Context, records, octets int, linger time.Duration) []*Record {
	if !q.wait(ctx, func() bool { return len(q.items) > 0 || q.closed }) {
		return nil
	}
	if linger > 0 {
		full := func() bool { return len(q.items) >= records || q.octets >= octets || q.closed }
		lingering, cancel := context.WithTimeout(ctx, linger)
		q.wait(lingering, full)
		cancel()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < min(records, len(q.items)) && size < octets {
		size += q.items[n].octets()
		n++
	}
	if n == 0 {
		return nil
	}
	q.writing = append([]*Record(nil), q.items[:n]...)
	clear(q.items[:n])
	if q.items = q.items[n:]; len(q.items) == 0 {
		q.items = nil // an idle queue holds no memory
	}
	return q.writing
}

// wait returns true when the condition holds, false when the context has ended.
func (q *queue) wait(ctx context.Context, holds func() bool) bool {
	for {
		q.mu.Lock()
		yes := holds()
		q.mu.Unlock()
		if yes {
			return true
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return false
		}
	}
}

// settle accounts for the first n records of what was taken: written where why is empty,
// else dropped.
func (q *queue) settle(n int, why Drop) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return
	}
	for _, r := range q.writing[:n] {
		q.octets -= r.octets()
		q.queued.sub(r.Verdict, r.weight())
		if why == "" {
			q.written.add(r.Verdict, r.weight())
			q.records++
		} else {
			q.drop(r, why)
		}
	}
	q.writing = q.writing[n:]
}

func (q *queue) stats() OutputStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := OutputStats{
		Written: q.written, Records: q.records, Dropped: map[Drop]Tally{},
		Queued: q.queued, QueuedRecords: len(q.items) + len(q.writing), QueuedOctets: q.octets,
	}
	for i, d := range Drops {
		s.Dropped[d] = q.dropped[i]
	}
	return s
}
