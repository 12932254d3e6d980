package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestCoderReadsWhatItWrote(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	values := []uint64{0, 1, 2, 3, math.MaxUint64, math.MaxUint32, 1 << 63}
	for range 5000 {
		values = append(values, r.Uint64()>>r.IntN(64))
	}
	e := newEncoder()
	var n, s number
	for _, v := range values {
		n.code(e, v)
		s.signed(e, int64(v))
	}
	d := newDecoder(e.finish())
	n, s = number{}, number{}
	for i, v := range values {
		if got, signed := n.code(d, 0), s.signed(d, 0); got != v || signed != int64(v) {
			t.Fatalf("number %d: %d and %d, want %d", i, got, signed, v)
		}
	}
	if !d.ended() {
		t.Fatal("not at the end")
	}
	if n.code(d, 0); !d.failed() {
		t.Fatal("reads on behind the end")
	}
}

func TestGapsComeNearTheirEntropy(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	e := newEncoder()
	var n number
	const count, mean = 10_000, 200
	for range count {
		n.code(e, uint64(r.ExpFloat64()*mean))
	}
	best := count * math.Log2(mean*math.E) / 8
	if got := float64(len(e.finish())); got > 1.03*best {
		t.Fatalf("%.0f octets, where %.0f are needed", got, best)
	}
}

func TestNamesOfAllOctets(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var names [][]byte
	for i := range 500 {
		name := fmt.Appendf(nil, "name%d.example", i)
		if i%3 == 0 {
			name = make([]byte, 1+r.IntN(maxName))
			for j := range name {
				name[j] = byte(r.Uint32())
			}
		}
		names = append(names, name)
	}
	model, e := newNameModel(), newEncoder()
	for _, n := range names {
		model.code(e, nil, n)
	}
	model, d := newNameModel(), newDecoder(e.finish())
	for i, n := range names {
		if got := model.code(d, nil, nil); string(got) != string(n) {
			t.Fatalf("name %d: %q, want %q", i, got, n)
		}
	}
	if !d.ended() {
		t.Fatal("not at the end")
	}
}

// TestModelTables holds the tables that both sides of a delta have to have: they are
// computed with floating point, and a processor that rounded otherwise would fail here.
func TestModelTables(t *testing.T) {
	h := sha256.New()
	for _, table := range []any{squashes[:], stretches[:], rates[:], symbolOf[:]} {
		if err := binary.Write(h, binary.LittleEndian, table); err != nil {
			t.Fatal(err)
		}
	}
	const want = "8efbb9f3b6b08af9"
	if got := fmt.Sprintf("%x", h.Sum(nil)[:8]); got != want {
		t.Fatalf("the tables are %s", got)
	}
}
