package snapshot

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
)

const (
	magic = "PAVISNAP"
	// Version changes with every change that an older reader cannot read or would read
	// otherwise.
	Version = 1

	headerSize  = 128
	sectionSize = 32
	tableEnd    = headerSize + sections*sectionSize
	align       = 64
)

// A section's number stands in the file: they are only ever added to.
// They lie in this order, the long ones that are written while they are computed first.
const (
	secFeeds = iota
	secV4Entries
	secV4First
	secV4Dir
	secV4Borders
	secV6Entries
	secV6Dir
	secV6Tops
	secV6Groups
	secV6Mids
	secV6Lows
	secV6Marks
	secNames
	secPostings
	secBuckets
	secDeep
	secFilter
	sections
)

var sectionNames = [sections]string{
	"feeds",
	"IPv4 entries", "IPv4 ranges", "IPv4 directory", "IPv4 borders",
	"IPv6 entries", "IPv6 directory", "IPv6 tops", "IPv6 groups", "IPv6 middles", "IPv6 lows", "IPv6 marks",
	"names", "postings", "name buckets", "filter of parents", "filter of names",
}

// hot are the sections that a look-up that finds nothing reads.
var hot = [sections]bool{
	secV4Dir: true, secV4Borders: true,
	secV6Dir: true, secV6Tops: true, secV6Groups: true, secV6Mids: true, secV6Lows: true, secV6Marks: true,
	secBuckets: true, secDeep: true, secFilter: true,
}

// Key is what names are hashed under. It has to be one that those who write feeds
// cannot know in advance: see KeyOf.
type Key [16]byte

// Feed is what a snapshot says of one feed.
type Feed struct {
	Name      string `json:"name"`
	Action    string `json:"action"`
	Direction string `json:"direction"`
	// Digest of the body the entries are from, sha256:HEX.
	Digest string `json:"digest"`
	// Required and Loaded say what it means that a feed has no entries: one that is required
	// and was never loaded closes what it would have decided.
	Required bool `json:"required,omitempty"`
	Loaded   bool `json:"loaded,omitempty"`
	// Exceptions says that entries of the feed may be taken back by names of its own.
	Exceptions bool `json:"exceptions,omitempty"`
}

// Bounds of what fits into a file.
const (
	MaxFeeds = 4096
	// maxNames bounds the octets of the names section.
	maxNames = 1<<32 - 1
	// maxEntries bounds the entries of one address family.
	maxEntries = 1<<31 - 2
	maxFeeds   = 16 << 20 // octets of the feeds section
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Corrupt error says what in a file is not as it was written.
type Corrupt struct {
	Where string
	Why   string
}

func (e *Corrupt) Error() string {
	return fmt.Sprintf("not a snapshot that was written whole: %s: %s", e.Where, e.Why)
}

func corrupt(where, format string, args ...any) error {
	return &Corrupt{where, fmt.Sprintf(format, args...)}
}

// section is one row of the table.
type section struct {
	offset, length uint64
	crc            uint32
}

// header is what a file begins with.
type header struct {
	key      Key
	size     uint64 // of the whole file
	root     Digest // of the pieces behind the table
	names    uint64 // distinct
	tlds     bool   // names of one label are listed
	sections [sections]section
}

func (h *header) marshal() []byte {
	b := make([]byte, tableEnd)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], Version)
	binary.LittleEndian.PutUint32(b[12:], sections)
	copy(b[16:], h.key[:])
	binary.LittleEndian.PutUint64(b[32:], h.size)
	binary.LittleEndian.PutUint64(b[40:], h.names)
	if h.tlds {
		b[48] = 1
	}
	copy(b[64:], h.root[:])
	for i, s := range h.sections {
		row := b[headerSize+i*sectionSize:]
		binary.LittleEndian.PutUint64(row, s.offset)
		binary.LittleEndian.PutUint64(row[8:], s.length)
		binary.LittleEndian.PutUint32(row[16:], s.crc)
	}
	binary.LittleEndian.PutUint32(b[sumAt:], headerSum(b))
	return b
}

// sumAt is where the checksum of header and table stands.
const sumAt = 96

// headerSum is that checksum, with its own field as zero.
func headerSum(b []byte) uint32 {
	sum := crc32.Update(0, castagnoli, b[:sumAt])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, b[sumAt+4:])
}

// unmarshal reads the header and the table of a file of the given size.
func (h *header) unmarshal(b []byte, size int64) error {
	if len(b) < headerSize {
		return corrupt("header", "%d octets are less than one", len(b))
	}
	if string(b[:8]) != magic {
		return corrupt("header", "it does not begin with %s", magic)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != Version {
		return fmt.Errorf("snapshot of version %d: this Pavise reads version %d", v, Version)
	}
	if n := binary.LittleEndian.Uint32(b[12:]); n != sections || len(b) < tableEnd {
		return corrupt("header", "%d sections in %d octets", n, len(b))
	}
	b = b[:tableEnd]
	if binary.LittleEndian.Uint32(b[sumAt:]) != headerSum(b) {
		return corrupt("header", "checksum")
	}
	copy(h.key[:], b[16:32])
	h.size = binary.LittleEndian.Uint64(b[32:])
	h.names = binary.LittleEndian.Uint64(b[40:])
	h.tlds = b[48] != 0
	copy(h.root[:], b[64:])
	if h.size != uint64(size) {
		return corrupt("header", "%d octets are there of %d", size, h.size)
	}
	end := uint64(tableEnd)
	for i := range h.sections {
		row := b[headerSize+i*sectionSize:]
		s := section{
			offset: binary.LittleEndian.Uint64(row),
			length: binary.LittleEndian.Uint64(row[8:]),
			crc:    binary.LittleEndian.Uint32(row[16:]),
		}
		// One behind the other: what no checksum covers would be nobody's.
		if s.offset != aligned(end) || s.offset > h.size || s.length > h.size-s.offset {
			return corrupt(sectionNames[i], "it does not lie where it has to")
		}
		end = s.offset + s.length
		h.sections[i] = s
	}
	if end != h.size {
		return corrupt("header", "%d octets are behind the last section", h.size-end)
	}
	return nil
}

// aligned is where a section begins after one that ends there.
func aligned(end uint64) uint64 { return (end + align - 1) &^ (align - 1) }

func unmarshalFeeds(b []byte) ([]Feed, error) {
	var feeds []Feed
	if len(b) > maxFeeds {
		return nil, corrupt("feeds", "%d octets", len(b))
	}
	if err := json.Unmarshal(b, &feeds); err != nil {
		return nil, corrupt("feeds", "%v", err)
	}
	if len(feeds) > MaxFeeds {
		return nil, corrupt("feeds", "%d of them", len(feeds))
	}
	return feeds, nil
}
