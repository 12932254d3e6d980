package replica

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"pavise.dev/pavise/feeds/snapshot"
)

// lockFile takes a lock that ends with the process. Only this user can open the file, so
// nobody else can keep it locked.
func lockFile(path string) (*os.File, error) {
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, fmt.Errorf("%s: %w", filepath.Dir(path), err)
	}
	return lock, nil
}

// take makes a snapshot one of the folder, under the name of its digest.
func (s *Store) take(path string) (*snapshot.Snapshot, int64, error) {
	temp := filepath.Join(s.c.Dir, "incoming"+snapshotSuffix)
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, 0, err
	}
	if err := os.Link(path, temp); err != nil {
		if err := copyFile(path, temp, s.c.MaxBytes); err != nil {
			return nil, 0, err
		}
	}
	next, err := s.whole(temp)
	if err != nil {
		return nil, 0, errors.Join(err, os.Remove(temp))
	}
	size, _ := next.Sizes()
	return next, size, os.Rename(temp, s.file(next.Digest()))
}

// whole opens a snapshot that a follower would take.
func (s *Store) whole(path string) (*snapshot.Snapshot, error) {
	next, err := snapshot.Open(path)
	if err != nil {
		return nil, err
	}
	if size, _ := next.Sizes(); size > s.c.MaxBytes {
		return nil, fmt.Errorf("it has %d octets, and at most %d are kept: raise MaxBytes", size, s.c.MaxBytes)
	}
	if err := next.VerifyDigest(); err != nil {
		return nil, err
	}
	return next, check(next, nil)
}

// copyFile is for a folder on another file system.
func copyFile(from, to string, most int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(in, most+1))
	if err == nil && n > most {
		err = fmt.Errorf("it has more than the %d octets that are kept: raise MaxBytes", most)
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}

// diff makes the delta from a kept snapshot, unless it is there or would be too big.
func (s *Store) diff(from snapshot.Digest, next *snapshot.Snapshot) {
	d := step{from: from, to: next.Digest()}
	start := time.Now()
	size, err := s.writeDelta(d, next)
	switch {
	case errors.Is(err, snapshot.ErrDeltaTooBig):
		s.c.Logger.Info("no delta: the whole is to be taken", "from", from, "to", d.to, "reason", err)
	case err != nil:
		s.c.Logger.Error("a delta could not be made: the whole is to be taken", "from", from, "to", d.to, "error", err)
	default:
		d.size = size
		s.deltas = append(s.deltas, d)
		s.c.Logger.Debug("delta made", "from", from, "to", d.to, "octets", size, "took", time.Since(start).Round(time.Millisecond))
	}
}

func (s *Store) writeDelta(d step, next *snapshot.Snapshot) (size int64, err error) {
	old, err := snapshot.Open(s.file(d.from))
	if err != nil {
		return 0, err
	}
	f, err := os.Create(s.deltaFile(d))
	if err != nil {
		return 0, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := snapshot.Diff(old, next, f); err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// evict removes the oldest snapshots until the rest is within the bounds, with the deltas
// of what has gone. The newest stays.
func (s *Store) evict() {
	for len(s.kept) > 1 && (len(s.kept) > s.c.Snapshots || s.octets() > s.c.MaxBytes) {
		s.remove(s.file(s.kept[0].digest))
		s.kept = slices.Delete(s.kept, 0, 1)
	}
	there := func(d snapshot.Digest) bool {
		return slices.ContainsFunc(s.kept, func(k kept) bool { return k.digest == d })
	}
	s.deltas = slices.DeleteFunc(s.deltas, func(d step) bool {
		return (!there(d.from) || !there(d.to)) && s.removeDelta(d)
	})
}

func (s *Store) octets() int64 {
	sum := int64(0)
	for _, k := range s.kept {
		sum += k.size
	}
	for _, d := range s.deltas {
		sum += d.size
	}
	return sum
}

// removeDelta returns true.
func (s *Store) removeDelta(d step) bool {
	s.remove(s.deltaFile(d))
	return true
}

// remove takes a file out of the folder. Whoever is being sent it has it open.
func (s *Store) remove(path string) {
	if err := os.Remove(path); err != nil {
		s.c.Logger.Warn("a file that is not kept any more could not be removed", "error", err)
	}
}
