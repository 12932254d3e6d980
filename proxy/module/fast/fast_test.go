//go:build cgo

package fast

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pavise.dev/pavise/feeds/snapshot"
)

// pair is a file as Go and as C read it.
type pair struct {
	t    testing.TB
	path string
	s    *snapshot.Snapshot
	x    *Index
}

func build(t testing.TB, feeds int, fill func(b *snapshot.Builder)) *pair {
	t.Helper()
	list := make([]snapshot.Feed, feeds)
	b, err := snapshot.NewBuilder(list, snapshot.KeyOf(list))
	if err != nil {
		t.Fatal(err)
	}
	fill(b)
	path := filepath.Join(t.TempDir(), "snapshot")
	if _, err := snapshot.Save(path, b); err != nil {
		t.Fatal(err)
	}
	p, err := open(t, path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func open(t testing.TB, path string) (*pair, error) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := snapshot.OpenFile(f)
	if err != nil {
		return nil, err
	}
	x, err := Open(f, s, [2]bool{})
	if err != nil {
		t.Fatalf("Go opens what C does not: %v", err)
	}
	t.Cleanup(x.Close)
	return &pair{t, path, s, x}, nil
}

func (p *pair) addr(a netip.Addr) {
	p.t.Helper()
	if goes, c := p.s.ContainsAddr(a), p.x.ContainsAddr(a); goes != c {
		p.t.Fatalf("%s: Go says %v, C says %v", a, goes, c)
	}
}

func (p *pair) name(name string) {
	p.t.Helper()
	if goes, c := p.s.ContainsDomain(name), p.x.ContainsDomain(name); goes != c {
		p.t.Fatalf("%q: Go says %v, C says %v", name, goes, c)
	}
}

// around asks about a prefix, its first and last address, and those beside it.
func (p *pair) around(of netip.Prefix) {
	b := of.Addr().AsSlice()
	for i := of.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	for _, a := range []netip.Addr{of.Addr(), last, of.Addr().Prev(), last.Next()} {
		p.addr(a)
	}
}

// generator makes entries and questions that meet often.
type generator struct {
	*rand.Rand
	spread int // how many different values there are for what varies
}

func (g generator) addr() netip.Addr {
	switch g.IntN(5) {
	case 0, 1:
		return netip.AddrFrom4([4]byte{byte(g.IntN(3)) * 127, byte(g.IntN(g.spread)), byte(g.IntN(256)), byte(g.IntN(256))})
	case 2:
		return netip.AddrFrom4([4]byte{10, 0, byte(g.IntN(2)), byte(g.IntN(256))})
	}
	var b [16]byte
	b[0] = []byte{0x20, 0x2a, 0x3f, 0xfe, 0}[g.IntN(5)]
	b[1] = []byte{0, 0xff}[g.IntN(2)]
	for _, i := range []int{3, 7, 8, 15} {
		b[i] = byte(g.IntN(g.spread))
	}
	return netip.AddrFrom16(b)
}

func (g generator) prefix() netip.Prefix {
	for {
		a := g.addr()
		bits := g.IntN(a.BitLen() + 1)
		if g.IntN(50) != 0 {
			bits = a.BitLen() - g.IntN(min(a.BitLen()/2, 20))
		}
		if p := netip.PrefixFrom(a, bits).Masked(); !p.Addr().Is4In6() {
			return p
		}
	}
}

func (g generator) name(most int) string {
	labels := make([]string, 1+g.IntN(most))
	for i := range labels {
		labels[i] = []string{"a", "b", "example", "com", "a-rather-long-label-indeed", fmt.Sprint("n", g.IntN(g.spread))}[g.IntN(6)]
	}
	return strings.Join(labels, ".")
}

// fill adds entries of every kind and returns what they are.
func (g generator) fill(t testing.TB, b *snapshot.Builder, feeds, addrs, names int, tlds bool) (prefixes []netip.Prefix, listed []string) {
	t.Helper()
	for i := range addrs {
		p := g.prefix()
		prefixes = append(prefixes, p)
		if err := b.AddPrefix(g.IntN(feeds), p, uint32(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range names {
		name := g.name(6)
		if !tlds && !strings.Contains(name, ".") || len(name) > 253 {
			continue
		}
		listed = append(listed, name)
		var err error
		if g.IntN(10) == 0 {
			err = b.AddException(g.IntN(feeds), []byte(name), uint32(i+1))
		} else {
			err = b.AddDomain(g.IntN(feeds), []byte(name), snapshot.Match(1+g.IntN(3)), uint32(i+1))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return prefixes, listed
}

// TestSameAnswers would catch C that lists what Go does not, or passes what Go lists: the
// second would let everything by that a feed forbids.
func TestSameAnswers(t *testing.T) {
	sizes := []int{0, 1, 2, 7, 8, 9, 50, 300, 3000}
	if !testing.Short() {
		sizes = append(sizes, 30_000, 200_000)
	}
	for i, size := range sizes {
		for _, tlds := range []bool{false, true} {
			g := generator{rand.New(rand.NewPCG(uint64(i), 7)), min(4+size/20, 256)}
			var prefixes []netip.Prefix
			var names []string
			p := build(t, 3, func(b *snapshot.Builder) { prefixes, names = g.fill(t, b, 3, size, size, tlds) })
			for range 20_000 {
				p.addr(g.addr())
				p.name(g.name(8))
			}
			some := max(1, size/10_000) // of what is listed
			for i := 0; i < len(prefixes); i += some {
				p.around(prefixes[i])
			}
			for i := 0; i < len(names); i += some {
				name := names[i]
				for _, n := range []string{name, "x." + name, "x.y." + name, "x" + name, name[1:], name + ".", "." + name} {
					p.name(n)
				}
			}
		}
	}
}

// TestOneKindAlone would catch C that reads a section which an empty kind does not have.
func TestOneKindAlone(t *testing.T) {
	for _, e := range []string{"", "10.0.0.0/8", "2001:db8::/32", "fe80::/10", "::/0", "0.0.0.0/0", "a.example", "com"} {
		p := build(t, 1, func(b *snapshot.Builder) {
			var err error
			if of, bad := netip.ParsePrefix(e); bad == nil {
				err = b.AddPrefix(0, of, 1)
			} else if e != "" {
				err = b.AddDomain(0, []byte(e), snapshot.Self|snapshot.Below, 1)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		p.ask()
	}
}

// ask puts questions that are odd in some way.
func (p *pair) ask() {
	long := strings.Repeat("a", 63)
	for _, name := range []string{
		"", ".", "..", "...", "a", "a.", ".a", "a..b", "com", "com.", ".com", "a.example", "x.a.example", "y.x.a.example", "b.y.x.a.example",
		"a.com", "b.a.com", "1234567", "12345.7", "123.5.7", "1.3.5.7.9", strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 127) + "a",
		long + "." + long + "." + long + "." + long[:61], long + "." + long + "." + long + "." + long[:62], strings.Repeat(".", 253), "a\x00b.example",
		strings.Repeat("b", 64), strings.Repeat("b", 65), strings.Repeat("b", 60) + ".com", strings.Repeat("b", 61) + ".com", "é.example",
	} {
		p.name(name)
	}
	for _, a := range []string{
		"0.0.0.0", "9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0", "255.255.255.255", "::", "::1", "::ffff:10.1.2.3",
		"1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::",
		"3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", "fe80::1%eth0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	} {
		p.addr(netip.MustParseAddr(a))
	}
	p.addr(netip.Addr{})
}

// FuzzSameAnswers makes a file of the first lines, asks it about the others, and compares.
func FuzzSameAnswers(f *testing.F) {
	for _, s := range []string{
		"10.0.0.0/8\n10.1.2.3/32\n\n10.1.2.3\n11.0.0.0",
		"2001:db8::/32\n2001:db8::1/128\nfe80::/10\n::/0\n\n2001:db8::1\n::\nffff::",
		"example.com\n=a.example.com\n<b.example.com\n!c.example.com\n\na.example.com\nx.a.example.com\ny.b.example.com\nz.c.example.com",
		"com\na.b.c.d.e.com\n\na.b.c.d.e.com\nb.c.d.e.com\nx",
	} {
		f.Add(s)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		list, questions, _ := strings.Cut(text, "\n\n")
		feeds := make([]snapshot.Feed, 2)
		b, err := snapshot.NewBuilder(feeds, snapshot.Key{1})
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(list, "\n") {
			feed, line1 := i%2, uint32(i+1)
			if of, err := netip.ParsePrefix(line); err == nil {
				_ = b.AddPrefix(feed, of, line1) // or is not one that a snapshot holds
				continue
			}
			switch rest := strings.TrimLeft(line, "=<!"); {
			case strings.HasPrefix(line, "="):
				_ = b.AddDomain(feed, []byte(rest), snapshot.Self, line1)
			case strings.HasPrefix(line, "<"):
				_ = b.AddDomain(feed, []byte(rest), snapshot.Below, line1)
			case strings.HasPrefix(line, "!"):
				_ = b.AddException(feed, []byte(rest), line1)
			default:
				_ = b.AddDomain(feed, []byte(line), snapshot.Self|snapshot.Below, line1)
			}
		}
		file, err := os.CreateTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file.Name())
		defer file.Close()
		if _, err := b.WriteTo(file); err != nil {
			t.Fatal(err)
		}
		p, err := open(t, file.Name())
		if err != nil {
			t.Fatal(err)
		}
		p.ask()
		for q := range strings.SplitSeq(questions+"\n"+list, "\n") {
			p.name(q)
			p.name("x." + q)
			if a, err := netip.ParseAddr(q); err == nil {
				p.addr(a)
			}
			if of, err := netip.ParsePrefix(q); err == nil {
				p.around(of)
			}
			_, a := Host(q)
			p.addr(a)
		}
	})
}
