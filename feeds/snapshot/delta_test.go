package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// lists are the bodies of some feeds: of each line what readEntry reads, comments apart.
type lists map[string][]string

func (l lists) build(t testing.TB, key Key) *Snapshot {
	t.Helper()
	var feeds []Feed
	for name := range l {
		feeds = append(feeds, Feed{Name: name, Digest: fmt.Sprint(len(l[name]))})
	}
	slices.SortFunc(feeds, func(a, b Feed) int { return strings.Compare(a.Name, b.Name) })
	b, err := NewBuilder(feeds, key)
	if err != nil {
		t.Fatal(err)
	}
	for feed := range feeds {
		for i, line := range l[feeds[feed].Name] {
			for word := range strings.FieldsSeq(line) {
				if e, ok := readEntry(word, uint32(i+1)); ok && line[0] != '#' {
					e.feed = feed
					add(t, b, []entry{e})
				}
			}
		}
	}
	var out memory
	if _, err := b.WriteTo(&locked{memory: &out}); err != nil {
		t.Fatal(err)
	}
	s, err := open(aligned8(out))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// randomLine has few names and addresses to choose from, so that entries repeat.
func randomLine(r *rand.Rand) string {
	word := func() string {
		switch r.IntN(6) {
		case 0:
			return fmt.Sprintf("10.%d.%d.%d/%d", r.IntN(4), r.IntN(4), r.IntN(256), 16+r.IntN(17))
		case 1:
			return fmt.Sprintf("2001:db8:%x::%x/%d", r.IntN(4), r.IntN(9), 32+r.IntN(97))
		}
		mark := []string{"", "", "", "=", "<", "!"}[r.IntN(6)]
		name := fmt.Sprintf("n%d.example", r.IntN(2000))
		if r.IntN(4) == 0 {
			name = strings.Repeat("x.", 1+r.IntN(4)) + name
		}
		if r.IntN(50) == 0 {
			name = "Odd\xffname" + name
		}
		return mark + name
	}
	line := word()
	switch r.IntN(20) {
	case 0:
		return "# " + line
	case 1:
		return line + " " + word()
	}
	return line
}

// change returns the lists after a refresh.
func (l lists) change(r *rand.Rand, churn int) lists {
	out := lists{}
	for name, lines := range l {
		var now []string
		for _, line := range lines {
			switch r.IntN(churn) {
			case 0: // gone
			case 1:
				now = append(now, randomLine(r), line)
			case 2:
				now = append(now, randomLine(r))
			default:
				now = append(now, line)
			}
		}
		out[name] = now
	}
	switch r.IntN(8) {
	case 0:
		delete(out, fmt.Sprint("feed", r.IntN(4)))
	case 1:
		out["feed2b"] = []string{randomLine(r), randomLine(r)}
	case 2:
		for _, lines := range out {
			r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		}
	}
	return out
}

func randomLists(r *rand.Rand, n int) lists {
	l := lists{}
	for i := range 4 {
		for range n {
			l[fmt.Sprint("feed", i)] = append(l[fmt.Sprint("feed", i)], randomLine(r))
		}
	}
	return l
}

// forced is a delta, whatever its size.
func forced(old, next *Snapshot) ([]byte, error) {
	c, err := diff(old, next)
	if err != nil {
		return nil, err
	}
	parts, err := c.encode(old)
	if err != nil {
		return nil, err
	}
	h := deltaHeader{from: old.digest, to: next.digest, fromSize: uint64(len(old.data)), toSize: uint64(len(next.data))}
	return append(h.marshal(parts), bytes.Join(parts[:], nil)...), nil
}

func TestDeltaMakesTheSameFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	for seed := range seeds() {
		r := rand.New(rand.NewPCG(seed, 3))
		l := randomLists(r, r.IntN(300))
		old := l.build(t, Key{1})
		for round := range 3 {
			l = l.change(r, 4+r.IntN(100))
			next := l.build(t, Key{1})
			delta, err := forced(old, next)
			if err != nil {
				t.Fatal(err)
			}
			info, err := Apply(old, bytes.NewReader(delta), path)
			if err != nil {
				t.Fatalf("seed %d, round %d: %v", seed, round, err)
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, next.data) || info.Digest != next.digest {
				t.Fatal("another file of the same digest")
			}
			old = next
		}
	}
}

func TestDeltaOfNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	r := rand.New(rand.NewPCG(1, 1))
	full, empty := randomLists(r, 200).build(t, Key{1}), lists{}.build(t, Key{1})
	for _, pair := range [][2]*Snapshot{{full, full}, {empty, empty}, {empty, full}, {full, empty}} {
		delta, err := forced(pair[0], pair[1])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Apply(pair[0], bytes.NewReader(delta), path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDeltaTooBig(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	l := randomLists(r, 100)
	if err := Diff(l.build(t, Key{1}), l.build(t, Key{2}), &bytes.Buffer{}); !errors.Is(err, ErrDeltaTooBig) {
		t.Fatalf("another key: %v", err)
	}
}

func TestDeltaIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "snapshot")
	if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	l := randomLists(r, 100)
	old := l.build(t, Key{1})
	next := l.change(r, 10).build(t, Key{1})
	var out bytes.Buffer
	if err := Diff(old, next, &out); err != nil {
		t.Fatal(err)
	}
	delta := out.Bytes()
	untouched := func() {
		t.Helper()
		if list, _ := os.ReadDir(dir); len(list) != 1 {
			t.Fatalf("left: %v", list)
		}
		if b, _ := os.ReadFile(path); string(b) != "before" {
			t.Fatal("the file is another")
		}
	}
	if _, err := Apply(next, bytes.NewReader(delta), path); !errors.Is(err, ErrDeltaBase) {
		t.Fatalf("another base: %v", err)
	}
	for cut := range delta {
		var d *DeltaError
		if _, err := Apply(old, bytes.NewReader(delta[:cut]), path); !errors.As(err, &d) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		b := bytes.Clone(delta)
		b[cut] ^= 1 << (cut % 8)
		if _, err := Apply(old, bytes.NewReader(b), path); err == nil {
			t.Fatalf("octet %d altered", cut)
		}
	}
	if _, err := Apply(old, bytes.NewReader(append(bytes.Clone(delta), 0)), path); err == nil {
		t.Fatal("an octet behind the end")
	}
	untouched()
	// With the right checksum: another file, or, where an octet says nothing, the same.
	for at := deltaHead; at < len(delta); at++ {
		b := bytes.Clone(delta)
		b[at] ^= 1 << (at % 8)
		repairDelta(b)
		if _, err := Apply(old, bytes.NewReader(b), path); err == nil {
			if got, _ := os.ReadFile(path); !bytes.Equal(got, next.data) {
				t.Fatalf("octet %d altered, checksum right", at)
			}
			if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	untouched()
	full := disk{sync: func(*os.File) error { return syscall.ENOSPC }}
	if _, err := full.apply(old, bytes.NewReader(delta), path); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	untouched()
}

// repairDelta makes sizes and checksum right: what is left over is the feeds.
func repairDelta(b []byte) {
	var h deltaHeader
	if len(b) < deltaHead || h.unmarshal(b) != nil {
		return
	}
	var parts [deltaParts][]byte
	rest := b[deltaHead:]
	for i, n := range h.parts {
		n = min(n, uint32(len(rest)))
		if i == len(parts)-1 {
			n = uint32(len(rest))
		}
		parts[i], rest = rest[:n], rest[n:]
	}
	copy(b, h.marshal(parts))
}

// FuzzDelta applies deltas whose header is right and whose parts are anything.
func FuzzDelta(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	l := randomLists(r, 60)
	old := l.build(f, Key{1})
	next := l.change(r, 10).build(f, Key{1})
	for _, s := range []*Snapshot{old, next, l.change(r, 5).build(f, Key{1}), lists{}.build(f, Key{1})} {
		c, err := diff(old, s)
		if err != nil {
			f.Fatal(err)
		}
		parts, err := c.encode(old)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(parts[0], parts[1], parts[2], parts[3])
	}
	h := deltaHeader{from: old.digest, to: next.digest, fromSize: uint64(len(old.data)), toSize: uint64(len(next.data))}
	f.Fuzz(func(t *testing.T, a, b, c, d []byte) {
		parts := [deltaParts][]byte{a, b, c, d}
		delta := append(h.marshal(parts), bytes.Join(parts[:], nil)...)
		head, parts, err := readDelta(old, bytes.NewReader(delta))
		if err != nil {
			return
		}
		x, err := decodeChanges(old, head, parts)
		if err != nil {
			return
		}
		var out memory
		if _, err := x.apply(old, head, &locked{memory: &out}); err == nil && !bytes.Equal(out, next.data) {
			t.Fatal("another file of the same digest")
		}
	})
}
