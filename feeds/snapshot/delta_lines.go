package snapshot

import "slices"

// A feed that loses and gains entries moves the lines of all others. Where to follows
// from where those went and came; what does not follow (a comment that is new) is in the
// breaks of a lineChange.

// lineMap says where the lines of one old feed are in the new one: a line is where the
// first of its 64 is, as far behind it as before, and as many further on as by says. Most
// are none, and a table of octets stays in a processor's cache.
type lineMap struct {
	gone []uint64 // bits: an entry of this line is no more
	come []uint32 // lines of the new feed with an entry that is new, each once

	first []uint32
	by    []int8
	far   map[uint32]uint32 // lines for which by is too small
}

const farAway = -128

func (m *lineMap) lose(line uint32) {
	if int(line/64) < len(m.gone) {
		m.gone[line/64] |= 1 << (line % 64)
	}
}

// at returns where a line is, false if the map does not say.
func (m *lineMap) at(line uint32) (uint32, bool) {
	if int64(line) >= int64(len(m.by)) {
		return 0, false
	}
	by := m.by[line]
	if by == farAway {
		return m.far[line], true
	}
	return m.first[line/64] + line%64 + uint32(int32(by)), true
}

// fill computes the map. At each line from which on that may be so, shift is asked by how
// much it is further on than expected; quiet is the first such line from one on.
func (m *lineMap) fill(length int, quiet func(from uint32) uint32, shift func(line, expected uint32) int64) {
	m.first, m.by = make([]uint32, (length+63)/64), make([]int8, length)
	next, i := uint32(0), 0
	for block := range m.first {
		line := uint32(block) * 64
		for i < len(m.come) && m.come[i] < next {
			i++
		}
		m.first[block] = next
		if m.gone[block] == 0 && (i == len(m.come) || m.come[i] > next+64) && quiet(line) >= line+64 {
			next += 64
			continue
		}
		for ; line < uint32(min(length, block*64+64)); line++ {
			for i < len(m.come) && m.come[i] <= next {
				if m.come[i] == next {
					next++
				}
				i++
			}
			next += uint32(shift(line, next))
			m.set(line, next)
			if m.gone[block]>>(line%64)&1 == 0 {
				next++
			}
		}
	}
}

func (m *lineMap) set(line, to uint32) {
	by := int64(to) - int64(m.first[line/64]) - int64(line%64)
	if by > farAway && by < 128 {
		m.by[line] = int8(by)
		return
	}
	if m.far == nil {
		m.far = map[uint32]uint32{}
	}
	m.by[line], m.far[line] = farAway, to
}

// follow computes the map from what a delta says.
func (m *lineMap) follow(c *lineChange) {
	breaks := c.breaks
	quiet := func(uint32) uint32 {
		if len(breaks) == 0 {
			return 1<<32 - 1
		}
		return breaks[0].line
	}
	m.fill(c.length, quiet, func(line, _ uint32) int64 {
		by := int64(0)
		for len(breaks) > 0 && breaks[0].line <= line {
			by += breaks[0].by
			breaks = breaks[1:]
		}
		return by
	})
}

// find computes the breaks for where lines really are; 0 where nothing is known.
func (m *lineMap) find(really []uint32) []lineBreak {
	var breaks []lineBreak
	m.fill(len(really), func(from uint32) uint32 { return from }, func(line, expected uint32) int64 {
		by := int64(really[line]) - int64(expected)
		if really[line] == 0 || by == 0 {
			return 0
		}
		breaks = append(breaks, lineBreak{line, by})
		return by
	})
	return breaks
}

// lineMaps has a map for each old feed, without where the lines are. It fails where the
// changes name what the old file has not.
func (x *changes) lineMaps(old *Snapshot) ([]lineMap, error) {
	maps := make([]lineMap, len(old.feeds))
	room := lineRoom(old)
	for i := range maps {
		if room -= x.lines[i].length; room < 0 {
			return nil, badDelta("too many lines")
		}
		maps[i].gone = make([]uint64, (x.lines[i].length+63)/64)
	}
	lose := func(feed uint16, line uint32) {
		if int(feed) < len(maps) {
			maps[feed].lose(line)
		}
	}
	for _, i := range x.gone4 {
		e, ok := old.v4.entry(i)
		if !ok {
			return nil, badDelta("IPv4 entry %d is not there", i)
		}
		lose(e.feed(), e.line())
	}
	for _, i := range x.gone6 {
		if i >= old.v6.count() {
			return nil, badDelta("IPv6 entry %d is not there", i)
		}
		e := old.v6.entry(i)
		lose(e.feed(), e.line())
	}
	if err := x.loseNames(old, lose); err != nil {
		return nil, err
	}
	come := make(map[int]*lineMap, len(maps))
	for i, to := range x.moved {
		if to >= 0 {
			come[to] = &maps[i]
		}
	}
	add := func(feed uint16, line uint32) {
		if m := come[int(feed)]; m != nil {
			m.come = append(m.come, line)
		}
	}
	for i := range x.new4 {
		add(x.new4[i].feed, x.new4[i].line)
	}
	for i := range x.new6 {
		add(x.new6[i].feed, x.new6[i].line)
	}
	for i := range x.newNames {
		add(x.newNames[i].feed, x.newNames[i].line)
	}
	for i := range maps {
		slices.Sort(maps[i].come)
		maps[i].come = slices.Compact(maps[i].come)
	}
	return maps, nil
}

// loseNames calls lose with the postings of names that are no more.
func (x *changes) loseNames(old *Snapshot, lose func(feed uint16, line uint32)) error {
	names := &old.names
	for i, g := range x.goneNames {
		if i > 0 && (g.bucket < x.goneNames[i-1].bucket || g.bucket == x.goneNames[i-1].bucket && g.slot < x.goneNames[i-1].slot) {
			return badDelta("names that go are not in order")
		}
		n := names.slot(g.bucket, g.slot)
		if n == nil {
			return badDelta("name %d of bucket %d is not there", g.slot, g.bucket)
		}
		if g.posting >= 0 {
			p, ok := names.posting(n, int(g.posting))
			if !ok {
				return badDelta("posting %d of a name is not there", g.posting)
			}
			lose(p.feed, p.line)
			continue
		}
		for j := 0; ; j++ {
			p, ok := names.posting(n, j)
			if !ok {
				break
			}
			lose(p.feed, p.line)
		}
	}
	return nil
}

// slot returns a node by its place in a bucket, or nil.
func (x *nameIndex) slot(bucket, slot uint32) node {
	if int64(bucket) >= int64(len(x.buckets))-1 {
		return nil
	}
	for b := x.names[x.buckets[bucket]:x.buckets[bucket+1]]; ; slot-- {
		n := firstNode(b)
		if n == nil || slot == 0 {
			return n
		}
		b = b[len(n):]
	}
}

// firstNode is the node that octets begin with, nil if none is there whole.
func firstNode(b []byte) node {
	if len(b) <= nodeHead {
		return nil
	}
	size := nodeHead + int(b[nodeHead-1])
	if size == nodeHead || size > len(b) {
		return nil
	}
	return b[:size:size]
}
