package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"
)

// sample is the content of a small file that has something in every section.
func sample(t testing.TB, shuffle *rand.Rand) []byte {
	t.Helper()
	var entries []entry
	for i, p := range []string{
		"10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "192.0.2.0/24", "255.255.255.255/32", "10.1.2.3/32",
		"2001:db8::/32", "2001:db8:1::/48", "2001:db8:1::1/128", "2001:db8:1::3/128", "fe80::/10", "2001:db8::/32",
	} {
		entries = append(entries, entry{feed: i % 3, prefix: netip.MustParsePrefix(p), line: uint32(i + 1)})
	}
	for i := range 300 {
		name := string(rune('a'+i%26)) + string(rune('a'+i/26)) + ".example.com"
		entries = append(entries, entry{feed: i % 2, domain: name, match: Self | Below, line: uint32(20 + i)})
	}
	entries = append(entries,
		entry{feed: 1, domain: "aa.example.com", match: Below, line: 400},
		entry{feed: 2, domain: "aa.example.com", match: Self, line: 401},
		entry{feed: 0, domain: "x.aa.example.com", except: true, line: 402},
		entry{feed: 2, domain: "zip", match: Below, line: 403})
	if shuffle != nil {
		shuffle.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	}
	feeds := []Feed{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	b, err := NewBuilder(feeds, Key{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	add(t, b, entries)
	var out memory
	if _, err := b.WriteTo(&locked{memory: &out}); err != nil {
		t.Fatal(err)
	}
	return aligned8(out)
}

// memory is a file.
type memory []byte

func (m *memory) WriteAt(b []byte, at int64) (int, error) {
	if end := int(at) + len(b); end > len(*m) {
		*m = append(*m, make([]byte, end-len(*m))...)
	}
	return copy((*m)[at:], b), nil
}

// locked is a file that several goroutines write to.
type locked struct {
	mu     sync.Mutex
	memory *memory
}

func (l *locked) WriteAt(b []byte, at int64) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memory.WriteAt(b, at)
}

// aligned8 is a copy that begins where open needs it.
func aligned8(b []byte) []byte {
	words := make([]uint64, len(b)/8+1)
	out := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
	return out[:copy(out, b)]
}

// repair makes all checksums right, as somebody would who wants a file to be read that
// no Builder wrote.
func repair(b []byte) {
	if len(b) < tableEnd {
		return
	}
	for i := range sections {
		row := b[headerSize+i*sectionSize:]
		at, n := binary.LittleEndian.Uint64(row), binary.LittleEndian.Uint64(row[8:])
		if at <= uint64(len(b)) && n <= uint64(len(b))-at {
			binary.LittleEndian.PutUint32(row[16:], crc32.Checksum(b[at:at+n], castagnoli))
		}
	}
	binary.LittleEndian.PutUint32(b[sumAt:], headerSum(b[:tableEnd]))
}

func TestTruncatedIsRefused(t *testing.T) {
	data := sample(t, nil)
	s, err := open(data)
	if err != nil {
		t.Fatal(err)
	}
	cuts := map[int]bool{0: true, 1: true, headerSize: true, tableEnd - 1: true, tableEnd: true, len(data) - 1: true}
	for _, sec := range s.head.sections {
		for d := range uint64(3) {
			cuts[int(sec.offset+d)-1] = true
			cuts[int(sec.offset+sec.length+d)-1] = true
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		cuts[r.IntN(len(data))] = true
	}
	path := filepath.Join(t.TempDir(), "snapshot")
	for cut := range cuts {
		if cut >= len(data) {
			continue
		}
		if err := os.WriteFile(path, data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		var c *Corrupt
		if _, err := Open(path); !errors.As(err, &c) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	if _, err := open(aligned8(append(bytes.Clone(data), 0))); err == nil {
		t.Fatal("an octet behind the end")
	}
}

func TestAlteredIsRefused(t *testing.T) {
	data := sample(t, nil)
	s, err := open(data)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	flip := func(at int) {
		bit := byte(1) << r.IntN(8)
		data[at] ^= bit
		if _, err := open(data); err == nil {
			t.Fatalf("octet %d altered", at)
		}
		data[at] ^= bit
	}
	for at := range tableEnd {
		flip(at)
	}
	long := map[int]bool{secV4Dir: true, secV6Dir: true}
	end := uint64(tableEnd)
	for i, sec := range s.head.sections {
		for at := end; at < sec.offset; at++ {
			flip(int(at)) // between two sections
		}
		step := uint64(13)
		if long[i] || testing.Short() {
			step = sec.length/50 + 1
		}
		for at := uint64(0); at < sec.length; at += step {
			flip(int(sec.offset + at))
		}
		end = sec.offset + sec.length
	}
	if _, err := open(data); err != nil {
		t.Fatal(err)
	}
}

func TestOrderDoesNotMatter(t *testing.T) {
	want := sample(t, nil)
	for seed := range uint64(10) {
		if !bytes.Equal(want, sample(t, rand.New(rand.NewPCG(seed, 1)))) {
			t.Fatal("the same entries in another order give another file")
		}
	}
}

// ask looks up a few keys in a file that opened.
func ask(s *Snapshot) {
	for _, name := range []string{
		"com", "example.com", "aa.example.com", "x.aa.example.com", "y.x.aa.example.com", "zz.example.com", "b.zip", "zip",
		"", ".", "..", "a..b", ".com", "com.", "not.listed.org",
	} {
		s.ContainsDomain(name)
		s.LookupDomain(nil, name)
	}
	for _, a := range []string{"0.0.0.0", "10.1.2.3", "10.255.255.255", "192.0.2.255", "255.255.255.255", "::", "2001:db8::", "2001:db8:1::1", "2001:db8:1::2", "3fff::1", "fe80::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
		s.ContainsAddr(netip.MustParseAddr(a))
		s.LookupAddr(nil, netip.MustParseAddr(a))
	}
}

// FuzzOpen reads files whose checksums are right and whose content is anything: what
// changes is put over a sound file at an offset, so that most of it stays sensible.
func FuzzOpen(f *testing.F) {
	data := sample(f, nil)
	s, err := open(data)
	if err != nil {
		f.Fatal(err)
	}
	for i, sec := range s.head.sections {
		f.Add(uint32(sec.offset), []byte{0xff, 0xff, 0xff, 0xff}, uint16(0), uint16(0))
		f.Add(uint32(sec.offset+sec.length/2), []byte{0, 0, 0, 0, 0x80}, uint16(i), uint16(8))
	}
	f.Fuzz(func(t *testing.T, at uint32, over []byte, grow, shrink uint16) {
		b := aligned8(data)
		copy(b[at%uint32(len(b)):], over)
		// One section is made shorter, and what is behind it moves up.
		if i := int(grow) % sections; shrink > 0 {
			sec := s.head.sections[i]
			cut := min(uint64(shrink), sec.length)
			b = shorten(b, s.head.sections, i, cut)
		}
		repair(b)
		if s, err := open(b); err == nil {
			ask(s)
		}
	})
}

// shorten takes octets off the end of a section.
func shorten(b []byte, list [sections]section, which int, cut uint64) []byte {
	out := bytes.Clone(b[:tableEnd])
	end := uint64(tableEnd)
	for i, sec := range list {
		length := sec.length
		if i == which {
			length -= cut
		}
		at := aligned(end)
		out = append(out, make([]byte, at-end)...)
		out = append(out, b[sec.offset:sec.offset+length]...)
		end = at + length
		binary.LittleEndian.PutUint64(out[headerSize+i*sectionSize:], at)
		binary.LittleEndian.PutUint64(out[headerSize+i*sectionSize+8:], length)
	}
	binary.LittleEndian.PutUint64(out[32:], end)
	return aligned8(out)
}

// TestHostileOctets is FuzzOpen without a fuzzer: random octets in random places.
func TestHostileOctets(t *testing.T) {
	data := sample(t, nil)
	sound, err := open(data)
	if err != nil {
		t.Fatal(err)
	}
	n := 1500
	if testing.Short() {
		n = 300
	}
	r := rand.New(rand.NewPCG(1, 1))
	opened := 0
	for range n {
		b := aligned8(data)
		for range 1 + r.IntN(20) {
			sec := sound.head.sections[r.IntN(sections)]
			if sec.length == 0 {
				continue
			}
			at := sec.offset + r.Uint64N(min(sec.length, 4096))
			b[at] = []byte{0, 1, 0x7f, 0x80, 0xff, byte(r.Uint32())}[r.IntN(6)]
		}
		if r.IntN(3) == 0 {
			i := r.IntN(sections)
			b = shorten(b, sound.head.sections, i, r.Uint64N(min(sound.head.sections[i].length, 64)+1))
		}
		repair(b)
		if s, err := open(b); err == nil {
			opened++
			ask(s)
		}
	}
	if opened < n/10 {
		t.Fatalf("only %d of %d opened", opened, n)
	}
}

func TestNoAllocation(t *testing.T) {
	s, err := open(sample(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]Hit, 0, 64)
	a4, a6 := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("2001:db8:1::1")
	outside := netip.MustParseAddr("fe80::1")
	n := testing.AllocsPerRun(100, func() {
		for _, a := range []netip.Addr{a4, a6, outside} {
			if !s.ContainsAddr(a) || len(s.LookupAddr(dst, a)) == 0 {
				t.Error("not found")
			}
		}
		for _, name := range []string{"aa.example.com", "deep.down.ba.example.com", "x.zip"} {
			if !s.ContainsDomain(name) || len(s.LookupDomain(dst, name)) == 0 {
				t.Error("not found")
			}
		}
		if s.ContainsDomain("x.aa.example.org") || s.ContainsAddr(netip.IPv6LinkLocalAllNodes()) {
			t.Error("found")
		}
	})
	if n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// TestSwapUnderReaders replaces a mapped file while others read it; nothing but the
// pointer holds it.
func TestSwapUnderReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	for i := range 2 {
		if _, err := Save(path+fmt.Sprint(i), version(i, 50)); err != nil {
			t.Fatal(err)
		}
	}
	load := func(i int) *Snapshot {
		s, err := Open(path + fmt.Sprint(i%2))
		if err != nil {
			t.Error(err)
		}
		return s
	}
	var current atomic.Pointer[Snapshot]
	current.Store(load(0))
	var wg sync.WaitGroup
	var stop atomic.Bool
	for range 2 {
		wg.Go(func() {
			for !stop.Load() {
				s := current.Load()
				which := s.Feeds()[0].Name
				inOne := s.ContainsDomain("name7.version1.example")
				hits := s.LookupAddr(nil, netip.MustParseAddr("10.0.0.7"))
				if inOne != (which == "feed 1") || (len(hits) == 1) != (which == "feed 0") {
					t.Error("an answer of the other version")
					return
				}
			}
		})
	}
	for i := range 60 {
		current.Store(load(i))
		if i%4 == 0 {
			runtime.GC()
		}
	}
	stop.Store(true)
	wg.Wait()
}
