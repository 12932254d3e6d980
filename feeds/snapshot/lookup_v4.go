package snapshot

import (
	"encoding/binary"
	"net/netip"
)

// v4Index is the part of a file that is about IPv4.
type v4Index struct {
	dir     []uint32
	borders []uint16 // and slack
	first   []uint32
	entries []byte
}

func (x *v4Index) open(s *Snapshot) error {
	x.dir = items[uint32](s.section(secV4Dir))
	x.borders = items[uint16](s.section(secV4Borders))
	x.first = items[uint32](s.section(secV4First))
	x.entries = s.section(secV4Entries)
	if len(x.dir) == 0 {
		if len(x.borders)+len(x.first)+len(x.entries) != 0 {
			return corrupt(sectionNames[secV4Dir], "missing")
		}
		return nil
	}
	if len(x.dir) != v4Dir || len(x.borders) < slack/2 || !ascending(x.dir, len(x.borders)-slack/2) {
		return corrupt(sectionNames[secV4Dir], "it does not fit the borders")
	}
	return nil
}

// rank is how many borders are at or below an address; an odd number says that it is
// listed. The directory is not empty.
func (x *v4Index) rank(ip uint32) uint32 {
	c := ip >> v4Low
	return below(x.borders, x.dir[c], x.dir[c+1], uint16(ip&(1<<v4Low-1)))
}

func (x *v4Index) contains(ip uint32) bool {
	return len(x.dir) != 0 && x.rank(ip)&1 != 0
}

// entry4 is a view of one entry.
type entry4 []byte

func (x *v4Index) entry(i uint32) (entry4, bool) {
	at := uint64(i) * entrySize
	if at+entrySize > uint64(len(x.entries)) {
		return nil, false
	}
	return x.entries[at : at+entrySize], true
}

func (e entry4) start() uint32  { return binary.LittleEndian.Uint32(e) }
func (e entry4) line() uint32   { return binary.LittleEndian.Uint32(e[4:]) }
func (e entry4) parent() uint32 { return binary.LittleEndian.Uint32(e[8:]) }
func (e entry4) feed() uint16   { return binary.LittleEndian.Uint16(e[12:]) }
func (e entry4) bits() uint8    { return e[14] }

func (e entry4) contains(ip uint32) bool { return uint64(e.start()^ip)>>(32-min(e.bits(), 32)) == 0 }

func (e entry4) prefix() netip.Prefix {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], e.start())
	return netip.PrefixFrom(netip.AddrFrom4(b), int(e.bits()))
}

// lookup calls hit with the entries around an address, the longest first.
func (x *v4Index) lookup(ip uint32, hit func(feed uint16, line uint32, p netip.Prefix)) {
	if len(x.dir) == 0 {
		return
	}
	rank := x.rank(ip)
	if rank&1 == 0 {
		return
	}
	// Range number rank/2 begins at its first entry; the one that counts is the last
	// that begins at or below the address.
	r := rank / 2
	if uint64(r)+1 >= uint64(len(x.first)) {
		return // not as a Builder writes it
	}
	from, to := x.first[r], x.first[r+1]
	for from < to {
		middle := from + (to-from)/2
		e, ok := x.entry(middle)
		if ok && e.start() <= ip {
			from = middle + 1
		} else {
			to = middle
		}
	}
	for i := from - 1; ; {
		e, ok := x.entry(i)
		if !ok {
			return
		}
		if e.contains(ip) {
			hit(e.feed(), e.line(), e.prefix())
		}
		if e.parent() >= i { // noParent, or not as a Builder writes it
			return
		}
		i = e.parent()
	}
}
