package feeds

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// Run fetches feeds when they are due and compiles what changed, until the context ends.
func (m *Manager) Run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { m.schedule(gctx); return nil })
	g.Go(func() error { m.compileWhenDue(gctx); return nil })
	return g.Wait()
}

// schedule keeps one goroutine for each feed, and new ones when the feeds are set anew.
func (m *Manager) schedule(ctx context.Context) {
	for ctx.Err() == nil {
		round, cancel := context.WithCancel(ctx)
		var g errgroup.Group
		m.mu.Lock()
		for name, k := range m.keepers {
			if !k.keeper.feed.Spec.Suspend {
				g.Go(func() error { m.keep(round, name); return nil })
			}
		}
		m.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-m.again:
		}
		cancel()
		_ = g.Wait() // they return no errors
	}
}

// keep refreshes one feed whenever it is due.
func (m *Manager) keep(ctx context.Context, name string) {
	for {
		wait, ok := m.due(name)
		if !ok || !sleep(ctx, wait) {
			return
		}
		if _, err := m.Refresh(ctx, name, false); err != nil && ctx.Err() == nil {
			m.c.Log.Error("the state of a feed could not be written", "feed", name, "error", err)
			if !sleep(ctx, writeRetry) {
				return
			}
		}
	}
}

// due is how long to wait for the next fetch of a feed; false for a feed that has gone. A
// clock that was set back does not make it longer than it was meant to be.
func (m *Manager) due(name string) (time.Duration, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.keepers[name]
	if k == nil {
		return 0, false
	}
	planned := k.state.NextAttempt.Sub(k.state.LastAttempt)
	if s := &k.keeper.feed.Spec; k.state.Failures == 0 {
		planned = min(planned, s.Interval()+s.Jitter()) // which may be shorter by now
	}
	return min(k.state.NextAttempt.Sub(m.c.now()), planned), true
}

const (
	// writeRetry is how long a folder that cannot be written to is left alone.
	writeRetry = 30 * time.Second
	// expiryCheck is how often to look for feeds and entries that end by themselves.
	expiryCheck = time.Minute
)

// sleep waits, and returns false if the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// compileWhenDue compiles when a feed changed, and when something ended by itself.
func (m *Manager) compileWhenDue(ctx context.Context) {
	expired := m.expired()
	tick := time.NewTicker(expiryCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-tick.C:
			now := m.expired()
			if now == expired && !m.ended() {
				continue
			}
		}
		expired = m.expired()
		_ = m.Compile(ctx) // logged, and kept as Trouble
	}
}

// expired counts the feeds that are out of force for their age.
func (m *Manager) expired() int {
	now := m.c.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, k := range m.keepers {
		if k.state.expired(&k.keeper.feed.Spec, now) {
			n++
		}
	}
	return n
}

// ended says whether an entry that is in force has ended.
func (m *Manager) ended() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.until.IsZero() && m.c.now().After(m.until)
}
