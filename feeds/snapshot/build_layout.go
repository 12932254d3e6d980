package snapshot

import (
	"errors"
	"math/bits"
	"unsafe"
)

const (
	// load is how many names a bucket is to have.
	load = 8
	// filterBits is how many bits of the filter a name is to have. With four of 64 bits
	// set for each, one name in 50 that is not listed passes.
	filterBits = 10

	// plainLabels: whether a name of so many labels is listed, the filter says of itself
	// and of what is above it. Of longer ones a second filter says whether there is any
	// with the same last labels.
	plainLabels = 3
)

// plain returns where the last plainLabels labels of a name begin; 0 where it has no more.
func plain(name []byte) int {
	if _, three, more := cut(name); more {
		return three
	}
	return 0
}

// bucketsFor is how many buckets so many names get: rounded up to a sixteenth of a power
// of two, so that small changes leave the names where they are.
func bucketsFor(names int) uint32 {
	n := uint32((names + load - 1) / load)
	if size := bits.Len32(n); size > 5 {
		step := uint32(1) << (size - 5)
		n = (n + step - 1) / step * step
	}
	return n
}

// wordsFor is how many words the filters of so many buckets of names have.
func wordsFor(buckets uint32) uint32 { return uint32(uint64(buckets) * load * filterBits / 64) }

var errNames = errors.New("more names than a snapshot holds")

// layout writes nodes, in the order of their hashes, and keeps where their buckets begin
// and the filters.
type layout struct {
	w       *writer
	key     hashKey
	count   uint32 // of buckets
	buckets []uint32
	filter  []uint64
	deep    []uint64
	at      uint64 // octets of names
}

func newLayout(w *writer, key hashKey, names int) *layout {
	count := bucketsFor(names)
	return &layout{
		w: w, key: key, count: count,
		buckets: make([]uint32, 0, count+1), filter: make([]uint64, wordsFor(count)),
	}
}

// add writes a node of the given hash.
func (l *layout) add(h uint64, n node) {
	for bucket := placeOf(h, l.count); len(l.buckets) <= int(bucket); {
		l.buckets = append(l.buckets, uint32(l.at))
	}
	l.filter[placeOf(h, uint32(len(l.filter)))] |= bitsOf(h)
	if n.flags()&flagDeep != 0 {
		l.parent(n.name())
	}
	copy(l.w.room(len(n)), n)
	l.at += uint64(len(n))
}

// parent marks the last labels of a long name. There are few of them, as a rule, so their
// filter is made when the first comes.
func (l *layout) parent(name []byte) {
	if l.deep == nil {
		l.deep = make([]uint64, len(l.filter))
	}
	at := plain(name)
	h := l.key.hash(unsafe.Pointer(&name[at]), len(name)-at)
	l.deep[placeOf(h, uint32(len(l.deep)))] |= bitsOf(h)
}

// finish writes what is behind the names.
func (l *layout) finish(postings []byte) error {
	if l.at > maxNames {
		return errNames
	}
	for l.count > 0 && len(l.buckets) <= int(l.count) {
		l.buckets = append(l.buckets, uint32(l.at))
	}
	l.w.begin(secPostings)
	l.w.write(postings)
	l.w.begin(secBuckets)
	l.w.write(octets(l.buckets))
	l.w.begin(secDeep)
	l.w.write(octets(l.deep))
	l.w.begin(secFilter)
	l.w.write(octets(l.filter))
	return nil
}

// write lays the merged nodes out.
func (m *merger) write(w *writer, key hashKey) error {
	l := newLayout(w, key, m.names)
	w.begin(secNames)
	for _, nodes := range m.nodes.chunks() {
		for at := 0; at < len(nodes); {
			r := record(nodes[at:])
			l.add(r.hash(), node(r[recordHead-nodeHead:r.size()]))
			at += r.size()
		}
	}
	return l.finish(m.postings)
}
