package snapshot

import (
	"encoding/binary"
	"net/netip"
)

// v6Index is the part of a file that is about IPv6.
type v6Index struct {
	dir     []uint32
	tops    []uint16 // and slack
	groups  []uint32
	mids    []uint32
	lows    []uint64
	marks   []uint64
	entries []byte
}

func (x *v6Index) open(s *Snapshot) error {
	x.dir = items[uint32](s.section(secV6Dir))
	x.tops = items[uint16](s.section(secV6Tops))
	x.groups = items[uint32](s.section(secV6Groups))
	x.mids = items[uint32](s.section(secV6Mids))
	x.lows = items[uint64](s.section(secV6Lows))
	x.marks = items[uint64](s.section(secV6Marks))
	x.entries = s.section(secV6Entries)
	if len(x.dir) == 0 {
		if len(x.tops)+len(x.groups)+len(x.mids)+len(x.lows) != 0 {
			return corrupt(sectionNames[secV6Dir], "missing")
		}
		return nil
	}
	switch {
	case len(x.dir) != v6Dir || len(x.tops) < slack/2 || !ascending(x.dir, len(x.tops)-slack/2):
		return corrupt(sectionNames[secV6Dir], "it does not fit the tops")
	case len(x.groups) != len(x.tops)-slack/2+1 || !ascending(x.groups, len(x.mids)):
		return corrupt(sectionNames[secV6Groups], "they do not fit the middles")
	case len(x.lows) != len(x.mids) || len(x.marks) != (len(x.mids)+63)/64:
		return corrupt(sectionNames[secV6Lows], "they do not fit the middles")
	}
	return nil
}

func (x *v6Index) contains(a u128) bool {
	if a.hi>>61 != globalPrefix {
		return len(x.entries) != 0 && x.find(a) != noParent
	}
	if len(x.dir) == 0 {
		return false
	}
	// How many borders are at or below the address; an odd number says it is listed.
	c := a.hi << 3 >> (32 + 3 + v6Low)
	from, to := x.dir[c], x.dir[c+1]
	low := uint16(a.hi >> 32 & (1<<v6Low - 1))
	n := below(x.tops, from, to, low)
	if n == from || x.tops[n-1] != low {
		return x.groups[n]&1 != 0 // no border shares the high 32 bits
	}
	return x.rank(x.groups[n-1], x.groups[n], uint32(a.hi), a.lo)&1 != 0
}

// rank searches the borders from from to to, which share the high 32 bits, for the first
// above an address.
func (x *v6Index) rank(from, to, mid uint32, low uint64) uint32 {
	n := to - from
	if n == 0 {
		return from
	}
	last := from // of those that are at most mid
	for n > 1 {
		half := n / 2
		last += half * atMost(x.mids[last+half], mid)
		n -= half
	}
	found := x.mids[last]
	if found == mid && x.marks[last/64]>>(last%64)&1 != 0 {
		return x.rankLow(from, last+1, mid, low)
	}
	// A border whose low is 0 is at most any address that shares its high 64 bits.
	return last + atMost(found, mid)
}

// rankLow is rank where some of the last borders share the high 64 bits with the address:
// those of single addresses, mostly.
func (x *v6Index) rankLow(from, to, mid uint32, low uint64) uint32 {
	for from < to {
		middle := from + (to-from)/2
		if x.mids[middle] < mid || x.lows[middle] <= low {
			from = middle + 1
		} else {
			to = middle
		}
	}
	return from
}

// atMost is 1 if a is at most b, else 0. A branch would be mispredicted at every other
// step of a search.
func atMost(a, b uint32) uint32 { return uint32((uint64(a) - uint64(b) - 1) >> 63) }

// entry6 is a view of one entry.
type entry6 []byte

func (x *v6Index) entry(i uint32) entry6 { return x.entries[uint64(i)*entry6Size:][:entry6Size] }

func (x *v6Index) count() uint32 { return uint32(min(len(x.entries)/entry6Size, maxEntries)) }

func (e entry6) start() u128 {
	return u128{binary.LittleEndian.Uint64(e), binary.LittleEndian.Uint64(e[8:])}
}
func (e entry6) line() uint32   { return binary.LittleEndian.Uint32(e[16:]) }
func (e entry6) parent() uint32 { return binary.LittleEndian.Uint32(e[20:]) }
func (e entry6) feed() uint16   { return binary.LittleEndian.Uint16(e[24:]) }
func (e entry6) bits() int      { return int(min(e[26], 128)) }

func (e entry6) contains(a u128) bool { return a.first(e.bits()) == e.start() }

// find returns the longest entry around an address, or noParent.
func (x *v6Index) find(a u128) uint32 {
	from, to := uint32(0), x.count()
	for from < to {
		middle := from + (to-from)/2
		if a.less(x.entry(middle).start()) {
			to = middle
		} else {
			from = middle + 1
		}
	}
	if from == 0 {
		return noParent
	}
	return x.around(from-1, a)
}

// around returns the first entry around an address among i and its parents.
func (x *v6Index) around(i uint32, a u128) uint32 {
	for {
		e := x.entry(i)
		if e.contains(a) {
			return i
		}
		if e.parent() >= i { // noParent, or not as a Builder writes it
			return noParent
		}
		i = e.parent()
	}
}

// lookup calls hit with the entries around an address, the longest first.
func (x *v6Index) lookup(a u128, hit func(feed uint16, line uint32, p netip.Prefix)) {
	if len(x.entries) == 0 {
		return
	}
	for i := x.find(a); i != noParent; {
		e := x.entry(i)
		hit(e.feed(), e.line(), netip.PrefixFrom(e.start().addr(), e.bits()))
		if e.parent() >= i {
			return
		}
		i = x.around(e.parent(), a)
	}
}
