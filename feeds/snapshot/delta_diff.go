package snapshot

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
)

// differ finds the changes between two files.
type differ struct {
	changes
	old, next *Snapshot
	really    [][]uint32 // by old feed and old line: the new line
	moved     []uint16   // by old feed; noFeed
}

const noFeed = 1<<16 - 1

func diff(old, next *Snapshot) (*changes, error) {
	if old.head.key != next.head.key || len(next.data) > 2*len(old.data)+growth {
		return nil, ErrDeltaTooBig
	}
	d := &differ{old: old, next: next}
	d.feeds = next.section(secFeeds)
	d.names, d.tlds = int(next.head.names), next.head.tlds
	if err := d.feedsAndLines(); err != nil {
		return nil, err
	}
	d.addresses4()
	d.addresses6()
	if err := d.nodes(); err != nil {
		return nil, err
	}
	slices.SortFunc(d.new4, func(a, b rec4) int {
		return cmp.Or(cmp.Compare(a.feed, b.feed), cmp.Compare(a.line, b.line), cmp.Compare(a.start, b.start), cmp.Compare(a.bits, b.bits))
	})
	slices.SortFunc(d.new6, func(a, b rec6) int {
		return cmp.Or(cmp.Compare(a.feed, b.feed), cmp.Compare(a.line, b.line), a.compare(b))
	})
	slices.SortFunc(d.newNames, func(a, b newName) int {
		return cmp.Or(cmp.Compare(a.feed, b.feed), cmp.Compare(a.line, b.line), cmp.Compare(a.from, b.from))
	})
	maps, err := d.lineMaps(old)
	if err != nil {
		return nil, err
	}
	for i := range maps {
		d.lines[i].breaks = maps[i].find(d.really[i])
	}
	return &d.changes, nil
}

// feedsAndLines says which feeds are in both files and makes room for their lines.
func (d *differ) feedsAndLines() error {
	n := len(d.old.feeds)
	d.changes.moved, d.moved = make([]int, n), make([]uint16, n)
	d.lines, d.really = make([]lineChange, n), make([][]uint32, n)
	places := map[string]int{}
	for i, f := range d.next.feeds {
		if _, ok := places[f.Name]; !ok {
			places[f.Name] = i
		}
	}
	after := 0
	for i, f := range d.old.feeds {
		to, ok := places[f.Name]
		if !ok {
			d.changes.moved[i], d.moved[i] = -1, noFeed
			continue
		}
		if to < after {
			return ErrDeltaTooBig // in another order
		}
		after = to + 1
		d.changes.moved[i], d.moved[i] = to, uint16(to)
	}
	length := make([]uint32, n) // of the feeds
	d.old.everyPosting(func(feed uint16, line uint32) {
		if int(feed) < n && d.moved[feed] != noFeed {
			length[feed] = max(length[feed], line)
		}
	})
	room := lineRoom(d.old)
	for i, l := range length {
		if int64(l)+1 > int64(room) {
			return ErrDeltaTooBig
		}
		room -= int(l) + 1
		d.lines[i].length = int(l) + 1
		if d.moved[i] == noFeed {
			d.lines[i].length = 0
		}
		d.really[i] = make([]uint32, d.lines[i].length)
	}
	return nil
}

// everyPosting calls visit with the feed and line of all entries.
func (s *Snapshot) everyPosting(visit func(feed uint16, line uint32)) {
	for i := uint32(0); ; i++ {
		e, ok := s.v4.entry(i)
		if !ok {
			break
		}
		visit(e.feed(), e.line())
	}
	for i := range s.v6.count() {
		visit(s.v6.entry(i).feed(), s.v6.entry(i).line())
	}
	for b := s.names.names; ; {
		n := firstNode(b)
		if n == nil {
			return
		}
		b = b[len(n):]
		for i := 0; ; i++ {
			p, ok := s.names.posting(n, i)
			if !ok {
				break
			}
			visit(p.feed, p.line)
		}
	}
}

// stays says that an entry is in both files, and false if its line cannot be where another
// entry says that the line is: then it goes and comes again.
func (d *differ) stays(feed uint16, line, to uint32) bool {
	known := &d.really[feed][line]
	if *known == 0 {
		*known = to
	}
	return *known == to
}

// feedOf is the place of an old feed among the new.
func (d *differ) feedOf(feed uint16) uint16 {
	if int(feed) < len(d.moved) {
		return d.moved[feed]
	}
	return noFeed
}

func (d *differ) addresses4() {
	a, b := &d.old.v4, &d.next.v4
	for i, j := uint32(0), uint32(0); ; {
		x, okx := a.entry(i)
		y, oky := b.entry(j)
		if !okx && !oky {
			return
		}
		order := -1
		if !okx {
			order = 1
		} else if feed := d.feedOf(x.feed()); oky && feed != noFeed {
			order = cmp.Or(cmp.Compare(x.start(), y.start()), cmp.Compare(x.bits(), y.bits()), cmp.Compare(feed, y.feed()))
		}
		if order == 0 && !d.stays(x.feed(), x.line(), y.line()) || order < 0 {
			d.gone4 = append(d.gone4, i)
		}
		if order == 0 && d.really[x.feed()][x.line()] != y.line() || order > 0 {
			d.new4 = append(d.new4, rec4{y.start(), y.line(), y.feed(), y.bits()})
		}
		if order <= 0 {
			i++
		}
		if order >= 0 {
			j++
		}
	}
}

func (d *differ) addresses6() {
	a, b := &d.old.v6, &d.next.v6
	for i, j := uint32(0), uint32(0); i < a.count() || j < b.count(); {
		order := -1
		var x, y entry6
		if j < b.count() {
			y = b.entry(j)
		}
		if i >= a.count() {
			order = 1
		} else if x = a.entry(i); y != nil {
			if feed := d.feedOf(x.feed()); feed != noFeed {
				order = cmp.Or(x.start().compare(y.start()), cmp.Compare(x.bits(), y.bits()), cmp.Compare(feed, y.feed()))
			}
		}
		if order == 0 && !d.stays(x.feed(), x.line(), y.line()) || order < 0 {
			d.gone6 = append(d.gone6, i)
		}
		if order == 0 && d.really[x.feed()][x.line()] != y.line() || order > 0 {
			d.new6 = append(d.new6, rec6{y.start(), y.line(), y.feed(), uint8(y.bits())})
		}
		if order <= 0 {
			i++
		}
		if order >= 0 {
			j++
		}
	}
}

var errOrder = errors.New("the names of the snapshot are not in order")

// nodes compares the names, which both files have in the order of their hashes.
func (d *differ) nodes() error {
	a, b := &d.old.names, &d.next.names
	restA, restB := a.names, b.names
	bucket := uint32(0) // of the old file
	slot := uint32(0)
	for len(restA) > 0 || len(restB) > 0 {
		x, y := firstNode(restA), firstNode(restB)
		if x == nil && len(restA) > 0 || y == nil && len(restB) > 0 {
			return errOrder
		}
		for at := len(a.names) - len(restA); x != nil && int(a.buckets[bucket+1]) <= at; slot = 0 {
			bucket++
		}
		order := -1
		switch {
		case x == nil:
			order = 1
		case y == nil:
		case string(x.name()) == string(y.name()):
			order = 0
		default:
			order = cmp.Or(cmp.Compare(a.hash(x.name(), 0), b.hash(y.name(), 0)), bytes.Compare(x.name(), y.name()))
		}
		switch {
		case order < 0:
			d.goneNames = append(d.goneNames, goneName{bucket, slot, -1})
		case order > 0:
			d.come(y, 0, -1)
		default:
			d.postings(x, y, bucket, slot)
		}
		if order <= 0 {
			restA = restA[len(x):]
			slot++
		}
		if order >= 0 {
			restB = restB[len(y):]
		}
	}
	return nil
}

// come takes postings from number from to number to of a new node, or to its last, as new.
func (d *differ) come(n node, from, to int) {
	at := uint32(len(d.text))
	d.text = append(d.text, n.name()...)
	for i := from; to < 0 || i < to; i++ {
		p, ok := d.next.names.posting(n, i)
		if !ok {
			return
		}
		d.newNames = append(d.newNames, newName{
			hash: d.next.names.hash(n.name(), 0), line: p.line, from: at, to: uint32(len(d.text)), feed: p.feed, flags: plainFlags(p.flags),
		})
	}
}

// postings compares those of one name.
func (d *differ) postings(x, y node, bucket, slot uint32) {
	before := len(d.goneNames)
	kept := 0
	for i, j := 0, 0; ; {
		p, okp := d.old.names.posting(x, i)
		q, okq := d.next.names.posting(y, j)
		if !okp && !okq {
			break
		}
		order := -1
		if !okp {
			order = 1
		} else if feed := d.feedOf(p.feed); okq && feed != noFeed {
			order = cmp.Or(cmp.Compare(p.flags&flagExcept, q.flags&flagExcept), cmp.Compare(feed, q.feed))
		}
		same := order == 0 && plainFlags(p.flags) == plainFlags(q.flags) && d.stays(p.feed, p.line, q.line)
		if same {
			kept++
		}
		if order <= 0 {
			if !same {
				d.goneNames = append(d.goneNames, goneName{bucket, slot, int32(i)})
			}
			i++
		}
		if order >= 0 {
			if !same {
				d.come(y, j, j+1)
			}
			j++
		}
	}
	if kept == 0 && len(d.goneNames) > before {
		d.goneNames = append(d.goneNames[:before], goneName{bucket, slot, -1})
	}
}

// plainFlags are those that an entry gave.
func plainFlags(flags uint8) uint8 { return flags & uint8(Self|Below|flagExcept) }
