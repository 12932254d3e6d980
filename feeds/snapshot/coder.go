package snapshot

import "math/bits"

// coder codes bits by how likely they are (arithmetic coding: Rissanen 1976, Martin
// 1979), with two bounds of 32 bits. It works both ways, so that a format is stated once:
// what codes a value takes it and returns it, the one given or the one read.
type coder struct {
	decoding  bool
	buf       []byte // written, or to be read
	at        int    // octets read; beyond buf they are zero
	low, high uint32
	code      uint32
}

func newEncoder() *coder { return &coder{high: 1<<32 - 1} }

func newDecoder(b []byte) *coder {
	c := &coder{decoding: true, buf: b, high: 1<<32 - 1}
	for range 4 {
		c.read()
	}
	return c
}

func (c *coder) read() {
	c.code <<= 8
	if c.at < len(c.buf) {
		c.code |= uint32(c.buf[c.at])
	}
	c.at++
}

// failed says that more was read than was written, so that what came is worth nothing.
func (c *coder) failed() bool { return c.at > len(c.buf) }

// split codes a bit that is 1 with a likelihood of p/65536, 0 < p < 65536.
func (c *coder) split(p uint32, bit int) int {
	middle := c.low + uint32(uint64(c.high-c.low)*uint64(p)>>16)
	if c.decoding {
		bit = 0
		if c.code <= middle {
			bit = 1
		}
	}
	if bit != 0 {
		c.high = middle
	} else {
		c.low = middle + 1
	}
	for (c.low^c.high)>>24 == 0 {
		if c.decoding {
			c.read()
		} else {
			c.buf = append(c.buf, byte(c.high>>24))
		}
		c.low, c.high = c.low<<8, c.high<<8|0xff
	}
	return bit
}

// finish returns what was written.
func (c *coder) finish() []byte {
	return append(c.buf, byte(c.low>>24), byte(c.low>>16), byte(c.low>>8), byte(c.low))
}

// ended says whether exactly what was written was read.
func (c *coder) ended() bool { return c.at == len(c.buf) }

// chance is how likely a bit is 1, less one half: it is learned from the bits before.
type chance int16

func (p *chance) code(c *coder, bit int) int {
	now := uint32(int32(*p) + 1<<15)
	bit = c.split(now, bit)
	if bit != 0 {
		now += (1<<16 - 1 - now) >> 5
	} else {
		now -= now >> 5
	}
	*p = chance(int32(now) - 1<<15)
	return bit
}

func (p *chance) flag(c *coder, set bool) bool {
	bit := 0
	if set {
		bit = 1
	}
	return p.code(c, bit) != 0
}

// number learns how long numbers are and how the longer half of them begin; the rest is
// written as it is. For gaps, which a Golomb code is best for (Golomb 1966), it comes
// within two percent of that without having to know what they are.
type number struct {
	length [128]chance
	high   [65][4]chance
}

func (n *number) code(c *coder, v uint64) uint64 {
	size, node := bits.Len64(v), 1
	for i := 6; i >= 0; i-- {
		node = node<<1 | n.length[node].code(c, size>>i&1)
	}
	if size = node - 128; size > 64 {
		size = 64 // not as an encoder writes it
	}
	if size < 2 {
		return uint64(size)
	}
	out := uint64(1)
	high := &n.high[size]
	for i := size - 2; i >= 0; i-- {
		bit := int(v >> i & 1)
		if deep := size - 2 - i; deep < 2 {
			bit = high[1<<deep|int(out)&deep].code(c, bit)
		} else {
			bit = c.split(1<<15, bit)
		}
		out = out<<1 | uint64(bit)
	}
	return out
}

// signed codes a number that may be below zero.
func (n *number) signed(c *coder, v int64) int64 {
	u := n.code(c, uint64(v<<1)^uint64(v>>63))
	return int64(u>>1) ^ -int64(u&1)
}

// count codes a number that is no more than limit; a larger one that was read counts as
// limit, and what follows from that is no file of the right digest.
func (n *number) count(c *coder, v, limit int) int {
	return int(min(n.code(c, uint64(v)), uint64(limit)))
}
