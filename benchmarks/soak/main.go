// Command soak runs a sidecar, a real agent with its Envoy, under mixed traffic for a long
// time, while the feeds are replaced every few seconds, and says whether anything grows:
// memory of the agent and of Envoy, goroutines, open files.
//
// What is compared are medians of many samples: those of the two minutes after the warm-up
// with those of the last two. Every answer is checked, so a request that fails, or one that
// passes and should not, is counted too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

type options struct {
	duration, warmUp, swap, sample time.Duration
	binary                         string
	names                          int
	rate                           int
}

func main() {
	var o options
	flag.DurationVar(&o.duration, "duration", 20*time.Minute, "how long to run")
	flag.DurationVar(&o.warmUp, "warm-up", 2*time.Minute, "what is not compared at the beginning")
	flag.DurationVar(&o.swap, "swap", 5*time.Second, "how often the snapshot is replaced")
	flag.DurationVar(&o.sample, "sample", 2*time.Second, "how often memory is looked at")
	flag.StringVar(&o.binary, "pavise", "bin/pavise", "the binary, with libpavise.so beside it")
	flag.IntVar(&o.names, "names", 100_000, "names and as many addresses in the snapshot")
	flag.IntVar(&o.rate, "rate", 200, "requests, connections and questions a second, of each kind")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "pavise-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	lab, err := newLab(ctx, o, dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.duration)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	var s errgroup.Group
	lab.serve(serving, &s)
	if err := lab.start(gctx); err != nil {
		stopServing()
		return errors.Join(err, s.Wait())
	}
	var tally tally
	lab.load(gctx, g, &tally)
	g.Go(func() error { return lab.swap(gctx) })
	var samples []sample
	g.Go(func() error {
		samples = lab.watch(gctx, &tally)
		return nil
	})
	err = g.Wait()
	lab.stop()
	stopServing()
	if err := errors.Join(err, s.Wait()); err != nil {
		return err
	}
	return report(o, samples, &tally, lab.swaps.Load())
}

// report compares the first and the last samples.
func report(o options, samples []sample, t *tally, swaps int64) error {
	n := int(min(2*time.Minute, o.duration/4) / o.sample)
	first := int(o.warmUp / o.sample)
	if first+2*n > len(samples) {
		return fmt.Errorf("%d samples are too few; run for longer", len(samples))
	}
	begin, end := samples[first:first+n], samples[len(samples)-n:]
	fmt.Printf("\n%-28s %12s %12s %8s\n", "", "after warm-up", "at the end", "change")
	result := fmt.Sprintf("RESULT soak minutes=%.0f swaps=%d answers=%d wrong=%d failed=%d", o.duration.Minutes(), swaps, t.right.Load(), t.wrong.Load(), t.failed.Load())
	for i, name := range sampleNames {
		a, b := median(begin, i), median(end, i)
		fmt.Printf("%-28s %12.1f %12.1f %+7.1f%%\n", name, a, b, 100*(b-a)/max(a, 1))
		result += fmt.Sprintf(" %s=%.1f/%.1f", name, a, b)
	}
	fmt.Println(result)
	return nil
}

func median(samples []sample, i int) float64 {
	v := make([]float64, len(samples))
	for k := range samples {
		v[k] = samples[k][i]
	}
	slices.Sort(v)
	return v[len(v)/2]
}
