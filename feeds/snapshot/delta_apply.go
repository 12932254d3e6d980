package snapshot

import (
	"cmp"
	"encoding/binary"
	"io"
	"slices"
)

// applier writes the next file from the old one and the changes.
type applier struct {
	*changes
	old   *Snapshot
	w     *writer
	maps  []lineMap
	wrong bool // something did not fit, and what is written is of no use
}

func (x *changes) apply(old *Snapshot, h *deltaHeader, f io.WriterAt) (Info, error) {
	a := &applier{changes: x, old: old}
	var err error
	if a.maps, err = x.lineMaps(old); err != nil {
		return Info{}, err
	}
	for i := range a.maps {
		a.maps[i].follow(&x.lines[i])
	}
	a.w = newWriter(f)
	a.w.head.key = old.head.key
	a.w.head.names, a.w.head.tlds = uint64(x.names), x.tlds
	a.w.begin(secFeeds)
	a.w.write(x.feeds)
	info := Info{IPv4: a.addresses4(), IPv6: a.addresses6()}
	if info.Names, err = a.writeNames(); err != nil {
		return Info{}, err
	}
	if info.Digest, err = a.w.finish(); err != nil {
		return Info{}, err
	}
	info.Size = int64(a.w.at)
	if a.wrong || info.Digest != h.to || uint64(info.Size) != h.toSize {
		return Info{}, badDelta("it makes %s, not %s", info.Digest, h.to)
	}
	return info, nil
}

// move returns feed and line in the new file of what stays.
func (a *applier) move(feed uint16, line uint32) (uint16, uint32) {
	if int(feed) < len(a.moved) && a.moved[feed] >= 0 {
		if to, ok := a.maps[feed].at(line); ok {
			return uint16(a.moved[feed]), to
		}
	}
	a.wrong = true
	return 0, 0
}

func (a *applier) addresses4() int64 {
	slices.SortFunc(a.new4, func(x, y rec4) int {
		return cmp.Or(cmp.Compare(x.start, y.start), cmp.Compare(x.bits, y.bits), cmp.Compare(x.feed, y.feed))
	})
	out := newV4Writer(a.w, len(a.old.v4.entries)/entrySize+len(a.new4))
	come, gone := a.new4, a.gone4
	entries := a.old.v4.entries
	for i := uint32(0); len(entries) >= entrySize; i++ {
		e := entry4(entries[:entrySize])
		entries = entries[entrySize:]
		if len(gone) > 0 && gone[0] == i {
			gone = gone[1:]
			continue
		}
		feed, line := a.move(e.feed(), e.line())
		r := rec4{e.start(), line, feed, min(e.bits(), 32)}
		for len(come) > 0 && (come[0].key2() < r.key2() || come[0].key2() == r.key2() && come[0].feed < r.feed) {
			out.add(&come[0])
			come = come[1:]
		}
		out.add(&r)
	}
	for i := range come {
		out.add(&come[i])
	}
	a.wrong = a.wrong || len(gone) > 0
	return out.finish()
}

// key2 orders by start and length.
func (r *rec4) key2() uint64 { return uint64(r.start)<<8 | uint64(r.bits) }

func (a *applier) addresses6() int64 {
	order := func(x, y *rec6) int {
		return cmp.Or(x.start.compare(y.start), cmp.Compare(x.bits, y.bits), cmp.Compare(x.feed, y.feed))
	}
	slices.SortFunc(a.new6, func(x, y rec6) int { return order(&x, &y) })
	out := newV6Writer(a.w)
	come, gone := a.new6, a.gone6
	for i := range a.old.v6.count() {
		if len(gone) > 0 && gone[0] == i {
			gone = gone[1:]
			continue
		}
		e := a.old.v6.entry(i)
		feed, line := a.move(e.feed(), e.line())
		r := rec6{e.start(), line, feed, uint8(e.bits())}
		for len(come) > 0 && order(&come[0], &r) < 0 {
			out.add(&come[0])
			come = come[1:]
		}
		out.add(&r)
	}
	for i := range come {
		out.add(&come[i])
	}
	a.wrong = a.wrong || len(gone) > 0
	return out.finish()
}

// patch takes a node of the old file, copied, to the new: feeds and lines are moved, and
// its postings follow it. It returns how many there are.
func (a *applier) patch(n node, postings *[]byte) int64 {
	if n.flags()&flagMany == 0 {
		feed, line := a.move(n.feed(), n.line())
		binary.LittleEndian.PutUint32(n, line)
		binary.LittleEndian.PutUint16(n[4:], feed)
		return 1
	}
	at := len(*postings) / postingSize
	count := int64(0)
	for i := 0; ; i++ {
		p, ok := a.old.names.posting(n, i)
		if !ok {
			break
		}
		p.feed, p.line = a.move(p.feed, p.line)
		*postings = p.append(*postings)
		if count++; len(*postings) > 2*len(a.old.data)+growth {
			a.wrong = true // the same ones again and again
			break
		}
	}
	binary.LittleEndian.PutUint32(n, uint32(at))
	return count
}

func (p posting) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, p.line)
	b = binary.LittleEndian.AppendUint16(b, p.feed)
	return append(b, p.flags, 0)
}
