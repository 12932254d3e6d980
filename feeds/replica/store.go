package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pavise.dev/pavise/feeds/snapshot"
)

// StoreConfig of a Store.
type StoreConfig struct {
	// Dir is a folder of the Store's own, on the file system of the snapshots if it can be:
	// they are then linked and take no room twice. What is in it is removed at the start.
	Dir string
	// Snapshots is how many are kept, the newest included: a follower that is further behind
	// takes the whole. Default 4.
	Snapshots int
	// MaxBytes is how many octets the snapshots and deltas that are kept may have together.
	// A snapshot that has more is not published. Default 4 GiB.
	MaxBytes int64
	// Logger is told what is published; silent when nil.
	Logger *slog.Logger
}

// Store keeps the last snapshots and the deltas from each of them to the newest. Its
// methods may be called from any goroutine.
//
// It begins empty: after a restart, whoever has the newest snapshot is told so, and whoever
// is behind takes the whole.
type Store struct {
	c       StoreConfig
	lock    *os.File
	current atomic.Pointer[catalog] // nil before the first snapshot

	publishing sync.Mutex // of all below
	kept       []kept     // the newest last
	deltas     []step
}

// kept is a snapshot that is kept.
type kept struct {
	digest snapshot.Digest
	size   int64
}

// catalog is what is served between two changes of it. It does not change, so requests
// take no lock, and hold none.
type catalog struct {
	digest   snapshot.Digest
	document []byte
	files    map[string]served // by the path of their URL
	changed  chan struct{}     // closed when another digest takes the place of this one
}

// served is a file that never changes.
type served struct {
	path string
	size int64
	tag  string
}

// ErrLocked says that another process uses the folder.
var ErrLocked = errors.New("in use by another process")

// OpenStore takes a folder and empties it. The error is ErrLocked, or of the system.
func OpenStore(c StoreConfig) (*Store, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Snapshots <= 0 {
		c.Snapshots = 4
	}
	c.Snapshots = min(c.Snapshots, maxDeltas)
	if c.MaxBytes <= 0 {
		c.MaxBytes = 4 << 30
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(c.Dir, "lock"))
	if err != nil {
		return nil, err
	}
	s := &Store{c: c, lock: lock}
	list, err := os.ReadDir(c.Dir)
	for _, e := range list {
		if strings.HasSuffix(e.Name(), snapshotSuffix) || strings.HasSuffix(e.Name(), deltaSuffix) {
			err = errors.Join(err, os.Remove(filepath.Join(c.Dir, e.Name())))
		}
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return s, nil
}

// Close gives the folder back. What is being served is served to its end.
func (s *Store) Close() error { return s.lock.Close() }

const (
	snapshotSuffix = ".snapshot"
	deltaSuffix    = ".delta"
)

func (s *Store) file(d snapshot.Digest) string {
	return filepath.Join(s.c.Dir, hexOf(d)+snapshotSuffix)
}

func (s *Store) deltaFile(d step) string {
	return filepath.Join(s.c.Dir, hexOf(d.from)+"-"+hexOf(d.to)+deltaSuffix)
}

// Publish makes a snapshot file what is served. It may be replaced by renaming while this
// runs, and must not be written to. One that is not whole, that no follower would take, or
// that is over StoreConfig.MaxBytes is an error, and what was served stays.
//
// The delta from the snapshot before is made before the new one is announced, so that
// those who wait for it do not all take the whole; the others after that, until ctx ends.
// So it takes as long as reading the kept snapshots, and is for a goroutine that may wait:
// requests do not. Snapshots that come in the meantime wait for each other.
func (s *Store) Publish(ctx context.Context, path string) error {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	next, size, err := s.take(path)
	if err != nil {
		return fmt.Errorf("publish %s: %w", path, err)
	}
	digest := next.Digest()
	if n := len(s.kept); n > 0 && s.kept[n-1].digest == digest {
		return nil
	}
	start := time.Now()
	s.kept = slices.DeleteFunc(s.kept, func(k kept) bool { return k.digest == digest })
	s.kept = append(s.kept, kept{digest, size})
	s.evict()
	for i := len(s.kept) - 2; i >= 0; i-- {
		if ctx.Err() == nil {
			s.diff(s.kept[i].digest, next)
		}
		if err := s.announce(); err != nil {
			return err
		}
	}
	// Those to the snapshots before served as the first part of a way of two.
	s.deltas = slices.DeleteFunc(s.deltas, func(d step) bool { return d.to != digest && s.removeDelta(d) })
	s.evict()
	if err := s.announce(); err != nil {
		return err
	}
	s.c.Logger.Info("snapshot published", "snapshot", digest, "octets", size, "deltas", len(s.deltas), "took", time.Since(start).Round(time.Millisecond))
	return nil
}

// announce makes what is kept what is served.
func (s *Store) announce() error {
	newest := s.kept[len(s.kept)-1]
	o := offer{digest: newest.digest, size: newest.size, deltas: s.deltas}
	c := &catalog{digest: newest.digest, files: map[string]served{}, changed: make(chan struct{})}
	var err error
	if c.document, err = o.marshal(); err != nil {
		return err
	}
	for _, k := range s.kept {
		c.files[urlOf(k.digest)] = served{s.file(k.digest), k.size, strongTag(k.digest)}
	}
	for _, d := range s.deltas {
		c.files[d.url()] = served{s.deltaFile(d), d.size, d.tag()}
	}
	before := s.current.Load()
	if before != nil && before.digest == c.digest {
		c.changed = before.changed
	}
	s.current.Store(c)
	if before != nil && before.changed != c.changed {
		close(before.changed)
	}
	return nil
}
