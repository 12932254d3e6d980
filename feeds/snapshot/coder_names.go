package snapshot

import "math"

// nameModel says how likely the next bit of a name is, after the one to four octets
// before it and after the label so far: five guesses, which are weighed by how good they
// were (context mixing: Mahoney, "Adaptive Weighing of Context Models for Lossless Data
// Compression", 2005). It has read some names of the old file before the first, so it
// knows top-level domains, hosters and the words that the lists have.
//
// It does whole numbers only, so that every machine computes the same.
type nameModel struct {
	tables  [models]*[1 << tableBits]guess
	weights [weightSets][models]int32
	places  [models]uint32 // of the current context's guesses
	history uint32         // the last four octets
	label   uint32         // hash of the label so far
}

const (
	models     = 3
	weightSets = 64
	// tableBits is how many guesses a table has: two octets each, small enough to stay in a
	// processor's cache.
	tableBits = 18
)

// guess is a likelihood of 12 bits and how often it was corrected, in 4; with its highest
// bit the other way round, so that zero is one half.
type guess uint16

// An octet is coded as a symbol of six bits, symbolOther being followed by the octet.
const (
	symbolEnd   = 0
	symbolOther = 63
)

const alphabet = "\x00abcdefghijklmnopqrstuvwxyz0123456789-._"

var (
	symbolOf  = symbols()
	stretches = stretchTable()
	squashes  = squashTable()
	rates     = rateTable()
)

func symbols() (t [256]uint8) {
	for i := range t {
		t[i] = symbolOther
	}
	for i := 1; i < len(alphabet); i++ { // the first is no octet but the end
		t[alphabet[i]] = uint8(i)
	}
	return t
}

// squashTable has 4096/(1+e^(-x/256)) for x from -2048 on. The exponential function of Go
// is the same on every processor only as long as it is rounded: a part of 4096 is, by far.
func squashTable() (t [4096]int16) {
	for i := range t {
		p := 4096 / (1 + math.Exp(-float64(i-2048)/256))
		t[i] = int16(min(max(math.Round(p), 1), 4095))
	}
	return t
}

// stretchTable is the inverse of squashes.
func stretchTable() (t [4096]int16) {
	squash := squashTable()
	at := 0
	for p := range t {
		for at < len(squash)-1 && int(squash[at]) < p {
			at++
		}
		t[p] = int16(at - 2048)
	}
	return t
}

// rateTable says by how much of 65536 a guess is corrected that was so often corrected.
func rateTable() (t [16]int32) {
	for i := range t {
		t[i] = int32(65536 / (float64(i) + 1.6))
	}
	return t
}

func newNameModel() *nameModel {
	m := &nameModel{}
	for i := range m.tables {
		m.tables[i] = new([1 << tableBits]guess)
	}
	for i := range m.weights {
		for j := range models {
			m.weights[i][j] = 1 << 12 * 38 / 100
		}
	}
	m.begin()
	return m
}

func (m *nameModel) begin() { m.history, m.label = 0, 0 }

// contexts looks up the groups of eight guesses for the next three bits; half are the
// three bits before them, or 0.
func (m *nameModel) contexts(half uint32) {
	h := m.history
	m.places = [models]uint32{
		place3(h&0xffff, half), place3(h&0xffffff|1<<29, half), place3(m.label|1<<31, half),
	}
}

func place3(c, half uint32) uint32 {
	c = (c + half*0x3c6ef372) * 0x9e3779b1
	c = (c ^ c>>15) * 0x85ebca6b
	return c >> (32 - tableBits) &^ 7
}

func (g guess) value() int32  { return int32(g^1<<15) >> 4 }
func (g guess) times() uint16 { return uint16(g) & 15 }

func (g *guess) learn(bit int) {
	now := *g ^ 1<<15
	n := now & 15
	p := int32(now >> 4)
	p += ((int32(-bit)&4095 - p) * rates[n]) >> 16
	if n < 15 {
		n++
	}
	*g = (guess(p)<<4 | n) ^ 1<<15
}

// learnOnly takes a bit in without guessing it.
func (m *nameModel) learnOnly(node uint32, bit int) {
	for i := range models {
		m.tables[i][m.places[i]+node].learn(bit)
	}
}

// bit codes one bit of a symbol.
func (m *nameModel) bit(c *coder, node uint32, bit int) int {
	const mask = 1<<tableBits - 1
	g0, g1, g2 := &m.tables[0][(m.places[0]+node)&mask], &m.tables[1][(m.places[1]+node)&mask], &m.tables[2][(m.places[2]+node)&mask]
	i0, i1, i2 := int32(stretches[g0.value()]), int32(stretches[g1.value()]), int32(stretches[g2.value()])
	// How sure the guesses are says how much they weigh.
	set := &m.weights[confidence[g0.times()]|confidence[g1.times()]<<2|confidence[g2.times()]<<4]
	sum := (i0*set[0] + i1*set[1] + i2*set[2]) >> 12
	p := int32(squashes[min(max(sum, -2048), 2047)+2048])
	bit = c.split(uint32(p)<<4|8, bit)
	wrong := int32(bit)<<12 - p
	set[0] += (i0*wrong + 1<<14) >> 15
	set[1] += (i1*wrong + 1<<14) >> 15
	set[2] += (i2*wrong + 1<<14) >> 15
	g0.learn(bit)
	g1.learn(bit)
	g2.learn(bit)
	return bit
}

var confidence = [16]uint8{0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3}

func (m *nameModel) after(octet byte) {
	m.history = m.history<<8 | uint32(octet)
	if octet == '.' {
		m.label = 0
	} else {
		m.label = (m.label + uint32(octet) + 1) * 0x2545f491
	}
}

func (m *nameModel) symbol(c *coder, s int) int {
	m.contexts(0)
	node := uint32(1)
	for i := 5; i >= 3; i-- {
		node = node<<1 | uint32(m.bit(c, node, s>>i&1))
	}
	out := node & 7
	m.contexts(1 + out)
	node = 1
	for i := 2; i >= 0; i-- {
		node = node<<1 | uint32(m.bit(c, node, s>>i&1))
	}
	return int(out<<3 | node&7)
}

// code codes a name and returns it behind into.
func (m *nameModel) code(c *coder, into, name []byte) []byte {
	m.begin()
	for i := 0; i < maxName && !c.failed(); i++ {
		s := symbolEnd
		if i < len(name) {
			s = int(symbolOf[name[i]])
		}
		if s = m.symbol(c, s); s == symbolEnd {
			break
		}
		octet := byte(0)
		if s < len(alphabet) {
			octet = alphabet[s]
		} else {
			if !c.decoding {
				octet = name[i]
			}
			for bit := 7; bit >= 0; bit-- {
				octet = octet&^(1<<bit) | byte(c.split(1<<15, int(octet>>bit&1)))<<bit
			}
		}
		into = append(into, octet)
		m.after(octet)
	}
	return into
}

// read takes a name in that is known already.
func (m *nameModel) read(name []byte) {
	m.begin()
	for i := 0; i <= len(name) && i < maxName; i++ {
		s, octet := uint32(symbolEnd), byte(0)
		if i < len(name) {
			octet = name[i]
			s = uint32(symbolOf[octet])
		}
		m.contexts(0)
		m.learnOnly(1, int(s>>5&1))
		m.learnOnly(2|s>>5&1, int(s>>4&1))
		m.learnOnly(4|s>>4&3, int(s>>3&1))
		m.contexts(1 + s>>3)
		m.learnOnly(1, int(s>>2&1))
		m.learnOnly(2|s>>2&1, int(s>>1&1))
		m.learnOnly(4|s>>1&3, int(s&1))
		m.after(octet)
	}
}
