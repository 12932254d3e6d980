package snapshot

import "unsafe"

const (
	// Four numbers are compared at once: each has 15 bits, and the sixteenth keeps the
	// subtractions apart.
	lanes   = 0x0001_0001_0001_0001
	topBits = 0x8000_8000_8000_8000

	// window is how many numbers are compared without asking how many there are: a branch
	// that depends on what was just loaded costs more than comparing them.
	window = 24
	words  = window / 4
	// slack is how many octets may be read behind the last number.
	slack = 8 * words
)

// masks[n%4][words-n/4:] select the first n of the numbers in so many words.
var masks = func() (m [4][2*words + 1]uint64) {
	for rest := range m {
		for i := range words {
			m[rest][i] = topBits
		}
		m[rest][words] = topBits & (1<<(16*rest) - 1)
	}
	return m
}()

// below returns from and how many of the numbers of a sorted list, from from to to, are at
// most low. The numbers and low have 15 bits, and there is slack behind the list.
func below(list []uint16, from, to uint32, low uint16) uint32 {
	n := to - from
	for n > window {
		half := n / 2
		from += half * atMost(uint32(list[from+half-1]), uint32(low))
		n -= half
	}
	p := unsafe.Pointer(&list[from])
	m := unsafe.Pointer(&masks[n%4][words-n/4])
	key := uint64(low)*lanes | topBits
	sum := ((key - load64(p, 0)) & load64(m, 0)) >> 15
	sum += ((key - load64(p, 8)) & load64(m, 8)) >> 15
	sum += ((key - load64(p, 16)) & load64(m, 16)) >> 15
	sum += ((key - load64(p, 24)) & load64(m, 24)) >> 15
	sum += ((key - load64(p, 32)) & load64(m, 32)) >> 15
	sum += ((key - load64(p, 40)) & load64(m, 40)) >> 15
	return from + uint32(sum*lanes>>48)
}
