package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"

	"github.com/gaissmai/bart"
	"github.com/yl2chen/cidranger"

	"pavise.dev/pavise/benchmarks/internal/workload"
	"pavise.dev/pavise/feeds/snapshot"
)

// global is where IPv6 addresses that nobody lists are.
var global = netip.MustParsePrefix("2000::/3")

func addresses(dir string, v6 bool, count, keys, rounds int) (string, error) {
	family := "ipv4"
	if v6 {
		family = "ipv6"
	}
	r := rand.New(rand.NewPCG(1, 2))
	prefixes := workload.Prefixes4
	if v6 {
		prefixes = workload.Prefixes6
	}
	list := prefixes(r, count)
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
				// In a network that has prefixes, and one of ten anywhere.
				p := list[r.IntN(len(list))]
				out[i] = workload.Inside(r, netip.PrefixFrom(p.Addr(), min(p.Bits(), 32)).Masked())
				if r.IntN(10) == 0 {
					out[i] = workload.Inside(r, global)
				}
			} else {
				out[i] = workload.Unicast4(r)
			}
		}
		return out
	}
	listed := func(n int) []netip.Addr {
		out := make([]netip.Addr, n)
		for i := range out {
			out[i] = workload.Inside(r, list[r.IntN(len(list))])
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
