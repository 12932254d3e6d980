package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"runtime"
)

// A delta is a header of deltaHead octets and four parts, which deltaPart numbers.
const (
	deltaMagic   = "PAVISDLT"
	deltaVersion = 1
	deltaHead    = 120
	deltaSumAt   = deltaHead - 4

	// growth is by how much more than twice the old file a delta may make the new one.
	growth = 64 << 20
)

type deltaPart int

const (
	partChanges deltaPart = iota // everything but names and feeds
	partNames                    // names that are new, the first half
	partNames2                   // and the second, so that two processors read them
	partFeeds                    // the feeds section of the new file
	deltaParts
)

var (
	// ErrDeltaTooBig says that a delta would not be worth it: the file itself is to be sent.
	ErrDeltaTooBig = errors.New("the two snapshots have too little in common for a delta")
	// ErrDeltaBase says that a delta is not for the snapshot it was applied to.
	ErrDeltaBase = errors.New("the delta is for another snapshot")
)

// A DeltaError says why a delta is not one that was written whole for this snapshot.
type DeltaError struct{ Why string }

func (e *DeltaError) Error() string { return "not a delta that was written whole: " + e.Why }

func badDelta(format string, args ...any) error { return &DeltaError{fmt.Sprintf(format, args...)} }

// deltaHeader is what a delta begins with.
type deltaHeader struct {
	from, to         Digest
	fromSize, toSize uint64
	parts            [deltaParts]uint32 // octets of each
}

func (h *deltaHeader) marshal(parts [deltaParts][]byte) []byte {
	b := make([]byte, deltaHead)
	copy(b, deltaMagic)
	binary.LittleEndian.PutUint32(b[8:], deltaVersion)
	copy(b[16:], h.from[:])
	copy(b[48:], h.to[:])
	binary.LittleEndian.PutUint64(b[80:], h.fromSize)
	binary.LittleEndian.PutUint64(b[88:], h.toSize)
	for i, p := range parts {
		binary.LittleEndian.PutUint32(b[96+4*i:], uint32(len(p)))
	}
	sum := crc32.Checksum(b[:deltaSumAt], castagnoli)
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p)
	}
	binary.LittleEndian.PutUint32(b[deltaSumAt:], sum)
	return b
}

func (h *deltaHeader) unmarshal(b []byte) error {
	if string(b[:8]) != deltaMagic {
		return badDelta("it does not begin with %s", deltaMagic)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != deltaVersion {
		return fmt.Errorf("delta of version %d: this Pavise reads version %d", v, deltaVersion)
	}
	copy(h.from[:], b[16:])
	copy(h.to[:], b[48:])
	h.fromSize = binary.LittleEndian.Uint64(b[80:])
	h.toSize = binary.LittleEndian.Uint64(b[88:])
	for i := range h.parts {
		h.parts[i] = binary.LittleEndian.Uint32(b[96+4*i:])
	}
	return nil
}

// Diff writes a delta that makes next of old, or returns ErrDeltaTooBig. It takes about as
// long as reading both files, and as much memory as all that is different.
//
// Both have to have the same Key, as names are in the order of their hashes, and feeds
// that both have stand in the same order.
func Diff(old, next *Snapshot, to io.Writer) error {
	defer runtime.KeepAlive(old) // and so their mappings
	defer runtime.KeepAlive(next)
	c, err := diff(old, next)
	if err != nil {
		return err
	}
	parts, err := c.encode(old)
	if err != nil {
		return err
	}
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if size > len(next.data)/4 {
		return ErrDeltaTooBig
	}
	h := deltaHeader{from: old.digest, to: next.digest, fromSize: uint64(len(old.data)), toSize: uint64(len(next.data))}
	_, err = to.Write(append(h.marshal(parts), bytes.Join(parts[:], nil)...))
	return err
}

// Apply makes the next snapshot of old and a delta and saves it to path, as Save does. What
// it makes has the digest that the delta names, or path stays as it is: an error is
// ErrDeltaBase, a *DeltaError, or of the system. Beside the delta it holds the
// directories, filters and postings of the new file, and an octet for each line.
func Apply(old *Snapshot, delta io.Reader, path string) (Info, error) {
	return disk{}.apply(old, delta, path)
}

func (d disk) apply(old *Snapshot, delta io.Reader, path string) (Info, error) {
	defer runtime.KeepAlive(old) // and so its mapping
	h, parts, err := readDelta(old, delta)
	if err != nil {
		return Info{}, err
	}
	c, err := decodeChanges(old, h, parts)
	if err != nil {
		return Info{}, err
	}
	return d.replace(path, func(f *os.File) (Info, error) { return c.apply(old, h, f) })
}

// readDelta reads a delta to its end.
func readDelta(old *Snapshot, r io.Reader) (*deltaHeader, [deltaParts][]byte, error) {
	var parts [deltaParts][]byte
	b := make([]byte, deltaHead)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, parts, readError(err)
	}
	h := &deltaHeader{}
	if err := h.unmarshal(b); err != nil {
		return nil, parts, err
	}
	if h.from != old.digest || h.fromSize != uint64(len(old.data)) {
		return nil, parts, fmt.Errorf("%w: it is for %s, not %s", ErrDeltaBase, h.from, old.digest)
	}
	total := uint64(0)
	for _, n := range h.parts {
		total += uint64(n)
	}
	if h.toSize > 2*h.fromSize+growth || total > h.toSize {
		return nil, parts, badDelta("%d octets make %d of %d", total, h.toSize, h.fromSize)
	}
	// What is announced is not allocated before it comes.
	var body bytes.Buffer
	if _, err := io.Copy(&body, io.LimitReader(r, int64(total)+1)); err != nil {
		return nil, parts, err
	}
	if uint64(body.Len()) != total {
		return nil, parts, badDelta("%d octets are announced and others come", total)
	}
	rest := body.Bytes()
	sum := crc32.Update(crc32.Checksum(b[:deltaSumAt], castagnoli), castagnoli, rest)
	if sum != binary.LittleEndian.Uint32(b[deltaSumAt:]) {
		return nil, parts, badDelta("checksum")
	}
	for i, n := range h.parts {
		parts[i], rest = rest[:n:n], rest[n:]
	}
	return h, parts, nil
}

func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return badDelta("it is shorter than its header")
	}
	return err
}
