package flows

import (
	"hash/maphash"
	"strings"
	"time"
	"unsafe"

	"pavise.dev/pavise/internal/decisions"
)

// row is a flow as it is kept.
type row struct {
	// What most decisions touch comes first, in two lines of a cache.
	id, check   uint64 // hashes of the key; both are compared, and not its texts
	first, last int64  // UnixNano
	decisions   uint64
	moved       int64 // last when it came to the front of its list
	bytes       int64
	list        *list
	slot        int32
	merged      bool

	newer, older *row
	example      *decisions.Record // never changed once it is here
	group        *group
	feed, alert  decisions.Hit
	key          Key
}

// at returns the row of a key, which it may merge. The lock is held.
func (p *part) at(seeds *[2]maphash.Seed, h hashes, key *Key, gk groupKey) *row {
	if w := p.find(h); w != nil {
		return w
	}
	g := p.group(gk)
	merged := g.admit(key)
	if merged {
		h = hashesOf(seeds, key, h.id&(shards-1))
		if w := p.find(h); w != nil {
			w.merged = true // it may be that of "OPTIONS *"
			return w
		}
	}
	return p.insert(h, key, g, merged)
}

// hashes stand for a key: comparing its texts would fetch each of them from memory. Two keys
// with the same id, of 58 bits, are counted; the decisions of the second are with the first.
// Nobody can bring that about, as the seeds are random.
type hashes struct{ id, check uint64 }

func hashesOf(seeds *[2]maphash.Seed, key *Key, part uint64) hashes {
	return hashes{maphash.Comparable(seeds[0], *key)&^(shards-1) | part, maphash.Comparable(seeds[1], *key)}
}

func (p *part) find(h hashes) *row {
	w := p.rows[h.id]
	if w != nil && w.check != h.check {
		p.stats.collided++
	}
	return w
}

func (p *part) insert(h hashes, key *Key, g *group, merged bool) *row {
	w := &row{id: h.id, check: h.check, key: *key, group: g, merged: merged}
	p.delta += g.take(&w.key)
	// Few values are seen often, and are shared; these are not.
	w.key.Listener = strings.Clone(key.Listener)
	w.key.From, w.key.Verdict = cloned(key.From), cloned(key.Verdict)
	w.key.AuditVerdict, w.key.AuditReason = cloned(key.AuditVerdict), strings.Clone(key.AuditReason)
	if n := len(p.free); n > 0 {
		w.slot, p.free = p.free[n-1], p.free[:n-1]
		p.slots[w.slot] = w
	} else {
		w.slot = int32(len(p.slots)) //nolint:gosec // a flow takes a kilobyte
		p.slots = append(p.slots, w)
	}
	w.bytes = int64(unsafe.Sizeof(*w)) + 64 + // and its places in the map, the slots and the free ones
		int64(len(key.Listener)+len(key.From)+len(key.Verdict)+len(key.AuditVerdict)+len(key.AuditReason))
	p.delta += w.bytes
	p.rows[h.id] = w
	return w
}

// cloned is strings.Clone for a text of a type of its own.
func cloned[T ~string](s T) T { return T(strings.Clone(string(s))) }

// count counts a record into a row.
func (w *row) count(p *part, r *decisions.Record, at time.Time, n uint64, always bool, hold func() *decisions.Record) {
	t := at.UnixNano()
	if w.decisions == 0 || t < w.first {
		w.first = t
	}
	p.stats.decisions = plus(p.stats.decisions, n)
	if w.merged {
		p.stats.merged = plus(p.stats.merged, n)
	}
	w.last = max(w.last, t)
	w.decisions = plus(w.decisions, n)
	isPlain := plain(r)
	fresh := w.example != nil && t-w.moved < int64(exampleAge)
	if fresh && isPlain && !always {
		return
	}
	before := w.bytes
	if t >= w.moved || !fresh {
		if w.example != nil {
			w.bytes -= recordBytes(w.example)
		}
		w.example = hold()
		w.bytes += recordBytes(w.example)
	}
	w.hit(&w.feed, &r.Feed)
	w.hit(&w.alert, &r.Alert)
	p.delta += w.bytes - before
	w.moved = max(w.moved, t)
	to := &p.lists[allowed]
	if !isPlain || w.list == &p.lists[denied] {
		to = &p.lists[denied]
	}
	if w.list != nil {
		w.list.remove(w)
	}
	to.push(w)
}

// hit keeps a copy of the last hit.
func (w *row) hit(mine, its *decisions.Hit) {
	if *its == (decisions.Hit{}) || *its == *mine {
		return
	}
	w.bytes += int64(hitBytes(its) - hitBytes(mine))
	*mine = decisions.Hit{Name: strings.Clone(its.Name), Line: its.Line, Entry: strings.Clone(its.Entry), Asked: strings.Clone(its.Asked)}
}

func hitBytes(h *decisions.Hit) int { return len(h.Name) + len(h.Entry) + len(h.Asked) }

// recordBytes is the memory of a bounded record.
func recordBytes(r *decisions.Record) int64 {
	return int64(unsafe.Sizeof(*r)) + int64(len(r.From)+len(r.Workload)+len(r.Listener)+len(r.Direction)+len(r.Verdict)+len(r.Reason)+
		len(r.Policy)+len(r.Rule)+len(r.AuditVerdict)+len(r.AuditReason)+hitBytes(&r.Feed)+hitBytes(&r.Alert)+
		len(r.Source)+len(r.Destination)+len(r.ServerName)+len(r.Method)+len(r.Host)+len(r.Path)+len(r.Names)+len(r.Headers)+len(r.Query)+
		len(r.Question.Name)+len(r.Question.Type)+len(r.Answer)+len(r.RequestID)+len(r.Detail))
}

// flow is the row as others get it.
func (w *row) flow() Flow {
	return Flow{
		ID: idText(w.id), Key: w.key, Policy: w.example.Policy, Rule: w.example.Rule, Feed: w.feed, Alert: w.alert,
		First: time.Unix(0, w.first).UTC(), Last: time.Unix(0, w.last).UTC(), Count: w.decisions, Example: *w.example, Merged: w.merged,
	}
}

func (p *part) remove(w *row) {
	w.list.remove(w)
	delete(p.rows, w.id)
	p.slots[w.slot] = nil
	p.free = append(p.free, w.slot)
	p.delta -= w.bytes + w.group.give(&w.key)
	if w.group.rows == 0 {
		delete(p.groups, w.group.key)
		p.delta -= w.group.bytes()
	}
}

// list is a list of rows by when they had news.
type list struct {
	newest, oldest *row
	rows           int64
}

func (l *list) push(w *row) {
	w.list, w.older, w.newer = l, l.newest, nil
	if l.newest != nil {
		l.newest.newer = w
	} else {
		l.oldest = w
	}
	l.newest = w
	l.rows++
}

func (l *list) remove(w *row) {
	if w.newer != nil {
		w.newer.older = w.older
	} else {
		l.newest = w.older
	}
	if w.older != nil {
		w.older.newer = w.newer
	} else {
		l.oldest = w.newer
	}
	w.list, w.newer, w.older = nil, nil, nil
	l.rows--
}
