package snapshot

import (
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"sync"
)

// writer writes the sections of a file one after the other, and the header when the last
// is done. Pieces are hashed and written by other goroutines while the next is filled:
// the hash alone takes as long as everything else.
type writer struct {
	to   io.WriterAt
	head header
	at   uint64
	next int // the section that begin expects
	crc  uint32

	buf    []byte // the current piece and what is already behind it
	summed int    // octets of buf that are in crc
	pieces int    // handed on
	free   chan []byte
	done   sync.WaitGroup

	mu    sync.Mutex
	sums  []Digest
	first error
}

// roomMax is how much room may be asked for at once.
const roomMax = 64 << 10

func newWriter(to io.WriterAt) *writer {
	w := &writer{to: to, at: tableEnd}
	// One is filled while each processor has one; they are made when they are needed.
	n := runtime.GOMAXPROCS(0)
	w.free = make(chan []byte, n)
	for range n {
		w.free <- nil
	}
	w.buf = make([]byte, 0, roomMax) // grows to a piece if the file does
	return w
}

var zeros [align]byte

// begin ends the section before and begins the next, whose number is given so that the
// code says what it writes.
func (w *writer) begin(number int) {
	if number != w.next {
		panic(fmt.Sprintf("section %d where %d comes", number, w.next))
	}
	w.end()
	copy(w.room(int(aligned(w.at)-w.at)), zeros[:])
	w.summed = len(w.buf) // what is between two sections is in neither
	w.head.sections[number].offset = w.at
	w.next++
	w.crc = 0
}

func (w *writer) end() {
	w.sum()
	if w.next > 0 {
		s := &w.head.sections[w.next-1]
		s.length, s.crc = w.at-s.offset, w.crc
	}
}

// sum takes what is new in buf into the checksum.
func (w *writer) sum() {
	w.crc = crc32.Update(w.crc, castagnoli, w.buf[w.summed:])
	w.summed = len(w.buf)
}

// room is where the next n octets of the section go, at most roomMax; all of them have to
// be written, before anything else is asked of w.
func (w *writer) room(n int) []byte {
	at := len(w.buf)
	if at >= piece {
		w.cut()
		at = len(w.buf)
	}
	if at+n > cap(w.buf) {
		buf := make([]byte, at, min(max(2*cap(w.buf), at+n), piece+roomMax))
		copy(buf, w.buf)
		w.buf = buf
	}
	w.buf = w.buf[:at+n]
	w.at += uint64(n)
	return w.buf[at : at+n : at+n]
}

// write to the section. Errors come from finish.
func (w *writer) write(b []byte) {
	for len(b) > 0 {
		part := b[:min(len(b), roomMax)]
		copy(w.room(len(part)), part)
		b = b[len(part):]
	}
}

// cut hands a piece on.
func (w *writer) cut() {
	w.sum()
	full, number := w.buf[:min(piece, len(w.buf))], w.pieces
	rest := w.buf[len(full):]
	w.pieces++
	next := <-w.free
	if next == nil {
		next = make([]byte, 0, piece+roomMax)
	}
	w.buf = next[:copy(next[:len(rest)], rest)]
	w.summed = len(rest)
	w.done.Go(func() {
		w.put(full, number)
		w.free <- full
	})
}

// put hashes and writes a piece.
func (w *writer) put(b []byte, number int) {
	sum := Digest(sha256.Sum256(b))
	_, err := w.to.WriteAt(b, tableEnd+int64(number)*piece)
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.sums) <= number {
		w.sums = append(w.sums, Digest{})
	}
	w.sums[number] = sum
	if err != nil && w.first == nil {
		w.first = err
	}
}

// finish writes the header and returns the digest.
func (w *writer) finish() (Digest, error) {
	w.end()
	for len(w.buf) > 0 {
		w.cut()
	}
	w.done.Wait()
	if w.first != nil {
		return Digest{}, w.first
	}
	w.head.size = w.at
	w.head.root = rootOfSums(w.sums)
	b := w.head.marshal()
	if _, err := w.to.WriteAt(b, 0); err != nil {
		return Digest{}, err
	}
	return sha256.Sum256(b), nil
}
