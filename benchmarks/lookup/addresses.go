package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"

	"github.com/gaissmai/bart"
	"github.com/yl2chen/cidranger"

	"pavise.dev/pavise/feeds/snapshot"
)

// prefixes are distinct and random, of lengths as lists of addresses have them: of IPv4
// 60 % single addresses, 25 % /24, 8 % /25 to /31, 6 % /20 to /23, 1 % /16 to /19; of IPv6 30 %
// single addresses, 30 % /64, 25 % /48, 10 % /56, 5 % /32 to /47, in 20,000 networks of /32
// as registries hand them out.
func randomPrefixes(r *rand.Rand, v6 bool, n int) []netip.Prefix {
	seen := make(map[netip.Prefix]bool, n)
	list := make([]netip.Prefix, 0, n)
	nets := make([]uint32, 20_000)
	for i := range nets {
		nets[i] = []uint32{0x2001, 0x2400, 0x2404, 0x2600, 0x2604, 0x2800, 0x2a00, 0x2a02, 0x2a06, 0x2a0c}[r.IntN(10)]<<16 | r.Uint32N(1<<13)<<3
	}
	for len(list) < n {
		var a netip.Addr
		var bits int
		c := r.IntN(100)
		if v6 {
			a = inside(r, netip.PrefixFrom(netip.AddrFrom16([16]byte{}), 0), nets[r.IntN(len(nets))])
			switch {
			case c < 30:
				bits = 128
			case c < 60:
				bits = 64
			case c < 85:
				bits = 48
			case c < 95:
				bits = 56
			default:
				bits = 32 + r.IntN(16)
			}
		} else {
			a = unicast4(r)
			switch {
			case c < 60:
				bits = 32
			case c < 85:
				bits = 24
			case c < 93:
				bits = 25 + r.IntN(7)
			case c < 99:
				bits = 20 + r.IntN(4)
			default:
				bits = 16 + r.IntN(4)
			}
		}
		if p := netip.PrefixFrom(a, bits).Masked(); !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	return list
}

// unicast4 is a random address from 1.0.0.0 to 223.255.255.255.
func unicast4(r *rand.Rand) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 1<<24+r.Uint32N(223<<24))
	return netip.AddrFrom4(b)
}

// inside is a random address of a prefix; top is the high 32 bits where the prefix has
// none.
func inside(r *rand.Rand, p netip.Prefix, top uint32) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(top)<<32|uint64(r.Uint32()))
	binary.BigEndian.PutUint64(b[8:], r.Uint64())
	if p.Bits() == 0 {
		return netip.AddrFrom16(b)
	}
	network := p.Addr().AsSlice()
	for i := range network {
		keep := min(max(p.Bits()-8*i, 0), 8)
		mask := byte(0xff >> keep)
		network[i] |= b[i] & mask
	}
	a, _ := netip.AddrFromSlice(network)
	return a
}

func addresses(dir string, v6 bool, count, keys, rounds int) (string, error) {
	family := "ipv4"
	if v6 {
		family = "ipv6"
	}
	r := rand.New(rand.NewPCG(1, 2))
	list := randomPrefixes(r, v6, count)
	s, err := write(dir, func(b *snapshot.Builder) error {
		for i, p := range list {
			if err := b.AddPrefix(0, p, uint32(i+1)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	lite, fast, ranger := new(bart.Lite), new(bart.Fast[int]), cidranger.NewPCTrieRanger()
	for i, p := range list {
		lite.Insert(p)
		fast.Insert(p, i)
		n := net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
		if err := ranger.Insert(cidranger.NewBasicRangerEntry(n)); err != nil {
			return "", err
		}
	}
	runtime.GC()
	var hit [64]snapshot.Hit
	contenders := []contender[netip.Addr]{
		{name: "snapshot", find: count1(s.ContainsAddr)},
		{name: "bart.Lite", find: count1(lite.Contains)},
		{name: "bart.Fast", find: count1(fast.Contains)},
		{name: "snapshot with entries", find: count1(func(a netip.Addr) bool { return len(s.LookupAddr(hit[:0], a)) > 0 })},
		{name: "bart.Fast with value", find: count1(func(a netip.Addr) bool { _, ok := fast.Lookup(a); return ok })},
		{name: "cidranger", every: 10, find: count1(func(a netip.Addr) bool { ok, _ := ranger.Contains(a.AsSlice()); return ok })},
	}
	random := func(n int) []netip.Addr {
		out := make([]netip.Addr, n)
		for i := range out {
			if v6 {
				// A random network that a prefix is in, and one of ten anywhere.
				p := list[r.IntN(len(list))]
				out[i] = inside(r, netip.PrefixFrom(p.Addr(), min(p.Bits(), 32)).Masked(), 0)
				if r.IntN(10) == 0 {
					out[i] = inside(r, netip.Prefix{}, 0x20000000|r.Uint32N(1<<29))
				}
			} else {
				out[i] = unicast4(r)
			}
		}
		return out
	}
	listed := func(n int) []netip.Addr {
		out := make([]netip.Addr, n)
		for i := range out {
			out[i] = inside(r, list[r.IntN(len(list))], 0)
		}
		return out
	}
	mixes := []mix[netip.Addr]{
		{"random", random},
		{"half", func(n int) []netip.Addr {
			out := append(random(n/2), listed(n-n/2)...)
			r.Shuffle(n, func(i, j int) { out[i], out[j] = out[j], out[i] })
			return out
		}},
		{"listed", listed},
	}
	f, err := measure(contenders, mixes, keys, rounds)
	if err != nil {
		return "", err
	}
	file, hot := s.Sizes()
	half := f["half"]
	return fmt.Sprintf("RESULT bench-lookup-%s prefixes=%d ns_random=%.1f ns_half=%.1f ns_listed=%.1f ns_entries=%.1f bytes_per_prefix=%.2f file_bytes_per_prefix=%.1f bart_lite_ratio=%.2f bart_fast_ratio=%.2f cidranger_ratio=%.0f",
		family, count, f["random"]["snapshot"], half["snapshot"], f["listed"]["snapshot"], half["snapshot with entries"],
		float64(hot)/float64(count), float64(file)/float64(count),
		half["bart.Lite"]/half["snapshot"], half["bart.Fast"]/half["snapshot"], half["cidranger"]/half["snapshot"]), nil
}

// count1 asks one key after the other.
func count1[K any](contains func(K) bool) func([]K) int {
	return func(keys []K) int {
		n := 0
		for _, k := range keys {
			n += number(contains(k))
		}
		return n
	}
}

// number makes no branch of an answer, which would be mispredicted for each contender.
func number(b bool) int {
	n := 0
	if b {
		n = 1
	}
	return n
}
