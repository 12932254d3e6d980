package main

import (
	"context"
	"slices"
	"time"
)

// churnFor has pods arrive and depart, in turns, at a rate. Each arrival is timed from
// when its sidecar connects to its acknowledgement.
func (l *lab) churnFor(ctx context.Context, f *figures) error {
	type guest struct {
		node  int
		leave context.CancelFunc
	}
	var here []guest
	begun := map[int]time.Time{}
	var took []float64
	seen := func() {
		for len(l.seen) > 0 {
			n := <-l.seen
			if at, ok := begun[n]; ok {
				took = append(took, float64(time.Since(at).Microseconds())/1000)
				delete(begun, n)
			}
		}
	}
	tick := time.NewTicker(time.Second / time.Duration(l.rate))
	defer tick.Stop()
	start, done := time.Now(), 0
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for time.Since(start) < l.churn {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
			seen()
			continue
		case <-tick.C:
		}
		if done%2 == 0 {
			n := 2*l.nodes + done
			if _, err := l.ask("arrive %d", n); err != nil {
				return err
			}
			c, leave := context.WithCancel(ctx)
			begun[n] = time.Now()
			l.connect(c, n)
			here = append(here, guest{n, leave})
		} else if g := here[0]; begun[g.node].IsZero() || len(here) > 200 {
			here = here[1:]
			g.leave()
			if _, err := l.ask("depart %d", g.node); err != nil {
				return err
			}
		}
		done++
	}
	f.churn = float64(done) / time.Since(start).Seconds()
	for deadline := time.Now().Add(10 * time.Second); len(begun) > 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		seen()
	}
	for _, g := range here {
		g.leave()
	}
	slices.Sort(took)
	f.own50, f.own = quantile(took, 50), quantile(took, 99)
	return nil
}
