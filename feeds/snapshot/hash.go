package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// KeyOf derives a key from the bodies of the feeds, which nobody who writes one of them
// can foresee unless all others stand still: finding names that meet in one block means
// to find a body whose own digest makes them meet. A refresh keeps the key of the
// snapshot before it, so that a Delta is small.
func KeyOf(feeds []Feed) Key {
	h := sha256.New()
	h.Write([]byte("pavise snapshot key 1\n"))
	for _, f := range feeds {
		h.Write([]byte(f.Name + "\x00" + f.Digest + "\n"))
	}
	return Key(h.Sum(nil)[:16])
}

// hashKey is a Key as the two numbers the hash works with.
type hashKey struct{ k0, k1 uint64 }

func newHashKey(k Key) hashKey {
	return hashKey{binary.LittleEndian.Uint64(k[:8]), binary.LittleEndian.Uint64(k[8:])}
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func load64(p unsafe.Pointer, i int) uint64 { return *(*uint64)(unsafe.Add(p, i)) }
func load32(p unsafe.Pointer, i int) uint64 { return uint64(*(*uint32)(unsafe.Add(p, i))) }
func load8(p unsafe.Pointer, i int) uint64  { return uint64(*(*uint8)(unsafe.Add(p, i))) }

// hash of the n octets at p, 1 ≤ n ≤ 253: folded 64×64-bit products of the text under the
// key, the construction of wyhash (Wang Yi). Two names that meet cost a comparison and
// never a wrong answer, so this need not be a cryptographic function.
func (k hashKey) hash(p unsafe.Pointer, n int) uint64 {
	var a, b uint64
	seed := k.k1
	switch {
	case n > 16:
		i := 0
		for ; n-i > 16; i += 16 {
			seed = mix(load64(p, i)^k.k0, load64(p, i+8)^seed)
		}
		a, b = load64(p, n-16), load64(p, n-8)
	case n >= 8:
		a, b = load64(p, 0), load64(p, n-8)
	case n >= 4:
		a, b = load32(p, 0), load32(p, n-4)
	default:
		a = load8(p, 0)<<16 | load8(p, n>>1)<<8 | load8(p, n-1)
	}
	return mix(k.k0^uint64(n), mix(a^k.k0, b^seed))
}

// placeOf maps a hash to one of n places, in the order of the hashes (Lemire: "Fast Random
// Integer Generation in an Interval", 2019).
func placeOf(h uint64, n uint32) uint32 {
	return uint32(h >> 32 * uint64(n) >> 32)
}

// bitsOf are the four bits of a hash in a word of a filter.
func bitsOf(h uint64) uint64 {
	return 1<<(h&63) | 1<<(h>>6&63) | 1<<(h>>12&63) | 1<<(h>>18&63)
}
