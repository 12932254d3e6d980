package flows

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"

	"pavise.dev/pavise/internal/decisions"
)

const (
	// MaxLimit is how many flows a page has at most.
	MaxLimit = 1000
	// chunk is how many rows a reader looks at before it lets go of the lock.
	chunk = 16
)

// Cursor says where a page ended. The zero value is the beginning.
type Cursor struct {
	last int64
	id   uint64
}

// IsZero says that it is the beginning.
func (c Cursor) IsZero() bool { return c == Cursor{} }

// String is what ParseCursor reads; "" for the beginning.
func (c Cursor) String() string {
	if c.IsZero() {
		return ""
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(c.last)) //nolint:gosec // and back, in ParseCursor
	binary.BigEndian.PutUint64(b[8:], c.id)
	return hex.EncodeToString(b[:])
}

// ParseCursor reads the text of a cursor.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 16 {
		return Cursor{}, &FieldError{"cursor", "it is the next of an earlier page, 32 hexadecimal digits"}
	}
	return Cursor{int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:])}, nil //nolint:gosec // as it was written
}

// MarshalText makes a cursor its String in JSON.
func (c Cursor) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (c *Cursor) UnmarshalText(b []byte) (err error) {
	*c, err = ParseCursor(string(b))
	return err
}

// Page is a part of what was asked for.
type Page struct {
	Flows []Flow `json:"flows"`
	// Next is where the next page begins; the zero value if this is the last one.
	Next Cursor `json:"next,omitzero"`
}

// Query returns at most limit flows, those with the newest decision first, from where the
// cursor says. Pages go back in time while decisions come in: no flow is on two of them, and
// none that had no decision meanwhile is left out. One that had, is in front again, where
// the next query from the beginning finds it. Who wants each flow once, takes All.
func (s *Store) Query(f Filter, c Cursor, limit int) (Page, error) {
	if limit < 1 || limit > MaxLimit {
		return Page{}, &FieldError{"limit", fmt.Sprintf("%d is not from 1 to %d", limit, MaxLimit)}
	}
	newest := make(spots, 0, limit+1)
	oldest := s.oldest()
	s.scan(func(part int, w *row) {
		at := spot{Cursor{w.last, w.id}, part}
		if w.last < oldest || !c.IsZero() && at.compare(c) >= 0 || len(newest) > limit && at.compare(newest[0].Cursor) < 0 {
			return
		}
		if !f.match(&w.key, w) {
			return
		}
		heap.Push(&newest, at)
		if len(newest) > limit+1 {
			heap.Pop(&newest)
		}
	})
	slices.SortFunc(newest, func(a, b spot) int { return b.compare(a.Cursor) })
	p := Page{Flows: make([]Flow, 0, min(limit, len(newest)))}
	if len(newest) > limit {
		newest = newest[:limit]
		p.Next = newest[limit-1].Cursor
	}
	for _, at := range newest {
		if fl, ok := s.parts[at.part].get(at.id); ok { // else it had to go
			p.Flows = append(p.Flows, s.described(fl))
		}
	}
	// Some may have had news since they were found.
	slices.SortStableFunc(p.Flows, func(a, b Flow) int { return b.Last.Compare(a.Last) })
	return p, nil
}

// All goes through the flows that match, each once, in no order. What comes or goes
// meanwhile may be in it or not. The store is not held while yield runs.
func (s *Store) All(f Filter) iter.Seq[Flow] {
	return func(yield func(Flow) bool) {
		oldest := s.oldest()
		for from, more := 0, true; more; from += chunk {
			more = false
			for i := range s.parts {
				var found []Flow
				if s.parts[i].look(from, func(w *row) {
					if w.last >= oldest && f.match(&w.key, w) {
						found = append(found, w.flow())
					}
				}) {
					more = true
				}
				for _, fl := range found {
					if !yield(s.described(fl)) {
						return
					}
				}
			}
		}
	}
}

// Get returns the flow of an id.
func (s *Store) Get(id string) (Flow, bool) {
	n, ok := parseID(id)
	if !ok {
		return Flow{}, false
	}
	f, ok := s.parts[n&(shards-1)].get(n)
	return s.described(f), ok && f.Last.UnixNano() >= s.oldest()
}

// ByRequest returns the flow of one of the latest 100,000 request ids. Its Example is that
// very request if it was denied, alerted on or audited as denied, unless more of those
// came since than there is room for; its RequestID tells. Where the flow is gone, and the
// request is not, the flow has no ID and is of this request alone. Of requests that share
// an id, which their senders may choose, it is the last one.
func (s *Store) ByRequest(requestID string) (Flow, bool) {
	if requestID == "" {
		return Flow{}, false
	}
	q, ok := s.ids.find(maphash.String(s.seeds[0], requestID))
	if !ok || q.record != nil && q.record.RequestID != requestID {
		return Flow{}, false
	}
	f, ok := s.parts[q.flow&(shards-1)].get(q.flow)
	switch {
	case q.record == nil:
		return s.described(f), ok
	case !ok:
		return s.described(s.alone(q.record)), true
	}
	f.Example = *q.record
	return s.described(f), true
}

func (s *Store) alone(r *decisions.Record) Flow {
	return Flow{
		Key: s.keyOf(r), Policy: r.Policy, Rule: r.Rule, Feed: r.Feed, Alert: r.Alert,
		First: r.Time, Last: r.Time, Count: weight(r), Example: *r,
	}
}

// oldest is when the window begins.
func (s *Store) oldest() int64 { return s.c.Now().Add(-s.c.Window).UnixNano() }

func (p *part) get(id uint64) (Flow, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.rows[id]
	if w == nil {
		return Flow{}, false
	}
	return w.flow(), true
}

// scan shows every row. It goes from part to part, a chunk of each in turn: who waits for the
// lock of one, has it before it is wanted here again.
func (s *Store) scan(see func(part int, w *row)) {
	for from, more := 0, true; more; from += chunk {
		more = false
		for i := range s.parts {
			if s.parts[i].look(from, func(w *row) { see(i, w) }) {
				more = true
			}
		}
	}
}

// look shows the rows of one chunk, and says whether there are more.
func (p *part) look(from int, see func(*row)) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.slots[min(from, len(p.slots)):min(from+chunk, len(p.slots))] {
		if w != nil {
			see(w)
		}
	}
	return from+chunk < len(p.slots)
}

// spot is where a row stands in the order of pages.
type spot struct {
	Cursor
	part int
}

func (a spot) compare(b Cursor) int {
	return cmp.Or(cmp.Compare(a.last, b.last), cmp.Compare(a.id, b.id))
}

// spots is a heap with the oldest on top.
type spots []spot

func (h spots) Len() int           { return len(h) }
func (h spots) Less(i, j int) bool { return h[i].compare(h[j].Cursor) < 0 }
func (h spots) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *spots) Push(x any)        { *h = append(*h, x.(spot)) }
func (h *spots) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
