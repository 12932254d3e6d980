package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sync/errgroup"
)

// Snapshot is an open file. Everything but Close may be called from any number of
// goroutines. The mapping goes when nobody holds the Snapshot any more, so that replacing
// one under its readers needs no more than an atomic pointer to it.
type Snapshot struct {
	feeds  []Feed
	head   header
	digest Digest
	data   []byte

	v4    v4Index
	v6    v6Index
	names nameIndex
}

// Open maps a file and verifies the checksum of every section: an error is a *Corrupt, or
// says what the system said.
func Open(path string) (*Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, err := OpenFile(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// OpenFile maps an open file, which may be closed and removed after that. It must not be
// written to any more.
func OpenFile(f *os.File) (*Snapshot, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	size := info.Size()
	if size < headerSize || int64(int(size)) != size {
		return nil, corrupt("header", "a file of %d octets", size)
	}
	m, err := mapFile(f, int(size))
	if err != nil {
		return nil, err
	}
	s, err := open(m.data)
	if err != nil {
		m.unmap()
		return nil, err
	}
	hugePages(m.data[s.hotFrom():])
	runtime.AddCleanup(s, func(m mapping) { m.unmap() }, m)
	return s, nil
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// open reads what lies in data, which begins at a multiple of 8.
func open(data []byte) (*Snapshot, error) {
	if !littleEndian {
		return nil, errors.New("snapshots are read in place, which takes a little-endian processor")
	}
	s := &Snapshot{data: data}
	if err := s.head.unmarshal(data, int64(len(data))); err != nil {
		return nil, err
	}
	s.digest = sha256.Sum256(data[:tableEnd])
	if err := s.verify(); err != nil {
		return nil, err
	}
	var err error
	if s.feeds, err = unmarshalFeeds(s.section(secFeeds)); err != nil {
		return nil, err
	}
	if err := s.v4.open(s); err != nil {
		return nil, err
	}
	if err := s.v6.open(s); err != nil {
		return nil, err
	}
	return s, s.names.open(s)
}

// verify compares the checksums, on all processors: a file may be long.
func (s *Snapshot) verify() error {
	end := uint64(tableEnd)
	for i, sec := range s.head.sections {
		if !bytes.Equal(s.data[end:sec.offset], zeros[:sec.offset-end]) {
			return corrupt(sectionNames[i], "there is something before it")
		}
		end = sec.offset + sec.length
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, sec := range s.head.sections {
		part := s.section(i)
		g.Go(func() error {
			if crc32.Checksum(part, castagnoli) != sec.crc {
				return corrupt(sectionNames[i], "checksum")
			}
			return nil
		})
	}
	return g.Wait()
}

func (s *Snapshot) section(i int) []byte {
	sec := s.head.sections[i]
	return s.data[sec.offset : sec.offset+sec.length : sec.offset+sec.length]
}

// VerifyDigest compares everything in the file with its Digest, which costs about a second
// for two gigabytes.
func (s *Snapshot) VerifyDigest() error {
	defer runtime.KeepAlive(s)
	if rootOf(s.data[tableEnd:]) != s.head.root {
		return corrupt("file", "its digest is not %s", s.digest)
	}
	return nil
}

// Digest names what is in the file.
func (s *Snapshot) Digest() Digest { return s.digest }

// Feeds in the order in which hits name them. The slice is not to be changed.
func (s *Snapshot) Feeds() []Feed { return s.feeds }

// Key that names are hashed under; the next version should have the same.
func (s *Snapshot) Key() Key { return s.head.key }

// Sizes says how long the file is, in octets, and how much of it a look-up that finds
// nothing may read.
func (s *Snapshot) Sizes() (file, resident int64) {
	for i, sec := range s.head.sections {
		if hot[i] {
			resident += int64(sec.length)
		}
	}
	return int64(len(s.data)), resident
}

// hotFrom is where the hot sections of names begin, the last of the file.
func (s *Snapshot) hotFrom() uint64 { return s.head.sections[secBuckets].offset }

// items are the octets of a section as numbers. The file is mapped at a page and each
// section begins at a multiple of 64.
func items[T uint16 | uint32 | uint64](b []byte) []T {
	var t T
	n := len(b) / int(unsafe.Sizeof(t))
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), n)
}

// ascending says whether no item is less than the one before, and the last is limit.
func ascending(s []uint32, limit int) bool {
	for i := 1; i < len(s); i++ {
		if s[i] < s[i-1] {
			return false
		}
	}
	return len(s) == 0 || int64(s[len(s)-1]) == int64(limit)
}
