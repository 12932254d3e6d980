package snapshot

import (
	"bytes"
	"compress/flate"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"
)

// changes are what a delta says.
type changes struct {
	feeds []byte // section of the new file
	moved []int  // where each old feed is in the new file, or -1

	gone4, gone6 []uint32 // entries of the old file that are no more
	new4         []rec4   // in the order of feed, line, entry
	new6         []rec6

	names     int // distinct ones of the new file
	tlds      bool
	goneNames []goneName
	newNames  []newName
	text      []byte // of all of them

	lines []lineChange // of each old feed
}

// goneName says that a name, or one posting of it, is no more.
type goneName struct {
	bucket, slot uint32 // where in the old file
	posting      int32  // -1 for all
}

// newName is a posting that is new. Its text is a part of that of the changes.
type newName struct {
	hash     uint64
	line     uint32
	from, to uint32
	feed     uint16
	flags    uint8
}

// lineChange says what lines became of those of one feed, beside what follows from the
// entries that went and came.
type lineChange struct {
	length int // old lines 0 to length-1 are meant
	breaks []lineBreak
}

// lineBreak says by how many the lines from an old one on are further on than expected.
type lineBreak struct {
	line uint32
	by   int64
}

// changeCoder has what the coding of changes learns.
type changeCoder struct {
	*coder
	old   *Snapshot
	most  int // octets of the larger file
	count number

	moved, length, breakGap, breakBy number

	gone4, gone6                       number
	feed4, line4, feed6, line6         number
	bits4, bits6                       number
	start4                             [33]number
	high6, low6                        number
	goneBucket, goneSlot, goneSameSlot number
	gonePosting                        number
	feedName, lineName, flags          number
	tlds                               chance
}

// code codes everything but names and feeds, one way or the other.
func (c *changeCoder) code(x *changes) {
	x.codeFeeds(c)
	codeList(c, &x.gone4, len(c.old.v4.entries)/entrySize, c.ascend(&c.gone4))
	codeList(c, &x.gone6, len(c.old.v6.entries)/entry6Size, c.ascend(&c.gone6))
	codeList(c, &x.new4, c.most/entrySize, c.rec4)
	codeList(c, &x.new6, c.most/entry6Size, c.rec6)
	x.names = c.count.count(c.coder, x.names, c.most/(nodeHead+1))
	x.tlds = c.tlds.flag(c.coder, x.tlds)
	codeList(c, &x.goneNames, c.most/(nodeHead+1), c.goneName)
	codeList(c, &x.newNames, c.most/(nodeHead+1), c.newName)
}

// codeList codes a list that has at most limit items, each after the one before.
func codeList[T any](c *changeCoder, list *[]T, limit int, item func(before, now *T)) {
	n := c.count.count(c.coder, len(*list), limit)
	var before T
	for i := 0; i < n && !c.failed(); i++ {
		if c.decoding {
			*list = append(*list, before)
		}
		item(&before, &(*list)[i])
		before = (*list)[i]
	}
}

// ascend codes places that ascend.
func (c *changeCoder) ascend(gap *number) func(before, now *uint32) {
	return func(before, now *uint32) {
		*now = *before + uint32(gap.count(c.coder, int(*now-*before), maxEntries))
	}
}

func (x *changes) codeFeeds(c *changeCoder) {
	feeds := len(c.old.feeds)
	if c.decoding {
		x.moved, x.lines = make([]int, feeds), make([]lineChange, feeds)
	}
	room := lineRoom(c.old)
	next := 0
	for i := range feeds {
		// Feeds keep their order: how many of the new come before this one, or that it is gone.
		v := 0
		if x.moved[i] >= 0 {
			v = 1 + x.moved[i] - next
		}
		if v = c.moved.count(c.coder, v, MaxFeeds); v == 0 {
			x.moved[i] = -1
			continue
		}
		x.moved[i] = min(next+v-1, MaxFeeds)
		next = x.moved[i] + 1
		l := &x.lines[i]
		l.length = c.length.count(c.coder, l.length, room)
		room -= l.length
		at := uint32(0)
		codeList(c, &l.breaks, l.length, func(_, b *lineBreak) {
			at += uint32(c.breakGap.count(c.coder, int(b.line-at), l.length))
			b.line, b.by = at, c.breakBy.signed(c.coder, b.by)
		})
	}
}

// lineRoom is how many lines the feeds of a file may have together for a delta.
func lineRoom(s *Snapshot) int { return len(s.data)/8 + 1<<20 }

// place codes feed and line of an entry after the one before.
func (c *changeCoder) place(feeds, lines *number, feedBefore uint16, lineBefore uint32, feed uint16, line uint32) (uint16, uint32) {
	f := feeds.count(c.coder, int(feed-feedBefore), MaxFeeds)
	if f > 0 {
		lineBefore = 0
	}
	l := lines.code(c.coder, uint64(line-lineBefore))
	return feedBefore + uint16(f), lineBefore + uint32(l)
}

func (c *changeCoder) rec4(before, r *rec4) {
	r.feed, r.line = c.place(&c.feed4, &c.line4, before.feed, before.line, r.feed, r.line)
	r.bits = uint8(c.bits4.count(c.coder, int(r.bits), 32))
	// A list that is sorted has short steps.
	shift := 32 - r.bits
	step := c.start4[r.bits].signed(c.coder, int64(r.start>>shift)-int64(before.start>>shift))
	r.start = uint32(int64(before.start>>shift)+step) << shift
}

func (c *changeCoder) rec6(before, r *rec6) {
	r.feed, r.line = c.place(&c.feed6, &c.line6, before.feed, before.line, r.feed, r.line)
	r.bits = uint8(c.bits6.count(c.coder, int(r.bits), 128))
	n := min(r.bits, 64)
	r.start.hi = before.start.hi>>(64-n)<<(64-n) + uint64(c.high6.signed(c.coder, int64(r.start.hi>>(64-n)-before.start.hi>>(64-n))))<<(64-n)
	low := uint64(0)
	if r.bits > 64 {
		low = c.low6.code(c.coder, r.start.lo>>(128-r.bits)) << (128 - r.bits)
	}
	r.start.lo = low
}

func (c *changeCoder) goneName(before, g *goneName) {
	// The list begins before the first bucket, as it were: slot and posting come after none.
	step := c.goneBucket.count(c.coder, int(g.bucket-before.bucket), max(len(c.old.names.buckets)-1, 0))
	slots, from := &c.goneSameSlot, before.slot
	if step > 0 {
		slots, from = &c.goneSlot, 0
	}
	g.slot = from + uint32(slots.count(c.coder, int(g.slot-from), c.most))
	g.bucket = before.bucket + uint32(step)
	g.posting = int32(c.gonePosting.count(c.coder, int(g.posting+1), 1<<16)) - 1
}

func (c *changeCoder) newName(before, n *newName) {
	n.feed, n.line = c.place(&c.feedName, &c.lineName, before.feed, before.line, n.feed, n.line)
	n.flags = uint8(c.flags.count(c.coder, int(n.flags), 7))
}

// encode returns the parts of a delta.
func (x *changes) encode(old *Snapshot) ([deltaParts][]byte, error) {
	var parts [deltaParts][]byte
	c := &changeCoder{coder: newEncoder(), old: old, most: 2*len(old.data) + growth}
	c.code(x)
	parts[partChanges] = c.finish()
	halves := halfOf(x.newNames)
	for i, names := range halves {
		model, c := primed(old), newEncoder()
		for _, n := range names {
			model.code(c, nil, x.text[n.from:n.to])
		}
		parts[int(partNames)+i] = c.finish()
	}
	var out bytes.Buffer
	w, err := flate.NewWriterDict(&out, flate.BestCompression, old.section(secFeeds))
	if err != nil {
		return parts, err
	}
	if _, err := w.Write(x.feeds); err != nil {
		return parts, err
	}
	if err := w.Close(); err != nil {
		return parts, err
	}
	parts[partFeeds] = out.Bytes()
	return parts, nil
}

func halfOf(names []newName) [2][]newName {
	return [2][]newName{names[:len(names)/2], names[len(names)/2:]}
}

// primes is how many names of the old file a model reads first. More make the delta a
// little smaller and take as long as names that are new.
const primes = 4000

func primed(old *Snapshot) *nameModel {
	m := newNameModel()
	x := &old.names
	n := len(x.buckets) - 1
	for i := range min(primes, n) {
		b := int(int64(i) * int64(n) / int64(min(primes, n)))
		if bucket := x.names[x.buckets[b]:x.buckets[b+1]]; len(bucket) > nodeHead {
			m.read(bucket[nodeHead:min(nodeHead+int(bucket[nodeHead-1]), len(bucket))])
		}
	}
	return m
}

// decodeChanges reads what encode wrote. That what it says makes sense for the old file is
// for apply to see.
func decodeChanges(old *Snapshot, h *deltaHeader, parts [deltaParts][]byte) (*changes, error) {
	x := &changes{}
	// What a list can have room for in the files, so that a few octets do not decode to
	// more than what they announce to make.
	c := &changeCoder{coder: newDecoder(parts[partChanges]), old: old, most: int(max(h.fromSize, h.toSize))}
	c.code(x)
	if !c.ended() {
		return nil, badDelta("the changes end elsewhere")
	}
	var g errgroup.Group
	var texts [2][]byte
	halves := halfOf(x.newNames)
	for i, names := range halves {
		g.Go(func() error {
			var err error
			texts[i], err = decodeNames(old, newDecoder(parts[int(partNames)+i]), names, h.toSize)
			return err
		})
	}
	var err error
	r := flate.NewReaderDict(bytes.NewReader(parts[partFeeds]), old.section(secFeeds))
	if x.feeds, err = io.ReadAll(io.LimitReader(r, maxFeeds+1)); err != nil || len(x.feeds) > maxFeeds {
		err = badDelta("feeds: %v", err)
	}
	if gerr := g.Wait(); err == nil {
		err = gerr
	}
	if err != nil {
		return nil, err
	}
	for i := range halves[1] {
		halves[1][i].from += uint32(len(texts[0]))
		halves[1][i].to += uint32(len(texts[0]))
	}
	x.text = slices.Concat(texts[0], texts[1])
	return x, nil
}

// decodeNames reads the text of names and hashes it.
func decodeNames(old *Snapshot, c *coder, names []newName, limit uint64) ([]byte, error) {
	model := primed(old)
	var text []byte
	for i := range names {
		from := len(text)
		text = model.code(c, text, nil)
		if c.failed() || len(text) == from || uint64(len(text)) > min(limit, 1<<31) {
			return nil, badDelta("name %d of %d", i, len(names))
		}
		n := &names[i]
		n.from, n.to = uint32(from), uint32(len(text))
		n.hash = old.names.hash(text[from:], 0)
	}
	if !c.ended() {
		return nil, badDelta("the names end elsewhere")
	}
	return text, nil
}
