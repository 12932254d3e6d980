package parse

import (
	"encoding/binary"
	"math/bits"
)

// quickRoom is how many octets quickQuad may look at.
const quickRoom = 20

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// quickQuad reads a.b.c.d at the beginning of b, which has at least quickRoom octets,
// and returns how many octets it took, 0 for none. It is quad without a branch for each
// digit: how many there are is not to be foretold, and a wrong guess costs more than
// all the rest.
func quickQuad(b []byte) (ip uint32, n int) {
	a := (*[quickRoom]byte)(b) // with a length that is known, no index is checked
	// A bit for each of 16 octets that is not a digit, and one behind them.
	ends := notDigits(binary.LittleEndian.Uint64(a[:])) | notDigits(binary.LittleEndian.Uint64(a[8:]))<<8 | 1<<16
	i := bits.TrailingZeros32(ends)
	ends &= ends - 1
	j := bits.TrailingZeros32(ends)
	ends &= ends - 1
	k := bits.TrailingZeros32(ends)
	ends &= ends - 1
	n = bits.TrailingZeros32(ends)
	if n > 15 || a[i&15] != '.' || a[j&15] != '.' || a[k&15] != '.' {
		return 0, 0
	}
	v0, bad0 := quickByte(a, 0, i)
	v1, bad1 := quickByte(a, i+1, j-i-1)
	v2, bad2 := quickByte(a, j+1, k-j-1)
	v3, bad3 := quickByte(a, k+1, n-k-1)
	if bad0|bad1|bad2|bad3 < 0 {
		return 0, 0
	}
	return v0<<24 | v1<<16 | v2<<8 | v3, n
}

// quickByte reads a number of size digits. bad is negative for one over 255, one with
// a leading zero, and for no digits or more than three.
func quickByte(a *[quickRoom]byte, at, size int) (v uint32, bad int32) {
	// The digits move to the end of four octets: 0, hundreds, tens, ones.
	d := binary.LittleEndian.Uint32(a[at&15:at&15+4]) << (uint(-size*8) & 31) & 0x0f0f0f0f
	// As one number they are in order: 255 is 0x020505.
	order := int32(bits.ReverseBytes32(d)) //nolint:gosec // each octet is under 16
	// The last octet of the product is hundreds*100 + tens*10 + ones.
	return d * (1 + 10<<8 + 100<<16) >> 24, (0x020505 - order) | (order - least[size&15])
}

// quickBits reads the bits behind a slash at n, where quickQuad ended.
func quickBits(b []byte, n int) (length, end int) {
	length, k := number(b[n+1:], 2)
	if k == 0 || length > 32 {
		return 0, 0
	}
	return length, n + 1 + k
}

// least is the smallest number with so many digits and no leading zero, in the order of
// quickByte, and for what is no size of a number one that none reaches.
var least = [16]int32{
	never, 0, 0x0100, 0x010000,
	never, never, never, never, never, never, never, never, never, never, never, never,
}

const never = 0x7fffffff

// notDigits has a bit for each octet that is not a digit.
func notDigits(x uint64) uint32 {
	y := x &^ highs
	// The high bit of an octet is set where the octet is at least so much.
	zero, colon := y+(0x80-'0')*ones, y+(0x80-':')*ones
	other := (^zero | colon | x) & highs
	return uint32(other >> 7 * 0x0102040810204080 >> 56)
}
