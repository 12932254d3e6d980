// Command feeds measures how long it takes to make a snapshot of a million lines, to take
// it to the next version by a delta, and to open one of ten million names, beside iprange
// and diff with zstd.
//
// Making one runs in a process of its own, on one processor, so that its peak memory can
// be told; it takes turns with iprange, and a figure is the median over the rounds.
// Everything lies on a tmpfs where there is one: writing to a disk and fsync depend on the
// disk, and what fsync takes there is shown apart.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"

	"pavise.dev/pavise/benchmarks/internal/workload"
)

func main() {
	rounds := flag.Int("rounds", 7, "how often each thing is measured")
	lines := flag.Int("lines", 1_000_000, "lines of a feed")
	names := flag.Int("names", 10_000_000, "names of the snapshot that is opened")
	only := flag.String("only", "addresses,domains,delta,open", "what to measure")
	dir := flag.String("dir", "/dev/shm", "where files are made, if it exists")
	child := flag.String("child", "", "make a snapshot of this list (internal)")
	flag.Parse()
	var err error
	if *child != "" {
		err = buildAndReport(*child, flag.Arg(0))
	} else {
		err = bench(*dir, *rounds, *lines, *names, *only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-feeds:", err)
		os.Exit(1)
	}
}

func bench(dir string, rounds, lines, names int, only string) error {
	for _, tool := range []string{"iprange", "diff", "zstd"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is needed (apt-get install iprange diffutils zstd): %w", tool, err)
		}
	}
	return workload.RunSuites(dir, only, []workload.Suite{
		{Name: "addresses", Run: func(dir string) (string, error) { return addresses(dir, lines, rounds) }},
		{Name: "domains", Run: func(dir string) (string, error) { return domains(dir, lines, rounds) }},
		{Name: "delta", Run: func(dir string) (string, error) { return deltas(dir, lines, rounds) }},
		{Name: "open", Run: func(dir string) (string, error) { return openNames(dir, names, rounds) }},
	})
}

// median of figures, which it sorts.
func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
