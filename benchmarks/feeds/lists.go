package main

import (
	"math/rand/v2"
	"os"
	"strings"

	"pavise.dev/pavise/benchmarks/internal/workload"
)

// randomPrefixes are lines of IPv4 prefixes. There is no IPv6 among them, which iprange
// does not read.
func randomPrefixes(r *rand.Rand, n int) []string {
	out := make([]string, 0, n)
	for _, p := range workload.Prefixes4(r, n) {
		if p.IsSingleIP() {
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
