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
	"strings"
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
		err = bench(*dir, *rounds, *lines, *names, strings.Split(*only, ","))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-feeds:", err)
		os.Exit(1)
	}
}

func bench(dir string, rounds, lines, names int, only []string) error {
	for _, tool := range []string{"iprange", "diff", "zstd"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is needed (apt-get install iprange diffutils zstd): %w", tool, err)
		}
	}
	if _, err := os.Stat(dir); err != nil {
		dir = ""
	}
	dir, err := os.MkdirTemp(dir, "pavise-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var results []string
	for _, suite := range []struct {
		name string
		run  func() (string, error)
	}{
		{"addresses", func() (string, error) { return addresses(dir, lines, rounds) }},
		{"domains", func() (string, error) { return domains(dir, lines, rounds) }},
		{"delta", func() (string, error) { return deltas(dir, lines, rounds) }},
		{"open", func() (string, error) { return openNames(dir, names, rounds) }},
	} {
		if !slices.Contains(only, suite.name) {
			continue
		}
		result, err := suite.run()
		if err != nil {
			return fmt.Errorf("%s: %w", suite.name, err)
		}
		results = append(results, result)
	}
	for _, r := range results {
		fmt.Println(r)
	}
	return nil
}

// median of figures, which it sorts.
func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
