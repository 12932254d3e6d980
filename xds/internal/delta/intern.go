package delta

import (
	"runtime"
	"sync"
	"weak"
)

// interner keeps one value of each digest for as long as somebody else holds it. It is
// safe for concurrent use.
type interner[T any] struct {
	mu     sync.Mutex
	values map[digest]weak.Pointer[T]
}

func newInterner[T any]() *interner[T] { return &interner[T]{values: map[digest]weak.Pointer[T]{}} }

// get is nil if nobody holds one.
func (n *interner[T]) get(id digest) *T {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.values[id].Value()
}

// put returns the value that is kept, which may be one that came first.
func (n *interner[T]) put(id digest, v *T) *T {
	n.mu.Lock()
	defer n.mu.Unlock()
	if there := n.values[id].Value(); there != nil {
		return there
	}
	n.values[id] = weak.Make(v)
	runtime.AddCleanup(v, n.collected, id)
	return v
}

// collected forgets the digest, unless there is a new value of it.
func (n *interner[T]) collected(id digest) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.values[id].Value() == nil {
		delete(n.values, id)
	}
}

func (n *interner[T]) len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.values)
}
