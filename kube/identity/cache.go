package identity

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"
)

type key [sha256.Size]byte

// answer is what a review said: a node, or why there is none.
type answer struct {
	namespace, pod, uid string
	expires             time.Time // of the token
	err                 error
}

func (a *answer) node() string { return a.namespace + "/" + a.pod }

// cache keeps answers until a time, and the most recently used of them if there are too
// many. It is safe for concurrent use.
type cache struct {
	max int

	mu     sync.Mutex
	items  map[key]*list.Element
	recent list.List // of *item, the most recent first
}

type item struct {
	key    key
	answer *answer
	until  time.Time
}

func newCache(most int) *cache { return &cache{max: most, items: map[key]*list.Element{}} }

func (c *cache) get(k key, now time.Time) *answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.items[k]
	if e == nil {
		return nil
	}
	it := e.Value.(*item)
	if !now.Before(it.until) {
		c.remove(e)
		return nil
	}
	c.recent.MoveToFront(e)
	return it.answer
}

func (c *cache) put(k key, a *answer, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.items[k]; e != nil {
		c.remove(e)
	}
	c.items[k] = c.recent.PushFront(&item{k, a, until})
	if len(c.items) > c.max {
		c.remove(c.recent.Back())
	}
}

func (c *cache) drop(k key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.items[k]; e != nil {
		c.remove(e)
	}
}

func (c *cache) remove(e *list.Element) {
	delete(c.items, e.Value.(*item).key)
	c.recent.Remove(e)
}

func (c *cache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.items)
}
