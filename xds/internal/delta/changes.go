package delta

import (
	"sync"
	"time"
)

// together is how far apart changes are that wake a waiter apart.
const together = 5 * time.Millisecond

// changes wakes who waits for one. It costs nothing while nobody waits, and a storm of
// them wakes a waiter once every few milliseconds. The zero value is ready.
type changes struct {
	mu      sync.Mutex
	waiters chan struct{} // nil: nobody waits
	told    time.Time
	later   bool // it will be told
}

// next is closed at the next change.
func (c *changes) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiters == nil {
		c.waiters = make(chan struct{})
	}
	return c.waiters
}

func (c *changes) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiters == nil || c.later {
		return
	}
	if wait := together - time.Since(c.told); wait > 0 {
		c.later = true
		time.AfterFunc(wait, c.tellNow)
		return
	}
	c.wake()
}

func (c *changes) tellNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.later = false
	c.wake()
}

// wake is called with the lock held.
func (c *changes) wake() {
	if c.waiters != nil {
		close(c.waiters)
		c.waiters = nil
	}
	c.told = time.Now()
}
