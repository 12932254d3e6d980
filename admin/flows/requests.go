package flows

import (
	"sync"

	"pavise.dev/pavise/internal/decisions"
)

const idOctets = 32 + 40 // an entry of the ring, and its place in the map

// requests finds the flow of a request id, and of what was not plainly allowed the record
// itself: the latest ids, and as many records as there is room for.
type requests struct {
	mu        sync.Mutex
	most      uint64 // ids
	mostBytes int64  // of records
	ring      []request
	next      uint64 // number of the next id; number n is at n modulo most
	records   uint64 // number from which on records are kept
	bytes     int64
	at        map[uint64]uint64 // number by hash
}

type request struct {
	hash, flow uint64
	record     *decisions.Record // nil where it is not kept
}

func (q *requests) init(idBytes, recordBytes int) {
	q.most, q.mostBytes = uint64(min(mostIDs, idBytes/idOctets)), int64(recordBytes) //nolint:gosec // at most 100,000
	q.at = map[uint64]uint64{}
}

func (q *requests) add(hash, flow uint64, r *decisions.Record, plain bool) {
	if plain {
		r = nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := q.next; n < q.most {
		q.ring = append(q.ring, request{})
	} else {
		q.forget(n - q.most)
		if old := q.ring[n%q.most].hash; q.at[old] == n-q.most {
			delete(q.at, old)
		}
	}
	q.ring[q.next%q.most] = request{hash, flow, r}
	q.at[hash] = q.next
	q.next++
	if r == nil {
		return
	}
	q.bytes += recordBytes(r)
	for ; q.bytes > q.mostBytes; q.records++ {
		q.forget(q.records)
	}
}

// forget lets go of the record of an id.
func (q *requests) forget(n uint64) {
	e := &q.ring[n%q.most]
	if e.record != nil {
		q.bytes -= recordBytes(e.record)
		e.record = nil
	}
	q.records = max(q.records, n)
}

func (q *requests) find(hash uint64) (request, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, ok := q.at[hash]
	if !ok {
		return request{}, false
	}
	return q.ring[n%q.most], true
}

func (q *requests) size() (ids, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.at), len(q.ring)*idOctets + int(q.bytes)
}
