// Command lookup measures how long it takes to find an address or a name in a snapshot of
// a million prefixes or ten million names, beside what else could serve: bart, cidranger,
// a Go map, a radix tree, and a binary fuse filter as the floor.
//
// Every contender holds the same entries and gets the same keys, which are random and
// asked once; contenders take turns, so that a ratio compares neighbours in time; a
// figure is the median over the rounds.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"pavise.dev/pavise/benchmarks/internal/workload"
)

func main() {
	rounds := flag.Int("rounds", 7, "how often each contender is measured")
	prefixes := flag.Int("prefixes", 1_000_000, "prefixes of each address family")
	names := flag.Int("names", 10_000_000, "names")
	keys := flag.Int("keys", 1_000_000, "keys of one measurement")
	in := flag.String("dir", "/dev/shm", "where to write the snapshots, if it exists; on a tmpfs the kernel can use huge pages")
	only := flag.String("only", "ipv4,ipv6,names", "what to measure")
	flag.Parse()
	err := workload.RunSuites(*in, *only, []workload.Suite{
		{Name: "ipv4", Run: func(dir string) (string, error) { return addresses(dir, false, *prefixes, *keys, *rounds) }},
		{Name: "ipv6", Run: func(dir string) (string, error) { return addresses(dir, true, *prefixes, *keys, *rounds) }},
		{Name: "names", Run: func(dir string) (string, error) { return domains(dir, *names, *keys, *rounds) }},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-lookup:", err)
		os.Exit(1)
	}
}

// contender answers every key and says how many it found.
type contender[K any] struct {
	name  string
	find  func(keys []K) int
	every int // of so many keys it gets one, as it is slow; 0 is all
}

// mix is one kind of keys; make returns new ones.
type mix[K any] struct {
	name string
	make func(n int) []K
}

// measure returns the median nanoseconds of a look-up, by mix and contender.
func measure[K any](contenders []contender[K], mixes []mix[K], n, rounds int) (map[string]map[string]float64, error) {
	figures := map[string]map[string]float64{}
	for _, m := range mixes {
		times := map[string][]float64{}
		for range rounds {
			keys := m.make(n)
			found := -1
			for _, c := range contenders {
				part := keys
				if c.every > 0 {
					part = keys[:len(keys)/c.every]
				}
				start := time.Now()
				hits := c.find(part)
				times[c.name] = append(times[c.name], float64(time.Since(start).Nanoseconds())/float64(len(part)))
				if c.every == 0 && found >= 0 && hits != found && !strings.HasPrefix(c.name, "fuse") {
					return nil, fmt.Errorf("%s: %s finds %d, another %d", m.name, c.name, hits, found)
				}
				if found < 0 {
					found = hits
				}
			}
			fmt.Fprintf(os.Stderr, "%s: %d of %d keys are listed\n", m.name, found, len(keys))
		}
		figures[m.name] = map[string]float64{}
		for _, c := range contenders {
			t := times[c.name]
			slices.Sort(t)
			figures[m.name][c.name] = t[len(t)/2]
			fmt.Printf("%-12s %-28s %8.1f ns\n", m.name, c.name, t[len(t)/2])
		}
	}
	return figures, nil
}
