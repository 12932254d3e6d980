package snapshot

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// namesApplier writes the names of the next file. Buckets in which nothing goes or comes
// are copied; if as many names as there are now make another number of buckets, all are
// laid out anew, which takes some times as long.
type namesApplier struct {
	*applier
	out      *layout
	copying  bool
	postings []byte
	listed   int64
	gone     []uint64 // hashes of the names that are no more
	// work of one bucket
	list []workNode
	own  []posting
	node []byte
}

// workNode is a name of a bucket that changes.
type workNode struct {
	hash uint64
	name []byte
	own  []posting
}

func (a *applier) writeNames() (int64, error) {
	x := &a.old.names
	slices.SortFunc(a.newNames, func(p, q newName) int {
		return cmp.Or(cmp.Compare(p.hash, q.hash), bytes.Compare(a.nameOf(&p), a.nameOf(&q)),
			cmp.Compare(p.flags&flagExcept, q.flags&flagExcept), cmp.Compare(p.feed, q.feed))
	})
	a.w.begin(secNames)
	n := &namesApplier{applier: a, out: newLayout(a.w, x.key, a.names)}
	buckets := uint32(max(len(x.buckets)-1, 0))
	n.copying = n.out.count == buckets && buckets > 0
	if n.copying {
		copy(n.out.filter, x.filter)
	}
	gone, come := a.goneNames, a.newNames
	for b := range max(buckets, 1) {
		var old []byte
		if buckets > 0 {
			old = x.names[x.buckets[b]:x.buckets[b+1]]
		}
		g, c := 0, 0
		for g < len(gone) && gone[g].bucket == b {
			g++
		}
		for c < len(come) && (buckets == 0 || placeOf(come[c].hash, buckets) == b) {
			c++
		}
		if n.copying {
			n.out.buckets = append(n.out.buckets, uint32(n.out.at))
		}
		if n.copying && g+c == 0 && len(old) <= roomMax {
			n.copyBucket(old)
			continue
		}
		n.changeBucket(old, gone[:g], come[:c])
		gone, come = gone[g:], come[c:]
		if a.wrong || n.out.at > math.MaxUint32 {
			break
		}
	}
	if a.wrong || len(gone)+len(come) > 0 {
		return 0, badDelta("its names do not fit")
	}
	n.clearGone()
	return n.listed, n.out.finish(n.postings)
}

func (x *changes) nameOf(n *newName) []byte { return x.text[n.from:n.to] }

// copyBucket writes a bucket as it is but for feeds and lines.
func (n *namesApplier) copyBucket(old []byte) {
	b := n.w.room(len(old))
	copy(b, old)
	n.out.at += uint64(len(old))
	for len(b) > 0 {
		node := firstNode(b)
		if node == nil {
			n.wrong = true
			return
		}
		n.listed += n.patch(node, &n.postings)
		if node.flags()&flagDeep != 0 {
			n.out.parent(node.name())
		}
		b = b[len(node):]
	}
}

// changeBucket writes a bucket of which names go or come.
func (n *namesApplier) changeBucket(old []byte, gone []goneName, come []newName) {
	n.list, n.own = n.list[:0], n.own[:0]
	for slot := uint32(0); len(old) > 0; slot++ {
		node := firstNode(old)
		if node == nil {
			n.wrong = true
			return
		}
		old = old[len(node):]
		h := n.old.names.hash(node.name(), 0)
		from := len(n.own)
		for i := 0; ; i++ {
			p, ok := n.old.names.posting(node, i)
			if !ok {
				break
			}
			if len(gone) > 0 && gone[0].slot == slot && gone[0].posting == int32(i) {
				gone = gone[1:]
				continue
			}
			if len(gone) > 0 && gone[0].slot == slot && gone[0].posting < 0 {
				continue
			}
			p.feed, p.line = n.move(p.feed, p.line)
			p.flags = plainFlags(p.flags)
			n.own = append(n.own, p)
		}
		if len(gone) > 0 && gone[0].slot == slot && gone[0].posting < 0 {
			gone = gone[1:]
		}
		if len(n.own) == from {
			n.gone = append(n.gone, h)
			continue
		}
		n.list = append(n.list, workNode{h, node.name(), n.own[from:len(n.own):len(n.own)]})
	}
	n.wrong = n.wrong || len(gone) > 0
	n.merge(come)
}

// merge writes the names of list and those that come, both in order.
func (n *namesApplier) merge(come []newName) {
	list := n.list
	for len(list)+len(come) > 0 {
		order := 1
		if len(come) == 0 {
			order = -1
		} else if len(list) > 0 {
			order = cmp.Or(cmp.Compare(list[0].hash, come[0].hash), bytes.Compare(list[0].name, n.nameOf(&come[0])))
		}
		var now workNode
		if order <= 0 {
			now, list = list[0], list[1:]
		}
		if order >= 0 {
			now.hash, now.name = come[0].hash, n.nameOf(&come[0])
			for len(come) > 0 && come[0].hash == now.hash && bytes.Equal(n.nameOf(&come[0]), now.name) {
				now.own = append(now.own, posting{come[0].line, come[0].feed, come[0].flags})
				come = come[1:]
			}
			slices.SortFunc(now.own, func(p, q posting) int {
				return cmp.Or(cmp.Compare(p.flags&flagExcept, q.flags&flagExcept), cmp.Compare(p.feed, q.feed))
			})
		}
		n.write(&now)
	}
}

// write writes a node and its postings.
func (n *namesApplier) write(x *workNode) {
	flags := uint8(0)
	if plain(x.name) > 0 {
		flags = flagDeep
	}
	n.node = append(n.node[:0], make([]byte, nodeHead)...)
	n.node = append(n.node, x.name...)
	if len(x.own) == 1 {
		p := x.own[0]
		binary.LittleEndian.PutUint32(n.node, p.line)
		binary.LittleEndian.PutUint16(n.node[4:], p.feed)
		flags |= p.flags
	} else {
		binary.LittleEndian.PutUint32(n.node, uint32(len(n.postings)/postingSize))
		binary.LittleEndian.PutUint16(n.node[4:], uint16(len(x.own)))
		flags |= flagMany
		for _, p := range x.own {
			flags |= p.flags
			n.postings = p.append(n.postings)
		}
	}
	n.node[6], n.node[7] = flags, uint8(len(x.name))
	n.listed += int64(len(x.own))
	if n.out.count == 0 {
		n.wrong = true // names, where none were announced
		return
	}
	n.out.add(x.hash, n.node)
}

// clearGone computes the words of the filter anew in which a name was that is no more.
func (n *namesApplier) clearGone() {
	if !n.copying {
		return
	}
	x := &n.old.names
	filter := n.out.filter
	size, buckets := uint32(len(filter)), uint32(len(x.buckets)-1)
	slices.Sort(n.gone)
	for i, h := range n.gone {
		word := placeOf(h, size)
		if i > 0 && placeOf(n.gone[i-1], size) == word {
			continue
		}
		filter[word] = 0
		// The buckets that a hash may be in whose place is this word.
		first := uint64(word) << 32 / uint64(size) * uint64(buckets) >> 32
		last := min((uint64(word)+1)<<32/uint64(size)*uint64(buckets)>>32+1, uint64(buckets)-1)
		for b := x.names[x.buckets[first]:x.buckets[last+1]]; ; {
			node := firstNode(b)
			if node == nil {
				break
			}
			b = b[len(node):]
			h := x.hash(node.name(), 0)
			if placeOf(h, size) != word {
				continue
			}
			if _, gone := slices.BinarySearch(n.gone, h); !gone {
				filter[word] |= bitsOf(h)
			}
		}
	}
	for i := range n.newNames {
		h := n.newNames[i].hash
		filter[placeOf(h, size)] |= bitsOf(h)
	}
}
