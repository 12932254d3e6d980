package snapshot

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/yl2chen/cidranger"
)

// build writes a snapshot of one test and opens it.
func build(t testing.TB, feeds []Feed, fill func(b *Builder)) *Snapshot {
	t.Helper()
	b, err := NewBuilder(feeds, KeyOf(feeds))
	if err != nil {
		t.Fatal(err)
	}
	fill(b)
	f, err := os.Create(filepath.Join(t.TempDir(), "snapshot"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := b.WriteTo(f)
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenFile(f)
	if err != nil {
		t.Fatal(err)
	}
	if s.Digest() != info.Digest {
		t.Fatalf("digest %s, written as %s", s.Digest(), info.Digest)
	}
	if err := s.VerifyDigest(); err != nil {
		t.Fatal(err)
	}
	return s
}

// entry is an entry of the oracle, which asks each in turn.
type entry struct {
	feed   int
	prefix netip.Prefix
	domain string
	match  Match
	except bool
	line   uint32
}

func add(t testing.TB, b *Builder, entries []entry) {
	t.Helper()
	for _, e := range entries {
		var err error
		switch {
		case e.prefix.IsValid():
			err = b.AddPrefix(e.feed, e.prefix, e.line)
		case e.except:
			err = b.AddException(e.feed, []byte(e.domain), e.line)
		default:
			err = b.AddDomain(e.feed, []byte(e.domain), e.match, e.line)
		}
		if err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
	}
}

// oracle answers from what others wrote (cidranger for addresses) and from a sorted list
// of names, in which each name above the one asked for is searched.
type oracle struct {
	nets  cidranger.Ranger
	names []entry // by domain, feed, exception; the first line and all that is meant
}

// net4or6 is what the ranger holds for a prefix: the first line of each feed.
type net4or6 struct {
	net   net.IPNet
	p     netip.Prefix
	lines map[int]uint32
}

func (n *net4or6) Network() net.IPNet { return n.net }

func newOracle(t testing.TB, entries []entry) *oracle {
	t.Helper()
	o := &oracle{nets: cidranger.NewPCTrieRanger()}
	nets := map[netip.Prefix]*net4or6{}
	for _, e := range entries {
		if !e.prefix.IsValid() {
			o.names = append(o.names, e)
			continue
		}
		p := e.prefix.Masked()
		n := nets[p]
		if n == nil {
			n = &net4or6{net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}, p, map[int]uint32{}}
			nets[p] = n
			if err := o.nets.Insert(n); err != nil {
				t.Fatal(err)
			}
		}
		if line, ok := n.lines[e.feed]; !ok || e.line < line {
			n.lines[e.feed] = e.line
		}
	}
	slices.SortFunc(o.names, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.domain, b.domain), cmp.Compare(a.feed, b.feed), cmp.Compare(fmt.Sprint(a.except), fmt.Sprint(b.except)), cmp.Compare(a.line, b.line))
	})
	kept := o.names[:0]
	for _, e := range o.names {
		if n := len(kept); n > 0 && kept[n-1].domain == e.domain && kept[n-1].feed == e.feed && kept[n-1].except == e.except {
			kept[n-1].match |= e.match
			continue
		}
		kept = append(kept, e)
	}
	o.names = kept
	return o
}

func (o *oracle) addr(t testing.TB, a netip.Addr) []Hit {
	t.Helper()
	list, err := o.nets.ContainingNetworks(a.AsSlice())
	if err != nil {
		t.Fatal(err)
	}
	var hits []Hit
	for _, e := range list {
		n := e.(*net4or6)
		for feed, line := range n.lines {
			hits = append(hits, Hit{Feed: feed, Line: line, Prefix: n.p})
		}
	}
	return hits
}

func (o *oracle) domain(name string) []Hit {
	var hits []Hit
	excepted := map[int]bool{}
	for at := 0; at < len(name); at++ {
		if at > 0 && name[at-1] != '.' {
			continue
		}
		i, _ := slices.BinarySearchFunc(o.names, name[at:], func(e entry, s string) int { return cmp.Compare(e.domain, s) })
		for ; i < len(o.names) && o.names[i].domain == name[at:]; i++ {
			switch e := o.names[i]; {
			case e.except:
				excepted[e.feed] = true
			case at == 0 && e.match&Self != 0, at > 0 && e.match&Below != 0:
				hits = append(hits, Hit{Feed: e.feed, Line: e.line, Domain: e.domain, Match: e.match})
			}
		}
	}
	return slices.DeleteFunc(hits, func(h Hit) bool { return excepted[h.Feed] })
}

func compareHits(a, b Hit) int {
	return cmp.Or(cmp.Compare(len(a.Domain), len(b.Domain)), cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()),
		cmp.Compare(a.Feed, b.Feed), cmp.Compare(a.Line, b.Line))
}

// expect compares what a snapshot says of an address or a name with the oracle.
func expect(t *testing.T, s *Snapshot, o *oracle, addr netip.Addr, name string) {
	t.Helper()
	var got, want []Hit
	var contains bool
	if addr.IsValid() {
		got, contains, want = s.LookupAddr(nil, addr), s.ContainsAddr(addr), o.addr(t, addr)
		if !slices.IsSortedFunc(got, func(a, b Hit) int { return b.Prefix.Bits() - a.Prefix.Bits() }) {
			t.Fatalf("%s: not the longest first: %v", addr, got)
		}
	} else {
		got, contains, want = s.LookupDomain(nil, name), s.ContainsDomain(name), o.domain(name)
		if !slices.IsSortedFunc(got, func(a, b Hit) int { return len(a.Domain) - len(b.Domain) }) {
			t.Fatalf("%s: not the shortest first: %v", name, got)
		}
	}
	slices.SortFunc(got, compareHits)
	slices.SortFunc(want, compareHits)
	if !slices.Equal(got, want) || contains != (len(want) > 0) {
		t.Fatalf("%s%s: contains %v, hits %v, want %v", addr, name, contains, got, want)
	}
}

// seeds of the random tests.
func seeds() uint64 {
	if testing.Short() {
		return 4
	}
	return 40
}

func TestRandomAddresses(t *testing.T) {
	for seed := range seeds() {
		r := rand.New(rand.NewPCG(seed, 1))
		var entries []entry
		// Few distinct high bits, so that entries nest, touch and repeat.
		addr := func() netip.Addr {
			if r.IntN(2) == 0 {
				b := [4]byte{byte(r.IntN(3)) * 127, byte(r.IntN(3)), byte(r.IntN(256)), byte(r.IntN(256))}
				return netip.AddrFrom4(b)
			}
			var b [16]byte
			b[0] = []byte{0x20, 0x2a, 0x3f, 0xfe, 0}[r.IntN(5)]
			b[1] = []byte{0, 0xff}[r.IntN(2)]
			for _, i := range []int{3, 7, 8, 15} {
				b[i] = byte(r.IntN(4)) * 85
			}
			return netip.AddrFrom16(b)
		}
		for i := range 300 {
			a := addr()
			bits := r.IntN(a.BitLen() + 1)
			if r.IntN(8) != 0 {
				bits = a.BitLen() - r.IntN(min(a.BitLen()/2, 20))
			}
			entries = append(entries, entry{feed: i * 3 / 300, prefix: netip.PrefixFrom(a, bits).Masked(), line: uint32(i + 1)})
		}
		s := build(t, make([]Feed, 3), func(b *Builder) { add(t, b, entries) })
		o := newOracle(t, entries)
		for range 3000 {
			expect(t, s, o, addr(), "")
		}
		for _, e := range entries {
			first, last := e.prefix.Addr(), lastOf(e.prefix)
			for _, a := range []netip.Addr{first, last, first.Prev(), last.Next()} {
				if a.IsValid() {
					expect(t, s, o, a, "")
				}
			}
		}
	}
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func TestRandomNames(t *testing.T) {
	for seed := range seeds() {
		r := rand.New(rand.NewPCG(seed, 2))
		name := func() string {
			labels := make([]string, 1+r.IntN(6))
			for i := range labels {
				labels[i] = []string{"a", "b", "example", "com", "a-rather-long-label-indeed"}[r.IntN(5)]
			}
			return strings.Join(labels, ".")
		}
		var entries []entry
		for i := range 200 {
			e := entry{feed: i * 3 / 200, domain: name(), match: Match(1 + r.IntN(3)), line: uint32(i + 1)}
			if r.IntN(10) == 0 {
				e.except = true
			}
			if seed%2 == 0 && !strings.Contains(e.domain, ".") {
				continue
			}
			entries = append(entries, e)
		}
		s := build(t, make([]Feed, 3), func(b *Builder) { add(t, b, entries) })
		o := newOracle(t, entries)
		for range 3000 {
			expect(t, s, o, netip.Addr{}, name())
		}
		for _, e := range entries {
			expect(t, s, o, netip.Addr{}, e.domain)
			expect(t, s, o, netip.Addr{}, "x."+e.domain)
			expect(t, s, o, netip.Addr{}, "x"+e.domain)
		}
	}
}
