package snapshot

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net/netip"
	"unsafe"
)

const (
	v4Low     = 15                // bits of an address in a border
	v4Dir     = 1<<(32-v4Low) + 1 // items of the directory
	entrySize = 16                // octets of an IPv4 entry in the file
	noParent  = 1<<32 - 1
)

// rec4 is an entry as it was added.
type rec4 struct {
	start, line uint32
	feed        uint16
	bits        uint8
}

// key is what follows the octet that chose the bucket, but for the last two bits.
func (r *rec4) key() uint32 { return r.start << 8 >> (32 - 2*digit) }

func (r *rec4) last() uint32 { return r.start | uint32(1<<(32-r.bits)-1) }

type v4Builder struct {
	bucket [256]chunks[rec4] // by the first octet
	n      int
}

var errTooMany = errors.New("more entries than a snapshot holds")

func (b *v4Builder) add(a netip.Addr, bits int, feed uint16, line uint32) error {
	if b.n >= maxEntries {
		return errTooMany
	}
	b.n++
	a4 := a.As4()
	start := binary.BigEndian.Uint32(a4[:]) & uint32(^uint64(0)<<(32-bits))
	b.bucket[start>>24].add(rec4{start, line, feed, uint8(bits)})
	return nil
}

// write writes the four sections of IPv4 and returns how many entries there are.
func (b *v4Builder) write(w *writer) int64 {
	var items, other []rec4
	out := newV4Writer(w, b.n)
	for i := range b.bucket {
		items = b.bucket[i].drain(items[:0])
		if cap(other) < len(items) {
			other = make([]rec4, len(items), cap(items))
		}
		radix(items, other[:len(items)], (*rec4).key)
		sortRuns(items, (*rec4).key, rec4.compare)
		for j := range items {
			if j > 0 && same4(&items[j], &items[j-1]) {
				continue // listed twice in one feed; the first line counts
			}
			out.add(&items[j])
		}
	}
	*b = v4Builder{}
	return out.finish()
}

// v4Writer writes entries that come in their order, and what follows from them.
type v4Writer struct {
	w       *writer
	borders borders4
	first   []uint32 // entry of each range
	open    []rec4at // entries around the current one, outermost first
	n       uint32
}

// newV4Writer makes one for at most n entries.
func newV4Writer(w *writer, n int) *v4Writer {
	w.begin(secV4Entries)
	if n == 0 {
		return &v4Writer{w: w}
	}
	borders := borders4{dir: make([]uint32, 0, v4Dir), list: make([]uint16, 0, 2*n)}
	return &v4Writer{w: w, first: make([]uint32, 0, n+1), borders: borders}
}

func (o *v4Writer) add(r *rec4) {
	last := r.last()
	if o.borders.add(r.start, last) {
		o.first = append(o.first, o.n)
	}
	for len(o.open) > 0 && o.open[len(o.open)-1].last < r.start {
		o.open = o.open[:len(o.open)-1]
	}
	parent := uint32(noParent)
	if len(o.open) > 0 {
		parent = o.open[len(o.open)-1].at
	}
	o.open = append(o.open, rec4at{last, o.n})
	b := o.w.room(entrySize)
	binary.LittleEndian.PutUint32(b[0:], r.start)
	binary.LittleEndian.PutUint32(b[4:], r.line)
	binary.LittleEndian.PutUint32(b[8:], parent)
	binary.LittleEndian.PutUint32(b[12:], uint32(r.feed)|uint32(r.bits)<<16)
	o.n++
}

// finish writes what is behind the entries and returns how many there are.
func (o *v4Writer) finish() int64 {
	o.w.begin(secV4First)
	if o.n > 0 {
		o.w.write(octets(append(o.first, o.n)))
	}
	o.borders.write(o.w)
	return int64(o.n)
}

type rec4at struct{ last, at uint32 }

func same4(a, b *rec4) bool { return a.start == b.start && a.bits == b.bits && a.feed == b.feed }

// compare orders by start, then the longer after the shorter.
func (r rec4) compare(o rec4) int {
	return cmp.Or(cmp.Compare(r.start, o.start), cmp.Compare(r.bits, o.bits), cmp.Compare(r.feed, o.feed), cmp.Compare(r.line, o.line))
}

// borders4 joins ranges that come in the order of their starts and keeps where they
// begin and end.
type borders4 struct {
	begun bool
	last  uint32 // of the current range
	dir   []uint32
	list  []uint16
}

// add says whether a new range began.
func (b *borders4) add(start, last uint32) bool {
	if b.begun && (start <= b.last || start == b.last+1 && b.last != 1<<32-1) {
		b.last = max(b.last, last)
		return false
	}
	b.end()
	b.begun = true
	b.last = last
	b.put(start)
	return true
}

func (b *borders4) end() {
	if b.begun && b.last != 1<<32-1 {
		b.put(b.last + 1)
	}
}

func (b *borders4) put(border uint32) {
	chunk := int(border >> v4Low)
	for len(b.dir) <= chunk {
		b.dir = append(b.dir, uint32(len(b.list)))
	}
	b.list = append(b.list, uint16(border&(1<<v4Low-1)))
}

func (b *borders4) write(w *writer) {
	w.begin(secV4Dir)
	if b.begun {
		b.end()
		for len(b.dir) < v4Dir {
			b.dir = append(b.dir, uint32(len(b.list)))
		}
		w.write(octets(b.dir))
	}
	w.begin(secV4Borders)
	if b.begun {
		w.write(octets(b.list))
		w.write(zeros[:slack])
	}
}

// octets are the octets of a slice as they lie in memory; little-endian, see Open.
func octets[T uint16 | uint32 | uint64](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*int(unsafe.Sizeof(s[0])))
}
