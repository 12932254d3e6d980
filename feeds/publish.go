package feeds

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"pavise.dev/pavise/feeds/snapshot"
)

// Compile makes one snapshot of the last good of all feeds and puts it into force. With an
// error, what was in force stays.
func (m *Manager) Compile(ctx context.Context) error {
	m.compiling.Lock()
	defer m.compiling.Unlock()
	err := m.compile(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	m.mu.Lock()
	m.trouble = err
	m.mu.Unlock()
	if err != nil {
		m.c.Log.Error("the feeds could not be compiled; the last snapshot stays in force", "error", err)
	}
	return err
}

func (m *Manager) compile(ctx context.Context) error {
	now := m.c.now()
	m.readAnew(ctx, now)
	for {
		b, until, err := builderOf(ctx, m.bodies(now), m.key(), now)
		var bad *bodyError
		if errors.As(err, &bad) && ctx.Err() == nil {
			// One body that cannot be read must not keep the others out of force.
			if !m.drop(bad) {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		return m.publish(b, until)
	}
}

// publish saves a snapshot and puts it into force, unless it turns out to be what is in
// force already.
func (m *Manager) publish(b *snapshot.Builder, until time.Time) error {
	before := m.current.Load()
	info, err := snapshot.Save(m.path(), b)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.until = until
	m.mu.Unlock()
	if before != nil && before.Digest() == info.Digest {
		return nil
	}
	s, err := snapshot.Open(m.path())
	if err != nil {
		return err
	}
	m.current.Store(s)
	m.published(s)
	m.c.Log.Info("feeds in force", "snapshot", s.Digest(), "ipv4", info.IPv4, "ipv6", info.IPv6, "names", info.Names, "octets", info.Size)
	return nil
}

func (m *Manager) published(s *snapshot.Snapshot) {
	if m.c.Published != nil {
		m.c.Published(m.path(), s)
	}
}

// key is that of the snapshot in force, so that the next differs from it in little.
func (m *Manager) key() snapshot.Key {
	if s := m.current.Load(); s != nil {
		return s.Key()
	}
	return snapshot.Key{}
}

// bodies are what is to be in force now.
func (m *Manager) bodies(now time.Time) []body {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]body, 0, len(m.order))
	for _, name := range m.order {
		k := m.keepers[name]
		feed := k.keeper.feed
		if feed.Spec.Suspend {
			continue
		}
		g := k.keeper.guard
		if !k.state.ReadAs.equal(readingOf(&feed.Spec)) {
			feed, g = k.keeper.as(k.state.ReadAs)
		}
		b := body{feed: &feed, guard: g}
		if k.state.inForce(&feed.Spec, now) {
			b.path = filepath.Join(dirOf(m.c.Dir, name), k.state.Body)
			b.digest, b.exceptions = k.state.Digest, k.state.Exceptions > 0
		}
		out = append(out, b)
	}
	return out
}

// drop forgets the body of a feed that cannot be read any more, so that it is fetched
// again at once. It returns false if there was none.
func (m *Manager) drop(bad *bodyError) bool {
	m.mu.Lock()
	k := m.keepers[bad.name]
	if k == nil || k.state.Body == "" {
		m.mu.Unlock()
		return false
	}
	k.state = state{Origin: k.state.Origin, Error: bad.err.Error(), LastAttempt: k.state.LastAttempt}
	st := k.state
	m.mu.Unlock()
	m.c.Log.Error("the last good of a feed cannot be read; it is out of force until it was fetched again", "feed", bad.name, "error", bad.err)
	if err := writeState(m.c.Dir, bad.name, st); err != nil {
		m.c.Log.Error("what is known of a feed could not be written", "feed", bad.name, "error", err)
	}
	signal(m.again)
	return true
}
