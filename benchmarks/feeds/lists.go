package main

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"

	"pavise.dev/pavise/benchmarks/internal/workload"
)

// randomPrefixes are distinct and random IPv4 prefixes, of the lengths that
// benchmarks/lookup has: 60 % single addresses, 25 % /24, 8 % /25 to /31, 6 % /20 to /23, 1 %
// /16 to /19. There is no IPv6 among them, which iprange does not read.
func randomPrefixes(r *rand.Rand, n int) []string {
	seen := make(map[netip.Prefix]bool, n)
	out := make([]string, 0, n)
	for len(out) < n {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 1<<24+r.Uint32N(223<<24))
		bits := 32
		switch c := r.IntN(100); {
		case c < 60:
		case c < 85:
			bits = 24
		case c < 93:
			bits = 25 + r.IntN(7)
		case c < 99:
			bits = 20 + r.IntN(4)
		default:
			bits = 16 + r.IntN(4)
		}
		p := netip.PrefixFrom(netip.AddrFrom4(b), bits).Masked()
		if seen[p] {
			continue
		}
		seen[p] = true
		if bits == 32 {
			out = append(out, p.Addr().String())
		} else {
			out = append(out, p.String())
		}
	}
	return out
}

// churned is a list after a refresh: 1 % changed, half of that gone and half new, anywhere.
// spare are lines that are not in it.
func churned(r *rand.Rand, list, spare []string) []string {
	n := len(list) / 200
	gone := make(map[int]bool, n)
	for len(gone) < n {
		gone[r.IntN(len(list))] = true
	}
	come := make(map[int][]string, n)
	for _, line := range spare[:n] {
		at := r.IntN(len(list))
		come[at] = append(come[at], line)
	}
	out := make([]string, 0, len(list))
	for i, line := range list {
		out = append(out, come[i]...)
		if !gone[i] {
			out = append(out, line)
		}
	}
	return out
}

func randomNames(r *rand.Rand, n int) []string { return workload.Names(r, n) }

func writeLines(path string, lines []string) error {
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}
