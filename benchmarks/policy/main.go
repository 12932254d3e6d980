// Command policy measures how the throughput of a real Envoy depends on the number and
// the kind of its rules, beside the same rules as a plain RBAC list, and how long a
// saved file takes to be in force.
//
// Every Envoy has one worker, pinned to processor 0; wrk sends random requests over 16
// connections from processor 1. All Envoys run all the time and are loaded in turn, so
// that a ratio compares neighbours in time; a figure is the median over the rounds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"golang.org/x/sync/errgroup"

	"pavise.dev/pavise/xds"
)

func main() {
	rounds := flag.Int("rounds", 5, "how often each contender is measured")
	seconds := flag.Int("seconds", 2, "how long each measurement takes")
	saves := flag.Int("saves", 200, "how many saved files to time; 0 for none")
	realistic := flag.Bool("realistic", true, "also measure sets that are not disjoint prefixes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := bench(ctx, *rounds, *seconds, *saves, *realistic)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-policy:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, rounds, seconds, saves int, realistic bool) error {
	for _, tool := range []string{"wrk", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is needed (apt-get install wrk util-linux): %w", tool, err)
		}
	}
	// The Envoys' folders have sockets in them, whose paths have to be short.
	dir, err := os.MkdirTemp("", "pb")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	few, many := &contender{name: "t10", set: urls(10)}, &contender{name: "t100k", set: urls(100_000)}
	tree, list := &contender{name: "t10k", set: urls(10_000)}, &contender{name: "l10k", set: urls(10_000), list: true}
	fewExact, manyExact := &contender{name: "e10", set: exactURLs(10)}, &contender{name: "e100k", set: exactURLs(100_000)}
	contenders := []*contender{
		few,
		{name: "t1k", set: urls(1_000)},
		tree, many, fewExact, manyExact,
		{name: "l10", set: urls(10), list: true},
		{name: "l1k", set: urls(1_000), list: true},
		list,
	}
	if realistic {
		for i, s := range []ruleSet{overlapping(10_000), pathless(10_000), sources(2_000), expressions(2_000), mixed(2_000)} {
			contenders = append(contenders, &contender{name: fmt.Sprintf("s%d", i), set: s})
		}
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	g, gctx := errgroup.WithContext(running)
	socket := filepath.Join(dir, "x")
	server := xds.NewServer(xds.ServerConfig{Socket: socket})
	g.Go(func() error { return server.Run(gctx) })
	err = func() error {
		for i, c := range contenders {
			c.port = 19000 + i
			if err := c.start(gctx, server, socket, dir, g.Go); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			fmt.Fprintf(os.Stderr, "%s is up: %d rules compiled in %.0f ms, %.1f MB to send, %.0f MB resident\n", c.name, len(c.set.rules), c.compileMS, float64(c.bytes)/1e6, c.rssMB())
		}
		for _, c := range contenders { // not counted
			if err := c.measure(gctx, 1); err != nil {
				return err
			}
			c.rps, c.cpu = nil, nil
		}
		for r := range rounds {
			for _, c := range contenders {
				if err := c.measure(gctx, seconds); err != nil {
					return err
				}
			}
			fmt.Fprintf(os.Stderr, "round %d of %d\n", r+1, rounds)
		}
		return nil
	}()
	rss := many.rssMB()
	table(contenders)
	stop()
	if werr := g.Wait(); err == nil && !errors.Is(werr, context.Canceled) {
		err = werr
	}
	if err != nil {
		return err
	}
	propagation := ""
	if saves > 0 {
		p, err := propagate(ctx, dir, saves)
		if err != nil {
			return err
		}
		propagation = fmt.Sprintf(" save_p50_ms=%.0f save_p99_ms=%.0f", p.p50, p.p99)
	}
	fmt.Printf("RESULT bench-policy rules=100000 rps_ratio_vs_10=%.3f rps_ratio_vs_10_exact=%.3f rps_ratio_vs_list_at_10000=%.1f compile_ms=%.0f envoy_rss_mb=%.0f go_heap_mb=%.0f%s\n",
		ratio(many, few), ratio(manyExact, fewExact), ratio(tree, list), many.compileMS, rss, many.heapMB, propagation)
	return nil
}

// ratio is the median over the rounds of a's throughput by b's.
func ratio(a, b *contender) float64 {
	rs := make([]float64, len(a.rps))
	for i := range a.rps {
		rs[i] = a.rps[i] / b.rps[i]
	}
	return median(rs)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v) == 0 {
		return 0
	}
	return v[len(v)/2]
}

func table(cs []*contender) {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "set\tform\trules\trequests/s\tby 10 rules\tCPU µs\tMB\tcompile ms\t")
	for _, c := range cs {
		form := "tree"
		if c.list {
			form = "list"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%.0f\t%.3f\t%.1f\t%.2f\t%.0f\t\n", c.set.name, form, len(c.set.rules), median(c.rps), ratio(c, cs[0]), median(c.cpu), float64(c.bytes)/1e6, c.compileMS)
	}
	_ = t.Flush()
}
