package feeds

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/fetch"
	"pavise.dev/pavise/feeds/guard"
	"pavise.dev/pavise/feeds/snapshot"
)

// Config of a Manager.
type Config struct {
	// Dir is the folder to keep everything in; only this user should be able to enter it.
	Dir string
	// Client fetches.
	Client *fetch.Client
	// Secrets may be nil.
	Secrets Secrets
	// Fetches is how many feeds are fetched at a time. Default 4.
	Fetches int
	// Published is called with each snapshot that comes into force and the file it is in,
	// also with the one that Open finds; one call at a time. It may be nil.
	Published func(path string, s *snapshot.Snapshot)
	// Log may be nil.
	Log *slog.Logger

	now func() time.Time // tests set it
}

// Manager keeps the feeds of one folder. Its methods may be called from any goroutine.
type Manager struct {
	c       Config
	lock    *os.File
	fetches *semaphore.Weighted
	current atomic.Pointer[snapshot.Snapshot]
	wake    chan struct{} // there is something to compile
	again   chan struct{} // the feeds were set anew

	compiling sync.Mutex // held while compiling
	mu        sync.Mutex // of all below
	keepers   map[string]*kept
	order     []string
	trouble   error // of the last compilation
	until     time.Time
}

// kept is a keeper with its state. It stays while there is a feed of its name.
type kept struct {
	refreshing sync.Mutex // held while refreshing
	keeper     keeper     // of Manager.mu, as the next
	state      state
}

// ErrLocked says that another process keeps the feeds of the folder.
var ErrLocked = errors.New("in use by another process, which refreshes the feeds itself")

// Open takes the folder, and brings what is in force there back into force. There may be
// a Manager of the same folder in no other place.
func Open(c Config) (*Manager, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.Fetches <= 0 {
		c.Fetches = 4
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(c.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, fmt.Errorf("%s: %w", c.Dir, err)
	}
	m := &Manager{
		c: c, lock: lock, fetches: semaphore.NewWeighted(int64(c.Fetches)),
		wake: make(chan struct{}, 1), again: make(chan struct{}, 1), keepers: map[string]*kept{},
	}
	if err := snapshot.Clean(c.Dir); err != nil {
		c.Log.Warn("what an earlier process left could not be removed", "error", err)
	}
	s, err := snapshot.Open(m.path())
	switch {
	case err == nil:
		m.current.Store(s)
		m.published(s)
	case !errors.Is(err, fs.ErrNotExist):
		c.Log.Error("the snapshot on disk cannot be used, and is compiled again", "error", err)
	}
	return m, nil
}

// Close gives the folder back. Run has to have ended.
func (m *Manager) Close() error { return m.lock.Close() }

func (m *Manager) path() string { return SnapshotPath(m.c.Dir) }

// SnapshotPath is where a Manager of a folder keeps what is in force.
func SnapshotPath(dir string) string { return filepath.Join(dir, snapshotName) }

// Snapshot is what is in force; nil before the first was compiled.
func (m *Manager) Snapshot() *snapshot.Snapshot { return m.current.Load() }

// Set replaces the feeds, and what none of them may block beside the hosts that they are
// fetched from: the control plane, the API server, the cluster's networks, the DNS
// servers. What is known of feeds that stay is kept; a feed that goes is out of force with
// the next compilation, and what is on disk of it stays there.
func (m *Manager) Set(list []Feed, own []guard.Place) error {
	objects := make([]*api.ThreatFeed, len(list))
	for i, f := range list {
		objects[i] = &api.ThreatFeed{Spec: f.Spec}
		objects[i].Name = f.Name
	}
	own = append(slices.Clone(own), guard.Hosts(objects...)...)
	places := guard.NewPlaces(own...)
	next := make(map[string]keeper, len(list))
	order := make([]string, 0, len(list))
	for _, f := range list {
		g, err := guard.For(&f.Spec, places)
		if err != nil {
			return fmt.Errorf("feed %s: %w", f.Name, err)
		}
		next[f.Name] = keeper{feed: f, guard: g, places: places, dir: m.c.Dir}
		order = append(order, f.Name)
	}
	m.mu.Lock()
	m.order = order
	maps.DeleteFunc(m.keepers, func(name string, _ *kept) bool { _, stays := next[name]; return !stays })
	for name, keeper := range next {
		k := m.keepers[name]
		if k == nil || k.state.Origin != keeper.feed.origin() {
			k = &kept{state: m.known(&keeper.feed)}
			m.keepers[name] = k
		}
		k.keeper = keeper
	}
	m.mu.Unlock()
	signal(m.again)
	signal(m.wake)
	return nil
}

// known is what the folder knows of a feed.
func (m *Manager) known(f *Feed) state {
	st, err := readState(m.c.Dir, f)
	if err != nil {
		m.c.Log.Error("what is known of a feed cannot be read; it is fetched again", "feed", f.Name, "error", err)
	}
	st.Origin = f.origin()
	return st
}

// signal leaves a mark that somebody looks for later.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Status of every feed, in the order of Set.
func (m *Manager) Status() []Status {
	now := m.c.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Status, 0, len(m.order))
	for _, name := range m.order {
		k := m.keepers[name]
		out = append(out, statusOf(&k.keeper.feed, &k.state, now))
	}
	return out
}

// Trouble is why the last compilation failed; nil if it did not.
func (m *Manager) Trouble() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.trouble
}

// ErrNoFeed says that there is no feed of that name.
var ErrNoFeed = errors.New("no such feed")

// Refresh fetches one feed now. What became of it is in the status; the error says that
// there is no such feed, that it is suspended, or that the folder cannot be written to.
// accept takes a feed that shrank or grew too much.
func (m *Manager) Refresh(ctx context.Context, name string, accept bool) (Status, error) {
	if err := m.fetches.Acquire(ctx, 1); err != nil {
		return Status{}, err
	}
	defer m.fetches.Release(1)
	m.mu.Lock()
	k := m.keepers[name]
	m.mu.Unlock()
	if k == nil {
		return Status{}, fmt.Errorf("%w: %s", ErrNoFeed, name)
	}
	k.refreshing.Lock()
	defer k.refreshing.Unlock()
	m.mu.Lock()
	keeper, st := k.keeper, k.state
	m.mu.Unlock()
	if keeper.feed.Spec.Suspend {
		return Status{}, fmt.Errorf("feed %s is suspended", name)
	}
	got, err := keeper.refresh(ctx, m.c.Client, m.c.Secrets, st, accept, m.c.now())
	if err != nil {
		return Status{}, err
	}
	m.mu.Lock()
	k.state = got.state
	status := statusOf(&keeper.feed, &k.state, m.c.now())
	m.mu.Unlock()
	m.report(&status, got.changed)
	// A body that stayed may have to be read anew, or be back in force after its time was up.
	spec := &keeper.feed.Spec
	back := got.state.inForce(spec, m.c.now()) && !st.inForce(spec, m.c.now())
	if got.changed || back || !got.state.ReadAs.equal(readingOf(spec)) {
		signal(m.wake)
	}
	return status, nil
}

func (m *Manager) report(s *Status, changed bool) {
	switch {
	case s.Error != "":
		m.c.Log.Error("a feed could not be refreshed; its last good stands", "feed", s.Name, "state", s.State, "error", s.Error, "entries", s.Entries)
	case changed:
		m.c.Log.Info("a feed changed", "feed", s.Name, "entries", s.Entries, "added", s.Added, "removed", s.Removed, "left out", s.Unreadable+s.Guarded)
	default:
		m.c.Log.Debug("a feed is as it was", "feed", s.Name)
	}
}
