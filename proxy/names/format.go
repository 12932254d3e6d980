package names

import (
	"encoding/binary"
	"fmt"
)

// The layout; names.h has the same.
const (
	magic   = "PAVNAMES"
	version = 1

	headerSize = 4096
	slotSize   = 512
	slotWords  = slotSize / 8
	ways       = 8

	// MinSlots and MaxSlots bound the places for addresses; their number is a power of two.
	MinSlots = ways
	MaxSlots = 1 << 20
	// MaxNames of one address, and the octets of all of them together.
	MaxNames  = 8
	MaxOctets = slotSize - textAt

	maxName = 253 // octets of a name (RFC 1035, section 2.3.4, as text)
)

// Places of a slot, in octets.
const (
	sequenceAt = 0
	addressAt  = 8  // 16 octets, IPv4 as IPv4-mapped
	learntAt   = 24 // nanoseconds, for what is oldest
	expiryAt   = 32 // eight times 4 octets, seconds
	lengthAt   = 64 // eight octets; 0 is no name, and none follows
	textAt     = 72 // the names, the newest first, without anything between them
)

// header is what the first page says.
type header struct {
	slots uint32
	key   [16]byte
	boot  [16]byte
}

func (h *header) marshal() []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], h.slots)
	binary.LittleEndian.PutUint32(b[16:], slotSize)
	binary.LittleEndian.PutUint32(b[20:], ways)
	copy(b[32:], h.key[:])
	copy(b[48:], h.boot[:])
	return b
}

// unmarshal reads the header of a file of the given size.
func (h *header) unmarshal(b []byte, size int64) error {
	if len(b) < headerSize || string(b[:8]) != magic {
		return fmt.Errorf("no table of names: it does not begin with %s and a page of header", magic)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return fmt.Errorf("table of names of version %d: this Pavise reads version %d", v, version)
	}
	h.slots = binary.LittleEndian.Uint32(b[12:])
	if !validSlots(int64(h.slots)) {
		return fmt.Errorf("table of names: %d slots, want a power of two from %d to %d", h.slots, MinSlots, MaxSlots)
	}
	if s, w := binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint32(b[20:]); s != slotSize || w != ways {
		return fmt.Errorf("table of names: slots of %d octets by %d, want %d by %d", s, w, slotSize, ways)
	}
	if want := fileSize(h.slots); size != want {
		return fmt.Errorf("table of names: %d octets, want %d for %d slots", size, want, h.slots)
	}
	copy(h.key[:], b[32:])
	copy(h.boot[:], b[48:])
	return nil
}

func validSlots(n int64) bool { return n >= MinSlots && n <= MaxSlots && n&(n-1) == 0 }

func fileSize(slots uint32) int64 { return headerSize + int64(slots)*slotSize }
