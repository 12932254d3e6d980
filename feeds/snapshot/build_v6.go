package snapshot

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

const (
	v6Low        = 12                  // bits of the high 32 in a top
	v6Dir        = 1<<(32-3-v6Low) + 1 // items of the directory, which is for 2000::/3
	entry6Size   = 32                  // octets of an IPv6 entry in the file
	globalPrefix = 0b001               // the first three bits of 2000::/3
	globalFirst  = uint64(1) << 61     // the high half of 2000::
	globalEnd    = globalFirst * 2     // of 4000::, where it ends
)

// rec6 is an entry as it was added.
type rec6 struct {
	start u128
	line  uint32
	feed  uint16
	bits  uint8
}

func (r rec6) compare(o rec6) int {
	if c := r.start.compare(o.start); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(r.bits, o.bits), cmp.Compare(r.feed, o.feed), cmp.Compare(r.line, o.line))
}

type v6Builder struct{ list chunks[rec6] }

func (b *v6Builder) add(a netip.Addr, bits int, feed uint16, line uint32) error {
	if b.list.n >= maxEntries {
		return errTooMany
	}
	b.list.add(rec6{u128Of(a).first(bits), line, feed, uint8(bits)})
	return nil
}

// write writes the sections of IPv6 and returns how many entries there are.
func (b *v6Builder) write(w *writer) int64 {
	items := b.list.drain(make([]rec6, 0, b.list.n))
	slices.SortFunc(items, rec6.compare)
	out := newV6Writer(w)
	for i := range items {
		if i > 0 && same6(&items[i], &items[i-1]) {
			continue // listed twice in one feed; the first line counts
		}
		out.add(&items[i])
	}
	return out.finish()
}

func same6(a, b *rec6) bool { return a.start == b.start && a.bits == b.bits && a.feed == b.feed }

// v6Writer writes entries that come in their order, and what follows from them.
type v6Writer struct {
	w       *writer
	borders borders6
	open    []rec6at // entries around the current one, outermost first
	n       uint32
}

func newV6Writer(w *writer) *v6Writer {
	w.begin(secV6Entries)
	return &v6Writer{w: w}
}

func (o *v6Writer) add(r *rec6) {
	last := r.start.last(int(r.bits))
	o.borders.add(r.start, last)
	for len(o.open) > 0 && o.open[len(o.open)-1].last.less(r.start) {
		o.open = o.open[:len(o.open)-1]
	}
	parent := uint32(noParent)
	if len(o.open) > 0 {
		parent = o.open[len(o.open)-1].at
	}
	o.open = append(o.open, rec6at{last, o.n})
	b := o.w.room(entry6Size)
	binary.LittleEndian.PutUint64(b[0:], r.start.hi)
	binary.LittleEndian.PutUint64(b[8:], r.start.lo)
	binary.LittleEndian.PutUint32(b[16:], r.line)
	binary.LittleEndian.PutUint32(b[20:], parent)
	binary.LittleEndian.PutUint64(b[24:], uint64(r.feed)|uint64(r.bits)<<16)
	o.n++
}

// finish writes what is behind the entries and returns how many there are.
func (o *v6Writer) finish() int64 {
	o.borders.write(o.w)
	return int64(o.n)
}

type rec6at struct {
	last u128
	at   uint32
}

// borders6 joins ranges that come in the order of their starts and keeps where they
// begin and end within 2000::/3.
type borders6 struct {
	begun       bool
	start, last u128 // of the current range
	dir         []uint32
	tops        []uint16 // low bits of the high 32 bits, once for those that have borders
	groups      []uint32 // where the borders of a top begin
	mids        []uint32 // bits 32 to 63 of each border
	lows        []uint64 // and bits 64 to 127
	marks       []uint64 // a bit for each border, set where its low is not 0
}

func (b *borders6) add(start, last u128) {
	if b.begun && (!b.last.less(start) || b.last.next() == start && start != (u128{})) {
		if b.last.less(last) {
			b.last = last
		}
		return
	}
	b.end()
	b.begun, b.start, b.last = true, start, last
}

// end puts the borders of the current range, as far as they are in 2000::/3.
func (b *borders6) end() {
	if !b.begun || b.last.hi < globalFirst || b.start.hi >= globalEnd {
		return
	}
	if b.start.hi < globalFirst {
		b.start = u128{globalFirst, 0}
	}
	b.put(b.start)
	if end := b.last.next(); end.hi>>61 == globalPrefix {
		b.put(end)
	}
}

func (b *borders6) put(border u128) {
	top := uint32(border.hi >> 32)
	chunk := int(top << 3 >> (3 + v6Low))
	low := uint16(top & (1<<v6Low - 1))
	if chunk >= len(b.dir) || b.dir[chunk] == uint32(len(b.tops)) || b.tops[len(b.tops)-1] != low {
		for len(b.dir) <= chunk {
			b.dir = append(b.dir, uint32(len(b.tops)))
		}
		b.tops = append(b.tops, low)
		b.groups = append(b.groups, uint32(len(b.mids)))
	}
	b.mids = append(b.mids, uint32(border.hi))
	b.lows = append(b.lows, border.lo)
	at := len(b.lows) - 1
	if at%64 == 0 {
		b.marks = append(b.marks, 0)
	}
	if border.lo != 0 {
		b.marks[at/64] |= 1 << (at % 64)
	}
}

func (b *borders6) write(w *writer) {
	b.end()
	if len(b.mids) > 0 {
		for len(b.dir) < v6Dir {
			b.dir = append(b.dir, uint32(len(b.tops)))
		}
		b.groups = append(b.groups, uint32(len(b.mids)))
	}
	w.begin(secV6Dir)
	w.write(octets(b.dir))
	w.begin(secV6Tops)
	if len(b.tops) > 0 {
		w.write(octets(b.tops))
		w.write(zeros[:slack])
	}
	w.begin(secV6Groups)
	w.write(octets(b.groups))
	w.begin(secV6Mids)
	w.write(octets(b.mids))
	w.begin(secV6Lows)
	w.write(octets(b.lows))
	w.begin(secV6Marks)
	w.write(octets(b.marks))
}
