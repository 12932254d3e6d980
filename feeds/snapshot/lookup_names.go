package snapshot

import (
	"bytes"
	"encoding/binary"
	"unsafe"
)

// nameIndex is the part of a file that is about names.
type nameIndex struct {
	key      hashKey
	filter   []uint64
	deep     []uint64
	buckets  []uint32
	names    []byte
	postings []byte
	tlds     bool
	feeds    []Feed
}

func (x *nameIndex) open(s *Snapshot) error {
	x.key = newHashKey(s.head.key)
	x.filter = items[uint64](s.section(secFilter))
	x.deep = items[uint64](s.section(secDeep))
	x.buckets = items[uint32](s.section(secBuckets))
	x.names = s.section(secNames)
	x.postings = s.section(secPostings)
	x.tlds = s.head.tlds
	x.feeds = s.feeds
	switch n := len(x.buckets); {
	case n == 0 && len(x.filter)+len(x.deep)+len(x.names) == 0:
		return nil
	case n < 2 || !ascending(x.buckets, len(x.names)):
		return corrupt(sectionNames[secBuckets], "they do not fit the names")
	case len(x.filter) != int(wordsFor(uint32(n-1))) || len(x.deep) != 0 && len(x.deep) != len(x.filter):
		return corrupt(sectionNames[secFilter], "it does not fit the buckets")
	}
	return nil
}

// node is a view of one node: line, feed, flags, length, name.
type node []byte

func (n node) line() uint32 { return binary.LittleEndian.Uint32(n) }
func (n node) feed() uint16 { return binary.LittleEndian.Uint16(n[4:]) }
func (n node) flags() uint8 { return n[6] }
func (n node) name() []byte { return n[nodeHead:] }

// hash of the name from an offset on.
func (x *nameIndex) hash(name []byte, at int) uint64 {
	return x.key.hash(unsafe.Add(unsafe.Pointer(unsafe.SliceData(name)), at), len(name)-at)
}

// passes says whether a filter that is not empty has a hash.
func passes(filter []uint64, h uint64) bool {
	want := bitsOf(h)
	return filter[placeOf(h, uint32(len(filter)))]&want == want
}

// find returns the node of a name of the given hash, or nil.
func (x *nameIndex) find(h uint64, name []byte) node {
	b := placeOf(h, uint32(len(x.buckets)-1))
	bucket := x.names[x.buckets[b]:x.buckets[b+1]]
	for len(bucket) >= nodeHead {
		size := nodeHead + int(bucket[nodeHead-1])
		if size > len(bucket) {
			return nil // not as a Builder writes it
		}
		n := node(bucket[:size:size])
		if string(n.name()) == string(name) {
			return n
		}
		bucket = bucket[size:]
	}
	return nil
}

// posting is a feed that lists a name.
type posting struct {
	line  uint32
	feed  uint16
	flags uint8
}

// posting returns number i of a node, false behind the last.
func (x *nameIndex) posting(n node, i int) (posting, bool) {
	if n.flags()&flagMany == 0 {
		return posting{n.line(), n.feed(), n.flags()}, i == 0
	}
	at := (uint64(n.line()) + uint64(i)) * postingSize
	if i >= int(n.feed()) || at+postingSize > uint64(len(x.postings)) {
		return posting{}, false
	}
	p := x.postings[at:]
	return posting{binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint16(p[4:]), p[6]}, true
}

// walk calls visit with the nodes of a name and of what is above it, from the last
// labels on, with where in the name they begin; it ends when visit returns false.
func (x *nameIndex) walk(name []byte, visit func(at int, n node) bool) {
	if len(x.filter) == 0 || len(name) == 0 || len(name) > maxName {
		return
	}
	labels, at := 0, len(name)
	for at > 0 {
		at = bytes.LastIndexByte(name[:at-1], '.') + 1
		labels++
		h := x.hash(name, at)
		if passes(x.filter, h) {
			if n := x.find(h, name[at:]); n != nil && !visit(at, n) {
				return
			}
		}
		if labels == plainLabels && (len(x.deep) == 0 || !passes(x.deep, h)) {
			return // there are none below it
		}
		if at > 0 {
			at--
		}
	}
}
