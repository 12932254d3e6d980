package main

import (
	"sync"

	"pavise.dev/pavise/internal/decisions"
)

// ringSize is how many decisions are kept.
const ringSize = 4096

// ring keeps the latest decisions.
type ring struct {
	mu    sync.Mutex
	items []decisions.Record
	next  int
	lost  int64
}

func (r *ring) add(d decisions.Record) {
	d.Bound()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.items) < ringSize {
		r.items = append(r.items, d)
		return
	}
	r.items[r.next] = d
	r.next = (r.next + 1) % ringSize
	r.lost++
}

// latest returns up to n decisions, newest first.
func (r *ring) latest(n int) []decisions.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]decisions.Record, 0, min(n, len(r.items)))
	for i := range min(n, len(r.items)) {
		at := (r.next - 1 - i + 2*len(r.items)) % len(r.items)
		out = append(out, r.items[at])
	}
	return out
}

// dropped is how many older ones were let go.
func (r *ring) dropped() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}
