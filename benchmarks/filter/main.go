// Command filter measures what the module in Envoy costs: against the same Envoy with the
// same configuration without it, against ext_authz over a unix socket, and against Open
// Policy Agent in its place; in throughput, latency, processor time and memory, and while
// snapshots are replaced.
//
// Every Envoy has one worker, pinned to processor 0; what loads it, the upstream and the
// authorization services are on processor 1. All that is in a network namespace of its own,
// if that is permitted, so that no port is taken. All contenders run all the time and are
// loaded in turn, so that a difference compares neighbours in time; a figure is the median
// over the rounds. wrk has 64 connections. Latencies at one connection are this program's:
// it turns from one contender to the next every few requests, and wrk counts in whole
// microseconds. Both ask for random hosts.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are what to measure.
type options struct {
	rounds   int
	duration time.Duration
	entries  int
	only     []string
	pavise   string
	opa      string
}

// parts are what can be measured, in the order in which it is.
var parts = []struct {
	name string
	run  func(context.Context, *lab) (string, error)
}{
	{"throughput", throughput},
	{"authz", authz},
	{"opa", opa},
	{"memory", memory},
	{"swap", swap},
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "upstream" {
		fail(upstream(os.Args[2]))
	}
	var o options
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	flag.IntVar(&o.rounds, "rounds", 7, "how often each contender is measured")
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "how long each measurement takes")
	flag.IntVar(&o.entries, "entries", 1_000_000, "addresses, and as many names, in the snapshot")
	flag.StringVar(&o.pavise, "pavise", "bin/pavise", "the binary, with libpavise.so beside it")
	flag.StringVar(&o.opa, "opa", "", "what ./benchmarks/filter/opa was built to; default it is built")
	only := flag.String("only", strings.Join(names, ","), "what to measure")
	flag.Parse()
	o.only = strings.Split(*only, ",")
	for _, name := range o.only {
		if !slices.Contains(names, name) {
			fail(fmt.Errorf("--only %s: there are %s", name, strings.Join(names, ", ")))
		}
	}
	fail(apart(o))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, o)
	stop()
	fail(err)
}

// fail ends the program where there is an error.
func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-filter:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, o options) error {
	var err error
	if o.pavise, err = filepath.Abs(o.pavise); err != nil {
		return err
	}
	for _, file := range []string{o.pavise, filepath.Join(filepath.Dir(o.pavise), "libpavise.so")} {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%w; `make build` builds it", err)
		}
	}
	// There are sockets in the folder, whose paths have to be short.
	dir, err := os.MkdirTemp("", "pbf")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := newLab(ctx, o, dir)
	if err != nil {
		return err
	}
	results := []string{}
	for _, p := range parts {
		if !slices.Contains(o.only, p.name) {
			continue
		}
		fmt.Printf("\n%s\n", p.name)
		result, err := l.part(ctx, p.run)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		results = append(results, fmt.Sprintf("RESULT bench-filter part=%s entries=%d rounds=%d %s", p.name, o.entries, o.rounds, result))
	}
	fmt.Println()
	for _, r := range results {
		fmt.Println(r)
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v) == 0 {
		return 0
	}
	return v[len(v)/2]
}

// pairwise is the median of what f makes of the figures of the same round.
func pairwise(a, b []float64, f func(a, b float64) float64) float64 {
	out := make([]float64, min(len(a), len(b)))
	for i := range out {
		out[i] = f(a[i], b[i])
	}
	return median(out)
}

func ratio(a, b float64) float64      { return a / b }
func difference(a, b float64) float64 { return a - b }
