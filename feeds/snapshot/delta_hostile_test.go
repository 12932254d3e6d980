package snapshot

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestHostileChanges applies changes that no Diff finds, within what decoding lets pass:
// a fuzzer seldom gets so far, since what it writes has to end where it says.
func TestHostileChanges(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	l := randomLists(r, 60)
	old := l.build(t, Key{1})
	next := l.change(r, 10).build(t, Key{1})
	n := 400
	if testing.Short() {
		n = 50
	}
	h := deltaHeader{from: old.digest, to: next.digest, fromSize: uint64(len(old.data)), toSize: uint64(len(next.data))}
	any32 := func() uint32 {
		return []uint32{0, 1, r.Uint32N(300), r.Uint32N(300), 1<<31 - 1, 1<<32 - 1, r.Uint32()}[r.IntN(7)]
	}
	delta, err := forced(old, next)
	if err != nil {
		t.Fatal(err)
	}
	wrong := 0
	for range n {
		head, parts, err := readDelta(old, bytes.NewReader(delta))
		if err != nil {
			t.Fatal(err)
		}
		x, err := decodeChanges(old, head, parts)
		if err != nil {
			t.Fatal(err)
		}
		for range 1 + r.IntN(3) {
			spoil(x, r, any32)
		}
		var out memory
		if _, err := x.apply(old, &h, &locked{memory: &out}); err != nil {
			wrong++
		} else if !bytes.Equal(out, next.data) {
			t.Fatal("another file of the same digest")
		}
	}
	if wrong < n/2 {
		t.Fatalf("only %d of %d were spoilt", wrong, n)
	}
}

// spoil changes one thing.
func spoil(x *changes, r *rand.Rand, any32 func() uint32) {
	i := r.IntN(1 << 16)
	feed := func() uint16 { return uint16(r.IntN(MaxFeeds + 1)) }
	switch r.IntN(14) {
	case 0:
		x.moved[i%len(x.moved)] = int(feed()) - 1
	case 1:
		x.gone4[i%len(x.gone4)] = any32()
	case 2:
		x.gone6[i%len(x.gone6)] = any32()
	case 3:
		x.new4[i%len(x.new4)] = rec4{any32(), any32(), feed(), uint8(r.IntN(33))}
	case 4:
		x.new6[i%len(x.new6)] = rec6{u128{r.Uint64(), r.Uint64()}, any32(), feed(), uint8(r.IntN(129))}
	case 5:
		x.names = r.IntN(100_000)
	case 6:
		x.goneNames[i%len(x.goneNames)] = goneName{any32(), any32(), int32(r.IntN(4)) - 1}
	case 7:
		x.goneNames = append(x.goneNames, x.goneNames[i%len(x.goneNames)])
	case 8:
		x.newNames[i%len(x.newNames)].line = any32()
	case 9:
		n := &x.newNames[i%len(x.newNames)]
		n.feed, n.flags = feed(), uint8(r.IntN(8))
	case 10:
		x.newNames = append(x.newNames, x.newNames[i%len(x.newNames)])
	case 11:
		l := &x.lines[i%len(x.lines)]
		l.length = r.IntN(1000)
	case 12:
		l := &x.lines[i%len(x.lines)]
		l.breaks = append(l.breaks, lineBreak{any32(), r.Int64() >> r.IntN(64)})
	case 13:
		x.feeds = x.feeds[:i%len(x.feeds)]
	}
}
