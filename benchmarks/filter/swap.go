package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"pavise.dev/pavise/proxy/filter"
)

const (
	swapFor   = 10 * time.Second // of one measurement, with and without swaps
	swapEvery = time.Second
	swapLate  = 5 // times swapEvery that a snapshot may take on a busy processor
	bucket    = 100 * time.Millisecond
)

// swap replaces the snapshot under full load, beside the same load without.
func swap(ctx context.Context, l *lab) (string, error) {
	path := filepath.Join(l.dir, "swapped.snapshot")
	versions := []string{filepath.Join(l.dir, "a.snapshot"), filepath.Join(l.dir, "b.snapshot")}
	for i, v := range versions {
		if err := l.sets.snapshot(v, i+1); err != nil {
			return "", err
		}
	}
	if err := os.Link(versions[0], path); err != nil {
		return "", err
	}
	c := &contender{name: "swapped", asks: moduleTarget, snapshot: path}
	if err := l.start(c); err != nil {
		return "", err
	}
	ask := requests(l.sets.misses, "")
	if _, err := full(ctx, c.port, ask, time.Second); err != nil { // not counted
		return "", err
	}
	var without, with []observed
	swaps := 0
	for range max(1, (l.rounds+1)/3) {
		o, err := full(ctx, c.port, ask, swapFor)
		if err != nil {
			return "", err
		}
		without = append(without, o)
		sctx, stop := context.WithCancel(ctx)
		var g errgroup.Group
		g.Go(func() error {
			n, err := swapping(sctx, path, versions, swaps)
			swaps += n
			return err
		})
		o, err = full(ctx, c.port, ask, swapFor)
		stop()
		if serr := g.Wait(); err == nil {
			err = serr
		}
		if err != nil {
			return "", err
		}
		with = append(with, o)
	}
	fmt.Printf("%-16s %10s %8s %16s %16s %12s\n", "", "requests", "failed", "p99 of 100 ms,", "the worst", "the slowest")
	fmt.Printf("%-16s %10s %8s %16s %16s %12s\n", "", "", "", "median, ms", "100 ms, ms", "request, ms")
	quiet, quietWorst, quietMax, quietFailed, _ := sum("without swaps", without)
	_, worst, slowest, failed, n := sum(fmt.Sprintf("with %d swaps", swaps), with)
	return fmt.Sprintf("swaps=%d requests=%d failed=%d failed_without=%d p99_ms=%.2f worst_p99_ms=%.2f worst_p99_without_ms=%.2f p99_step_ms=%.2f slowest_ms=%.1f slowest_without_ms=%.1f",
		swaps, n, failed, quietFailed, quiet, worst, quietWorst, worst-quiet, slowest, quietMax), nil
}

// swapping puts the versions in force in turn, after so many that were, and returns how many
// the module took.
func swapping(ctx context.Context, path string, versions []string, done int) (int, error) {
	tick := time.NewTicker(swapEvery)
	defer tick.Stop()
	before, late := "", 0
	for n := 0; ; {
		in, err := filter.ReadInForce(path)
		if err != nil {
			return n, err
		}
		if in.Digest == before {
			if late++; late > swapLate {
				return n, fmt.Errorf("a snapshot was not in force within %s: %s", swapLate*swapEvery, in.Error)
			}
			select {
			case <-ctx.Done():
				return n, nil
			case <-tick.C:
			}
			continue
		}
		before, late = in.Digest, 0
		n++
		// The files are whole already, as those that an agent puts in place are.
		next := path + ".next"
		if err := os.Link(versions[(done+n)%len(versions)], next); err != nil {
			return n, err
		}
		if err := os.Rename(next, path); err != nil {
			return n, err
		}
		select {
		case <-ctx.Done():
			return n, nil
		case <-tick.C:
		}
	}
}

// observed is what happened to the requests of a time.
type observed struct {
	requests, failed int
	p99              []time.Duration // of each bucket
	slowest          time.Duration
}

type sample struct{ at, took time.Duration }

// full keeps 64 connections busy and notes each request.
func full(ctx context.Context, port int, ask []string, duration time.Duration) (observed, error) {
	var g errgroup.Group
	samples, failed := make([][]sample, connections), make([]int, connections)
	start := time.Now()
	for i := range connections {
		g.Go(func() error {
			var err error
			samples[i], failed[i], err = busy(ctx, port, ask, start, duration)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return observed{}, err
	}
	var o observed
	buckets := make([][]time.Duration, duration/bucket)
	for i := range samples {
		o.failed += failed[i]
		o.requests += len(samples[i])
		for _, s := range samples[i] {
			o.slowest = max(o.slowest, s.took)
			// By its end: a request that waits counts where it was waited for last.
			if b := int((s.at + s.took) / bucket); b < len(buckets) {
				buckets[b] = append(buckets[b], s.took)
			}
		}
	}
	for _, b := range buckets {
		if len(b) == 0 {
			o.p99 = append(o.p99, bucket) // nothing was answered
			continue
		}
		slices.Sort(b)
		o.p99 = append(o.p99, b[len(b)*99/100])
	}
	return o, nil
}

// busy asks over one connection again and again. What is not answered with 200 has failed,
// and is asked no more.
func busy(ctx context.Context, port int, ask []string, start time.Time, duration time.Duration) (out []sample, failed int, err error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(rand.IntN(256)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))}}
	c, err := dialer.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(start.Add(duration + 10*time.Second)); err != nil {
		return nil, 0, err
	}
	var room [4096]byte
	for {
		at := time.Since(start)
		if at >= duration {
			return out, failed, ctx.Err()
		}
		if _, err := c.Write([]byte(ask[rand.IntN(len(ask))])); err != nil {
			return out, failed + 1, nil
		}
		n := 0
		for !bytes.HasSuffix(room[:n], []byte("\r\n\r\nok")) {
			m, err := c.Read(room[n:])
			if err != nil || n+m == len(room) || bytes.HasPrefix(room[:n+m], []byte("HTTP/1.1 4")) || bytes.HasPrefix(room[:n+m], []byte("HTTP/1.1 5")) {
				return out, failed + 1, nil
			}
			n += m
		}
		out = append(out, sample{at, time.Since(start) - at})
	}
}

// sum prints a line and returns the median p99 of all buckets, the worst, the slowest
// request, in ms, how many failed and how many there were.
func sum(what string, os []observed) (typical, worst, slowest float64, failed, n int) {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	var p99 []float64
	for _, o := range os {
		n, failed, slowest = n+o.requests, failed+o.failed, max(slowest, ms(o.slowest))
		for _, d := range o.p99 {
			p99 = append(p99, ms(d))
		}
	}
	typical, worst = median(p99), slices.Max(p99)
	fmt.Printf("%-16s %10d %8d %16.2f %16.2f %12.1f\n", what, n, failed, typical, worst, slowest)
	return typical, worst, slowest, failed, n
}
