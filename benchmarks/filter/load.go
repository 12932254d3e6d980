package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// figures of a contender, one of each a round.
type figures struct {
	rps      []float64
	p50, p99 []float64 // µs, at 64 connections
	// cpu is what one request cost Envoy in µs of processor time; other work on the machine
	// moves it less than it moves the rest. others is the same of the service that was asked.
	cpu, service []float64
	// At one connection, in µs.
	one50, one99 []float64
}

const connections = 64

var (
	saidRate     = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	saidAll      = regexp.MustCompile(`([0-9]+) requests in `)
	saidQuantile = regexp.MustCompile(`(?m)^\s+(50|99)%\s+([0-9.]+)(us|ms|s)$`)
	saidBad      = regexp.MustCompile(`Non-2xx or 3xx responses: ([0-9]+)`)
	saidErrors   = regexp.MustCompile(`Socket errors:.*`)
)

// load has wrk send the requests of a script, and keeps what it found. All are to be
// allowed, or all denied.
func (c *contender) load(ctx context.Context, duration time.Duration, script string, denied bool) error {
	envoyBefore, serviceBefore, err := c.used()
	if err != nil {
		return err
	}
	seconds := strconv.Itoa(max(1, int(duration.Round(time.Second)/time.Second)))
	out, err := exec.CommandContext(ctx, "wrk", "-t1", "-c"+strconv.Itoa(connections), "-d"+seconds+"s", "--latency", "-s", script,
		fmt.Sprintf("http://127.0.0.1:%d", c.port)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("wrk: %w: %s", err, out)
	}
	envoyAfter, serviceAfter, err := c.used()
	if err != nil {
		return err
	}
	rate, all := saidRate.FindSubmatch(out), saidAll.FindSubmatch(out)
	if rate == nil || all == nil || saidErrors.Match(out) {
		return fmt.Errorf("wrk at %s: %s", c.name, out)
	}
	n, bad := number(all[1]), 0.0
	if m := saidBad.FindSubmatch(out); m != nil {
		bad = number(m[1])
	}
	if denied != (bad > 0) || denied && bad < n {
		return fmt.Errorf("%s: %.0f of %.0f requests were not answered with 200; denied should be %v", c.name, bad, n, denied)
	}
	for _, m := range saidQuantile.FindAllSubmatch(out, -1) {
		us := number(m[2]) * map[string]float64{"us": 1, "ms": 1e3, "s": 1e6}[string(m[3])]
		if string(m[1]) == "50" {
			c.p50 = append(c.p50, us)
		} else {
			c.p99 = append(c.p99, us)
		}
	}
	c.rps = append(c.rps, number(rate[1]))
	c.cpu = append(c.cpu, (envoyAfter-envoyBefore)/n)
	c.service = append(c.service, (serviceAfter-serviceBefore)/n)
	return nil
}

func number(b []byte) float64 {
	v, _ := strconv.ParseFloat(string(b), 64) // an expression has seen the digits
	return v
}

// used is the processor time of Envoy and of the service that it asks, so far, in µs.
func (c *contender) used() (own, service float64, err error) {
	if own, err = cpuTime(c.pid()); err != nil || c.others == nil {
		return own, 0, err
	}
	service, err = cpuTime(c.others())
	return own, service, err
}

// cpuTime adds up what the kernel says of the threads of a process, which it counts in
// nanoseconds.
func cpuTime(pid int) (float64, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("process %d has no threads: %w", pid, os.ErrNotExist)
	}
	sum := 0.0
	for _, t := range tasks {
		b, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(b), " ")
		sum += number([]byte(first))
	}
	return sum / 1e3, nil
}
