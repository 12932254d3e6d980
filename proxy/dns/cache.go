package dns

import (
	"bytes"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// entry is an answer that is kept.
type entry struct {
	*answer
	hash uint64
	bits byte // the octet of the key behind the question
	at   time.Duration
	// upstream that said it.
	upstream string

	// passed is the generation of feeds that have nothing against the answer. In another one
	// it is judged again before it is given.
	passed atomic.Uint64
	// told is when Names was last told of it, on the clock of the resolver.
	told atomic.Int64

	prev, next *entry // in the order of use
}

// entryOverhead is about what an entry takes beside what it points to.
const entryOverhead = 256

// cost is about how many octets of memory an entry takes.
func (e *entry) cost() int {
	n := entryOverhead + cap(e.wire) + 2*cap(e.ttls) + 24*cap(e.addrs) + 16*cap(e.names)
	for _, s := range e.names {
		n += len(s)
	}
	return n
}

// is reports whether an entry answers the question of a key.
func (e *entry) is(key []byte) bool {
	n := len(key) - 1
	return e.bits == key[n] && e.qlen == n && bytes.Equal(e.wire[headerLen:headerLen+n], key[:n])
}

// shards of the cache and of the flights: many enough that workers seldom meet.
const shards = 16

// cache keeps answers, those that were used last, within bounds. Finding, adding and
// evicting take the same time however many there are.
type cache struct {
	seed  maphash.Seed
	shard [shards]cacheShard
	// grace is for how long an entry stays behind its end, for when no upstream answers.
	grace time.Duration
}

type cacheShard struct {
	mu      sync.Mutex
	entries map[uint64]*entry
	used    entry // used.next was used last, used.prev is the next to go
	octets  int

	maxOctets, maxEntries int
	evicted               uint64
}

func newCache(octets, entries int, grace time.Duration) *cache {
	c := &cache{seed: maphash.MakeSeed(), grace: grace}
	for i := range c.shard {
		s := &c.shard[i]
		s.entries = map[uint64]*entry{}
		s.used.prev, s.used.next = &s.used, &s.used
		s.maxOctets, s.maxEntries = (octets+shards-1)/shards, (entries+shards-1)/shards
	}
	return c
}

// hash names a key. The seed is random: nobody can choose names that meet.
func (c *cache) hash(key []byte) uint64 { return maphash.Bytes(c.seed, key) }

// find returns what is kept for a key, which may be over its time by up to the grace.
func (c *cache) find(hash uint64, key []byte, now time.Duration) (e *entry, fresh bool) {
	s := &c.shard[hash%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	e = s.entries[hash]
	if e == nil || !e.is(key) {
		return nil, false
	}
	age := now - e.at
	if age >= e.life && (!e.positive || age >= e.life+c.grace) {
		s.remove(e)
		return nil, false
	}
	e.unlink()
	s.pushFront(e)
	return e, age < e.life
}

// add keeps an entry instead of what there was for its key. What alone is over the bounds
// is not kept.
func (c *cache) add(e *entry) {
	s := &c.shard[e.hash%shards]
	cost := e.cost()
	if cost > s.maxOctets || s.maxEntries < 1 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.entries[e.hash]; old != nil {
		s.remove(old)
	}
	for s.octets+cost > s.maxOctets || len(s.entries) >= s.maxEntries {
		s.remove(s.used.prev)
		s.evicted++
	}
	s.entries[e.hash] = e
	s.octets += cost
	s.pushFront(e)
}

func (e *entry) unlink() { e.prev.next, e.next.prev = e.next, e.prev }

func (s *cacheShard) pushFront(e *entry) {
	e.prev, e.next = &s.used, s.used.next
	e.prev.next, e.next.prev = e, e
}

func (s *cacheShard) remove(e *entry) {
	e.unlink()
	e.prev, e.next = nil, nil
	delete(s.entries, e.hash)
	s.octets -= e.cost()
}

// size says how much is kept.
func (c *cache) size() (entries, octets int, evicted uint64) {
	for i := range c.shard {
		s := &c.shard[i]
		s.mu.Lock()
		entries += len(s.entries)
		octets += s.octets
		evicted += s.evicted
		s.mu.Unlock()
	}
	return entries, octets, evicted
}
