package names

import (
	"encoding/binary"
	"sync/atomic"
	"time"
	"unsafe"
)

// slots are those of a mapped file, as words that more than one process reads and one
// writes.
type slots struct {
	key   [16]byte
	mask  uint64 // of the number of a bucket
	words []uint64
}

// newSlots takes the part of a file after its header, which begins at a page.
func newSlots(h *header, part []byte) slots {
	return slots{
		key:  h.key,
		mask: uint64(h.slots/ways) - 1,
		//nolint:gosec // a mapping begins at a page, and the header is one
		words: unsafe.Slice((*uint64)(unsafe.Pointer(&part[0])), len(part)/8),
	}
}

// slot is one of them. Its words are only used by functions of package atomic.
type slot []uint64

func (s *slots) at(i uint64) slot {
	return slot(s.words[i*slotWords : (i+1)*slotWords : (i+1)*slotWords])
}

// bucket is the number of the first slot of an address.
func (s *slots) bucket(a *[16]byte) uint64 { return siphash(&s.key, a) & s.mask * ways }

// isFor says whether a slot is of an address. It may be wrong while it is written.
func (s slot) isFor(a *[16]byte) bool {
	return atomic.LoadUint64(&s[addressAt/8]) == binary.LittleEndian.Uint64(a[:]) &&
		atomic.LoadUint64(&s[addressAt/8+1]) == binary.LittleEndian.Uint64(a[8:])
}

// patience is how often a slot that is being written is looked at again: ten microseconds or
// more, where writing one takes less than one.
const patience = 10_000

// record is a copy of a slot.
type record [slotSize]byte

// read copies a slot if it is of an address. It says false if it is of another one, or was
// being written all the time.
func (s slot) read(r *record, a *[16]byte) bool {
	for range patience {
		before := atomic.LoadUint64(&s[0])
		if before&1 != 0 {
			continue
		}
		found := s.isFor(a)
		if found {
			s.copyTo(r)
		}
		if atomic.LoadUint64(&s[0]) == before {
			return found
		}
	}
	return false
}

// copyTo reads without regard to who writes.
func (s slot) copyTo(r *record) {
	for i := range s {
		binary.LittleEndian.PutUint64(r[i*8:], atomic.LoadUint64(&s[i]))
	}
}

// write replaces a slot; r's own sequence number is not looked at. The stores of package
// atomic stay in their order, so no reader takes the old number for the new words.
func (s slot) write(r *record) {
	before := atomic.LoadUint64(&s[0]) | 1
	atomic.StoreUint64(&s[0], before)
	for i := 1; i < slotWords; i++ {
		// Most of it is as it was, and a store costs more than a look.
		if w := binary.LittleEndian.Uint64(r[i*8:]); atomic.LoadUint64(&s[i]) != w {
			atomic.StoreUint64(&s[i], w)
		}
	}
	atomic.StoreUint64(&s[0], before+1)
}

// name is the i-th of a record and where it begins, or false if there is none or it is
// not within the record.
func (r *record) name(i, at int) (text []byte, ok bool) {
	if i >= MaxNames {
		return nil, false
	}
	n := int(r[lengthAt+i])
	if n == 0 || n > maxName || at+n > slotSize {
		return nil, false
	}
	return r[at : at+n], true
}

// expiry is the second at which the i-th name is over.
func (r *record) expiry(i int) uint32 { return binary.LittleEndian.Uint32(r[expiryAt+4*i:]) }

// last is the second at which the last name is over.
func (r *record) last() uint32 {
	var last uint32
	for i, at := 0, textAt; ; i++ {
		text, ok := r.name(i, at)
		if !ok {
			return last
		}
		last, at = max(last, r.expiry(i)), at+len(text)
	}
}

func (r *record) learnt() uint64 { return binary.LittleEndian.Uint64(r[learntAt:]) }

// add writes a name as the i-th of a record and returns where the next one begins, or false
// if there is no room for it.
func add[T string | []byte](r *record, i, at int, name T, expiry uint32) (int, bool) {
	if i >= MaxNames || at+len(name) > slotSize {
		return at, false
	}
	r[lengthAt+i] = byte(len(name)) //nolint:gosec // at most maxName
	binary.LittleEndian.PutUint32(r[expiryAt+4*i:], expiry)
	return at + copy(r[at:], name), true
}

// seconds of a time since boot, for ever as far as a machine is concerned.
func seconds(d time.Duration) uint32 {
	return uint32(min(max(int64(d/time.Second), 0), 1<<32-1))
}
