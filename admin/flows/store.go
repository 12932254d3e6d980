package flows

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"math"
	"net/netip"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"pavise.dev/pavise/internal/decisions"
)

// Config of a Store. The zero value can be used.
type Config struct {
	// MaxBytes bounds the memory of the store in octets, as it counts them; 64 MiB when 0,
	// and at least 1 MiB. Three quarters are for flows, one eighth is for the index of
	// request ids, and one for the records of denied requests that have one.
	MaxBytes int
	// Window is how long a flow is kept after its last decision; 1 h when 0.
	Window time.Duration
	// Resolve names the workload, NAMESPACE/NAME, of an address. It is called by Add, by
	// many goroutines, and must not block. nil knows nobody.
	Resolve func(netip.Addr) (workload string, ok bool)
	// Describe says what is known of a workload, NAMESPACE/NAME, or of what else Peer may
	// be; nil for nothing. It is called whenever flows are asked for, by many goroutines, and
	// for each decision while somebody follows; it must not block.
	Describe func(name string) *Context
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

const (
	shards = 64 // a power of two
	// mostValues bounds the peers, ports, names, methods and paths of a group, each.
	mostValues = 64
	// mostRows bounds the flows of a group: beyond it paths and methods are merged, and
	// beyond mostRows and as many again, all values.
	mostRows = 512
	// mostIDs bounds the index of request ids.
	mostIDs = 100_000
	// exampleAge is how old the example of a plain flow may be.
	exampleAge = time.Second
	// aheadBy is how far the clock of whoever sends may be ahead of ours.
	aheadBy = time.Minute
	// sweepEvery is after how many records one more part is rid of what is past its window,
	// and sweepRows how many flows that takes at most.
	sweepEvery, sweepRows = 256, 128
)

// Store keeps flows. Its methods may be called from any goroutine. It starts none.
type Store struct {
	c        Config
	most     int64 // octets of flows
	seeds    [2]maphash.Seed
	parts    [shards]part
	bytes    atomic.Int64
	added    atomic.Uint64
	late     atomic.Uint64
	ids      requests
	follow   following
	nextPart atomic.Uint32
}

// New returns an empty store.
func New(c Config) (*Store, error) {
	c.MaxBytes = cmp.Or(c.MaxBytes, 64<<20)
	c.Window = cmp.Or(c.Window, time.Hour)
	if c.MaxBytes < 1<<20 {
		return nil, fmt.Errorf("flows: MaxBytes %d: a store needs at least 1 MiB", c.MaxBytes)
	}
	if c.Window < 0 {
		return nil, fmt.Errorf("flows: Window %v: it is how long a flow is kept, and cannot be negative", c.Window)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Store{c: c, most: int64(c.MaxBytes) / 4 * 3, seeds: [...]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	for i := range s.parts {
		s.parts[i].rows, s.parts[i].groups = map[uint64]*row{}, map[groupKey]*group{}
	}
	s.ids.init(c.MaxBytes/8, c.MaxBytes/8)
	return s, nil
}

// Add takes a decision. It keeps nothing of the record but a copy. It waits for no reader and
// does no input or output. What is older than the window is counted and not kept; what
// claims to come from the future, is of now.
func (s *Store) Add(r *decisions.Record) {
	nth, n := s.added.Add(1), weight(r)
	now := s.c.Now()
	at := r.Time
	if at.IsZero() || at.Sub(now) > aheadBy {
		at = now
	}
	if now.Sub(at) > s.c.Window {
		addSaturating(&s.late, n)
		return
	}
	var held *decisions.Record // a copy, made once it is needed
	hold := func() *decisions.Record {
		if held == nil {
			c := *r
			c.Time = at.Round(0).UTC() // without the reading of a monotonic clock
			c.Bound()
			held = &c
		}
		return held
	}
	requestID, followed := r.RequestID, s.follow.wants(r.Verdict)
	if followed || !plain(r) || unfit(r) {
		r = hold()
	}
	key := s.keyOf(r)
	gk := groupKey{key.Workload, key.Direction, key.Reason}
	number := maphash.Comparable(s.seeds[0], gk) & (shards - 1)
	p, h := &s.parts[number], hashesOf(&s.seeds, &key, number)
	var f Flow
	p.mu.Lock()
	w := p.at(&s.seeds, h, &key, gk)
	w.count(p, r, at, n, followed, hold)
	if followed {
		f = w.flow()
		f.Example = *held
	}
	id := w.id
	over := s.bytes.Add(p.publish()) > s.most
	p.mu.Unlock()

	if over {
		s.evict()
	}
	if requestID != "" && len(requestID) <= mostID {
		s.ids.add(maphash.String(s.seeds[0], requestID), id, held, plain(r))
	}
	if followed {
		f = s.described(f)
		s.follow.send(&f)
	}
	if nth%sweepEvery == 0 {
		s.sweep(now)
	}
}

// addSaturating keeps to the largest number rather than beginning again at 0.
func addSaturating(c *atomic.Uint64, n uint64) {
	for {
		old := c.Load()
		if c.CompareAndSwap(old, plus(old, n)) {
			return
		}
	}
}

// mostID bounds a request id; a longer one cannot be asked for.
const mostID = 128

// unfit says that a text of the key, or the id, has to be cut or mended before it is used.
// Bounds are those of decisions.Record.Bound.
func unfit(r *decisions.Record) bool {
	ok := func(s string, most int) bool { return s == "" || len(s) <= most && utf8.ValidString(s) }
	return !ok(r.Path, 1024) || !ok(string(r.Names), 2048) || !ok(string(r.Headers), 2048) || !ok(r.Query, 1024) || !ok(r.Host, 255) || !ok(r.ServerName, 255) || !ok(r.Question.Name, 255) || !ok(r.Method, 32) ||
		!ok(r.Source, 255) || !ok(r.Destination, 255) || !ok(r.Reason, 4096) || !ok(r.AuditReason, 4096) || !ok(r.Workload, 508) ||
		!ok(r.Listener, 761) || !ok(string(r.Direction), 32) || !ok(string(r.From), 32) || !ok(string(r.AuditVerdict), 32)
}

// evict makes a little room, for as long as this takes: of the flows without news for longest, allowed
// ones before denied ones. Those cannot have the last quarter, so that they do not hide
// what is usual.
func (s *Store) evict() {
	for range 64 { // others add meanwhile, and make room for what they add
		if s.bytes.Load() <= s.most {
			return
		}
		var rows [2]int64
		for i := range s.parts {
			for j := range rows {
				rows[j] += s.parts[i].public[j].rows.Load()
			}
		}
		which := allowed
		if 3*rows[allowed] < rows[denied] {
			which = denied
		}
		from, oldest := (*part)(nil), int64(math.MaxInt64)
		for i := range s.parts {
			if at := s.parts[i].public[which].oldest.Load(); at < oldest {
				from, oldest = &s.parts[i], at
			}
		}
		if from == nil {
			return
		}
		from.mu.Lock()
		for range 16 {
			w := from.lists[which].oldest
			if w == nil || s.bytes.Load()+from.delta <= s.most-s.most/512 {
				break
			}
			from.stats.evicted[which]++
			from.remove(w)
		}
		s.bytes.Add(from.publish())
		from.mu.Unlock()
	}
}

// sweep rids one part of what is past its window.
func (s *Store) sweep(now time.Time) {
	p := &s.parts[s.nextPart.Add(1)%shards]
	before := now.Add(-s.c.Window).UnixNano()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.lists {
		for range sweepRows {
			w := p.lists[i].oldest
			if w == nil || w.last >= before {
				break
			}
			p.stats.expired++
			p.remove(w)
		}
	}
	s.bytes.Add(p.publish())
}

// Stats count since New.
type Stats struct {
	// Flows, Groups and Bytes are held now; a group is a workload, direction and reason.
	Flows, Groups int
	Bytes         int64
	// RequestIDs can be asked for now.
	RequestIDs int
	// Records were given to Add; those that are not Late stood for Decisions.
	Records, Decisions uint64
	// Merged decisions are in flows that stand for several keys.
	Merged uint64
	// Late decisions were older than the window, and not kept.
	Late uint64
	// EvictedAllowed and EvictedDenied flows made room for others; what has a feed's alert or
	// an audited denial against it, counts as denied.
	EvictedAllowed, EvictedDenied uint64
	// Expired flows were past the window.
	Expired uint64
	// Collided decisions were counted to another flow, for they have the same hash.
	Collided uint64
	// Followers read now; Lost decisions were not sent to one of them, as it was too slow.
	Followers int
	Lost      uint64
}

// Stats returns what was counted so far.
func (s *Store) Stats() Stats {
	t := Stats{Records: s.added.Load(), Late: s.late.Load(), Bytes: s.bytes.Load()}
	for i := range s.parts {
		p := &s.parts[i]
		p.mu.Lock()
		t.Flows += len(p.rows)
		t.Groups += len(p.groups)
		t.Decisions = plus(t.Decisions, p.stats.decisions)
		t.Merged = plus(t.Merged, p.stats.merged)
		t.EvictedAllowed += p.stats.evicted[allowed]
		t.EvictedDenied += p.stats.evicted[denied]
		t.Expired += p.stats.expired
		t.Collided += p.stats.collided
		p.mu.Unlock()
	}
	var idBytes int
	t.RequestIDs, idBytes = s.ids.size()
	t.Bytes += int64(idBytes)
	t.Followers, t.Lost = s.follow.stats()
	return t
}
