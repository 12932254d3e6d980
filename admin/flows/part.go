package flows

import (
	"math"
	"sync"
	"sync/atomic"
)

// allowed and denied are the two lists of a part; what a feed alerts on, or an audited policy
// would deny, is with the denied.
const (
	allowed = iota
	denied
)

// part is one of the parts of a store that have a lock each. A group is in one part.
type part struct {
	mu     sync.Mutex
	rows   map[uint64]*row
	groups map[groupKey]*group
	slots  []*row // where readers go along; a flow never moves
	free   []int32
	lists  [2]list
	stats  partStats
	delta  int64 // octets since publish

	// public is what others need not take the lock for.
	public [2]struct{ rows, oldest atomic.Int64 }
}

type partStats struct {
	decisions, merged, expired, collided uint64
	evicted                              [2]uint64
}

// publish tells others what they need to know, and returns by how much the part has grown
// since the last call. The lock is held.
func (p *part) publish() (grown int64) {
	for i := range p.lists {
		l, pub := &p.lists[i], &p.public[i]
		at := int64(math.MaxInt64)
		if l.oldest != nil {
			at = l.oldest.last
		}
		if pub.rows.Load() != l.rows {
			pub.rows.Store(l.rows)
		}
		if pub.oldest.Load() != at {
			pub.oldest.Store(at)
		}
	}
	grown, p.delta = p.delta, 0
	return grown
}
