package snapshot

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"unsafe"
)

const (
	maxName = 253 // octets, RFC 1035 section 2.3.4 without the dots at both ends

	nodeHead    = 8
	postingSize = 8
)

// Flags of a node or posting, beside Self and Below.
const (
	flagExcept = 1 << 2
	// flagMany says that line is where the node's postings begin and feed how many follow.
	flagMany = 1 << 3
	// flagDeep says that the name has more than plainLabels labels.
	flagDeep = 1 << 4
)

// nameBuilder keeps names in 256 lists by the first octet of their hash.
type nameBuilder struct {
	key    hashKey
	bucket [256]nameList
	tlds   bool // there are names of one label
}

// nameList is a list of records: hash, line, feed, flags, length, name.
type nameList struct {
	octetList
	size int // octets
}

// octetList is a list of records that grows without being copied. None lies in two chunks.
type octetList struct {
	full [][]byte
	last []byte
}

const (
	recordHead = 16
	listChunk  = 16 << 10
)

// room is where the next n octets go, in a chunk of free if it has one.
func (l *octetList) room(n int, free *[][]byte) []byte {
	if cap(l.last)-len(l.last) < n {
		if l.last != nil {
			l.full = append(l.full, l.last)
		}
		if k := len(*free) - 1; k >= 0 {
			l.last, *free = (*free)[k], (*free)[:k]
		} else {
			l.last = make([]byte, 0, listChunk)
		}
	}
	at := len(l.last)
	l.last = l.last[:at+n]
	return l.last[at:]
}

// chunks are all of them.
func (l *octetList) chunks() [][]byte {
	if l.last == nil {
		return l.full
	}
	return append(l.full, l.last)
}

func (l *nameList) add(h uint64, name []byte, flags uint8, feed uint16, line uint32) {
	var free [][]byte
	r := l.room(recordHead+len(name), &free)
	binary.LittleEndian.PutUint64(r, h)
	binary.LittleEndian.PutUint32(r[8:], line)
	binary.LittleEndian.PutUint16(r[12:], feed)
	r[14] = flags
	r[15] = uint8(len(name))
	copy(r[recordHead:], name)
	l.size += len(r)
}

func (b *nameBuilder) add(name []byte, flags uint8, feed uint16, line uint32) {
	switch at := plain(name); {
	case at > 0:
		flags |= flagDeep
	case bytes.IndexByte(name, '.') < 0:
		b.tlds = true
	}
	h := b.key.hash(unsafe.Pointer(&name[0]), len(name))
	b.bucket[h>>56].add(h, name, flags, feed, line)
}

// record is a view of one in a list.
type record []byte

func (r record) hash() uint64 { return binary.LittleEndian.Uint64(r) }
func (r record) line() uint32 { return binary.LittleEndian.Uint32(r[8:]) }
func (r record) feed() uint16 { return binary.LittleEndian.Uint16(r[12:]) }
func (r record) flags() uint8 { return r[14] }
func (r record) name() []byte { return r[recordHead : recordHead+int(r[15])] }
func (r record) size() int    { return recordHead + int(r[15]) }

// place is a record while its list is sorted.
type place struct {
	hash uint64
	at   uint32
}

// key is what follows the octet that chose the list; there are few with the same.
func (p *place) key() uint32 { return uint32(p.hash << 8 >> (64 - 2*digit)) }

// sorter has what sorting one list after the other needs.
type sorter struct {
	data          []byte
	places, other []place
}

// sort calls m.add with the records of a list in the order of hash, name, exception, feed
// and line. The list is empty then, and its chunks are m's to use.
func (s *sorter) sort(l *nameList, m *merger) {
	s.data, s.places = s.data[:0], s.places[:0]
	if cap(s.data) < l.size {
		s.data = make([]byte, 0, l.size+l.size/8)
	}
	for _, part := range l.chunks() {
		s.data = append(s.data, part...)
		m.free = append(m.free, part[:0])
	}
	for at := 0; at < len(s.data); {
		r := record(s.data[at:])
		s.places = append(s.places, place{r.hash(), uint32(at)})
		at += r.size()
	}
	*l = nameList{}
	if cap(s.other) < len(s.places) {
		s.other = make([]place, cap(s.places))
	}
	radix(s.places, s.other[:len(s.places)], (*place).key)
	sortRuns(s.places, (*place).key, s.compare)
	for _, p := range s.places {
		m.add(s.data[p.at:])
	}
}

func (s *sorter) compare(a, b place) int {
	if a.hash != b.hash {
		return cmp.Compare(a.hash, b.hash)
	}
	x, y := record(s.data[a.at:]), record(s.data[b.at:])
	if c := bytes.Compare(x.name(), y.name()); c != 0 {
		return c
	}
	return cmp.Or(
		cmp.Compare(x.flags()&flagExcept, y.flags()&flagExcept),
		cmp.Compare(x.feed(), y.feed()),
		cmp.Compare(x.line(), y.line()))
}

// write writes the four sections of names and returns how many are listed.
func (b *nameBuilder) write(w *writer) (int64, error) {
	var m merger
	var s sorter
	for i := range b.bucket {
		s.sort(&b.bucket[i], &m)
	}
	m.end()
	s = sorter{}
	w.head.names, w.head.tlds = uint64(m.names), b.tlds
	return m.listed, m.write(w, b.key)
}

// merger makes one node of all records of a name.
type merger struct {
	nodes    octetList // each as a record, in the order of the hashes
	free     [][]byte  // chunks for more
	current  []byte    // record of the current name, in nodes
	postings []byte
	own      []byte // postings of the current name
	names    int
	listed   int64
}

func (m *merger) add(r record) {
	if m.current == nil || record(m.current).hash() != r.hash() || !bytes.Equal(record(m.current).name(), r.name()) {
		m.end()
		m.current = m.nodes.room(r.size(), &m.free)
		copy(m.current, r[:r.size()])
		m.current[14] = r.flags() & flagDeep
		m.names++
	}
	if n := len(m.own); n > 0 {
		// The same feed again: what it stands for together, from the first line.
		p := m.own[n-postingSize:]
		if binary.LittleEndian.Uint16(p[4:]) == r.feed() && p[6]&flagExcept == r.flags()&flagExcept {
			p[6] |= r.flags() &^ flagDeep
			return
		}
	}
	m.own = binary.LittleEndian.AppendUint32(m.own, r.line())
	m.own = binary.LittleEndian.AppendUint16(m.own, r.feed())
	m.own = append(m.own, r.flags()&^flagDeep, 0)
	m.listed++
}

// end writes the postings of the current name into its node.
func (m *merger) end() {
	n := len(m.own) / postingSize
	switch {
	case n == 1:
		copy(m.current[8:14], m.own)
		m.current[14] |= m.own[6]
	case n > 1:
		binary.LittleEndian.PutUint32(m.current[8:], uint32(len(m.postings)/postingSize))
		binary.LittleEndian.PutUint16(m.current[12:], uint16(n))
		for i := range n {
			m.current[14] |= m.own[i*postingSize+6]
		}
		m.current[14] |= flagMany
		m.postings = append(m.postings, m.own...)
	}
	m.own = m.own[:0]
}
