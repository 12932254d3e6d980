package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// throughput is the module beside none.
func throughput(ctx context.Context, l *lab) (string, error) {
	none := &contender{name: "none", asks: nobody}
	source, target := &contender{name: "source", asks: moduleSource}, &contender{name: "host", asks: moduleTarget}
	cs := []*contender{none, source, target}
	if err := l.start(cs...); err != nil {
		return "", err
	}
	if err := l.measure(ctx, cs); err != nil {
		return "", err
	}
	table(cs)
	// Denials take no way to the upstream: they compare with each other only.
	feed, rule := *target, *none
	feed.name, rule.name, feed.figures, rule.figures = "feed denies", "rule denies", figures{}, figures{}
	for range max(1, l.rounds/2) {
		if err := feed.load(ctx, l.duration, l.hits, true); err != nil {
			return "", err
		}
		if err := rule.load(ctx, l.duration, l.unruly, true); err != nil {
			return "", err
		}
	}
	table([]*contender{&rule, &feed})
	return fmt.Sprintf("%s %s deny_feed_cpu_us=%.1f deny_rule_cpu_us=%.1f deny_feed_rps=%.0f deny_rule_rps=%.0f", beside(source, none), beside(target, none),
		median(feed.cpu), median(rule.cpu), median(feed.rps), median(rule.rps)), nil
}

// beside says what a contender costs more than another.
func beside(c, than *contender) string {
	return fmt.Sprintf("%[1]s_rps_ratio=%.3[2]f %[1]s_added_cpu_us=%.2[3]f %[1]s_added_p50_us=%.2[4]f %[1]s_p99_ratio_1=%.3[5]f %[1]s_p50_ratio_64=%.3[6]f %[1]s_p99_ratio_64=%.3[7]f", c.name,
		pairwise(c.rps, than.rps, ratio), pairwise(c.cpu, than.cpu, difference), pairwise(c.one50, than.one50, difference), pairwise(c.one99, than.one99, ratio),
		pairwise(c.p50, than.p50, ratio), pairwise(c.p99, than.p99, ratio))
}

// authz is the module beside Pavise's own authorization service.
func authz(ctx context.Context, l *lab) (string, error) {
	socket := filepath.Join(l.dir, "authz.sock")
	pid, err := l.launch(l.pavise, "ext-authz", "--snapshot", l.file, "--socket", socket, "--direction", "egress", "--decisions", "none", "--log-level", "warn")
	if err != nil {
		return "", err
	}
	return l.againstService(ctx, "authz", socket, pid)
}

// opa is the module beside Open Policy Agent.
func opa(ctx context.Context, l *lab) (string, error) {
	socket := filepath.Join(l.dir, "opa.sock")
	addresses, names, err := l.sets.lists(l.dir, true)
	if err != nil {
		return "", err
	}
	start := time.Now()
	pid, err := l.launch(l.opa, socket, addresses, names)
	if err != nil {
		return "", err
	}
	if err := reachable(ctx, "unix", socket); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "OPA was ready after %.1f s\n", time.Since(start).Seconds())
	return l.againstService(ctx, "opa", socket, pid)
}

// againstService measures none, the module and a service in their turn.
func (l *lab) againstService(ctx context.Context, name, socket string, pid int) (string, error) {
	if err := reachable(ctx, "unix", socket); err != nil {
		return "", err
	}
	none, target := &contender{name: "none", asks: nobody}, &contender{name: "host", asks: moduleTarget}
	other := &contender{name: name, asks: service, socket: socket, others: func() int { return pid }}
	cs := []*contender{none, target, other}
	if err := l.start(cs...); err != nil {
		return "", err
	}
	if err := l.measure(ctx, cs); err != nil {
		return "", err
	}
	table(cs)
	maps, err := readMaps(pid)
	if err != nil {
		return "", err
	}
	added, module := pairwise(other.one50, none.one50, difference), pairwise(target.one50, none.one50, difference)
	return fmt.Sprintf("%s_added_p50_us=%.1f host_added_p50_us=%.2f added_ratio=%.0f %[1]s_rps_ratio=%.3[5]f host_rps_ratio=%.3[6]f %[1]s_cpu_us=%.1[7]f %[1]s_rss_mb=%.0[8]f",
		name, added, module, added/module, pairwise(other.rps, none.rps, ratio), pairwise(target.rps, none.rps, ratio), median(other.service), total(maps).rss/1e3), nil
}

// measure loads the contenders in turn.
func (l *lab) measure(ctx context.Context, cs []*contender) error {
	ask := requests(l.sets.misses, "")
	for round := range l.rounds + 1 {
		for _, c := range cs {
			if err := c.load(ctx, l.duration, l.misses, false); err != nil {
				return err
			}
		}
		if err := singly(ctx, cs, ask, l.duration); err != nil {
			return err
		}
		if round == 0 { // not counted
			for _, c := range cs {
				c.figures = figures{}
			}
		}
	}
	return nil
}

// table prints the medians, and beside the first what each costs more.
func table(cs []*contender) {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "asked\trequests/s\tby first\tp50 µs\tp99 µs\tby first\tCPU µs\tmore\tservice µs\tone p50 µs\tmore\tone p99 µs\tby first\t")
	for _, c := range cs {
		f := cs[0]
		fmt.Fprintf(t, "%s\t%.0f\t%.3f\t%.0f\t%.0f\t%.3f\t%.2f\t%.2f\t%.1f\t%.2f\t%.2f\t%.1f\t%.3f\t\n", c.name, median(c.rps), pairwise(c.rps, f.rps, ratio),
			median(c.p50), median(c.p99), pairwise(c.p99, f.p99, ratio), median(c.cpu), pairwise(c.cpu, f.cpu, difference), median(c.service),
			median(c.one50), pairwise(c.one50, f.one50, difference), median(c.one99), pairwise(c.one99, f.one99, ratio))
	}
	_ = t.Flush()
}
