package snapshot

import (
	"bytes"
	"math/bits"
	"unsafe"
)

// cut returns where the last two and the last three labels of a name begin, the latter 0
// where there are no more than three, and whether there are more. The first is -1 for a
// name of one label.
func cut(name []byte) (two, three int, more bool) {
	if len(name) < 8 || len(name) > 64 {
		return cutSlowly(name)
	}
	m := dotsOf(unsafe.Pointer(unsafe.SliceData(name)), len(name))
	if m == 0 {
		return -1, 0, false
	}
	m = withoutLast(m)
	two = bits.Len64(m)
	m = withoutLast(m)
	return two, bits.Len64(m), m != 0
}

// withoutLast is m without its highest bit; m may be 0.
func withoutLast(m uint64) uint64 { return m &^ (1 << 63 >> bits.LeadingZeros64(m)) }

// dotsOf returns which of the n octets at p, 8 ≤ n ≤ 64, are dots.
func dotsOf(p unsafe.Pointer, n int) uint64 {
	m := dots8(load64(p, 0)) | dots8(load64(p, n-8))<<(n-8)
	for i := 8; i < n-8; i += 8 {
		m |= dots8(load64(p, i)) << i
	}
	return m
}

// dots8 returns which of eight octets are dots.
func dots8(w uint64) uint64 {
	const rest = 0x7f7f7f7f7f7f7f7f
	x := w ^ '.'*0x0101010101010101
	x = ^((x&rest + rest) | x | rest) // 0x80 for each that is one
	return x >> 7 * 0x0102040810204080 >> 56
}

// emptyLabel says whether there are two dots side by side.
func emptyLabel(name []byte) bool {
	if len(name) < 8 || len(name) > 64 {
		return bytes.Contains(name, twoDots)
	}
	m := dotsOf(unsafe.Pointer(unsafe.SliceData(name)), len(name))
	return m&(m>>1) != 0
}

var twoDots = []byte("..")

func cutSlowly(name []byte) (two, three int, more bool) {
	last := bytes.LastIndexByte(name, '.')
	if last < 0 {
		return -1, 0, false
	}
	two = bytes.LastIndexByte(name[:last], '.') + 1
	if two == 0 {
		return 0, 0, false
	}
	three = bytes.LastIndexByte(name[:two-1], '.') + 1
	return two, three, three > 0
}
