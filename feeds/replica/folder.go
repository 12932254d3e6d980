package replica

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"pavise.dev/pavise/feeds/snapshot"
)

const (
	lockName = "feeds.lock"
	// incoming is what every file begins with that is not yet believed.
	incoming = ".incoming-"
)

// enter makes the folder and takes its lock.
func (f *Follower) enter() (*os.File, error) {
	if _, err := os.Stat(f.c.Dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(f.c.Dir, 0o755); err != nil { //nolint:gosec // G301: see Config.Mode
			return nil, err
		}
		// Whatever the umask says. One that was there is somebody's who knows why.
		if err := os.Chmod(f.c.Dir, 0o755); err != nil { //nolint:gosec // G302: the same
			return nil, err
		}
	}
	return lockFile(filepath.Join(f.c.Dir, lockName))
}

// restore brings into force what an earlier process left, if it is whole.
func (f *Follower) restore(ctx context.Context) {
	if _, err := os.Lstat(f.path); errors.Is(err, fs.ErrNotExist) {
		return
	}
	// It passed the check when it came, and is all there is: it is not checked again.
	d, err := f.workFor(ctx, &task{Path: f.path})
	if err == nil {
		err = f.inForce(d)
	}
	f.judge(ctx, err)
}

// judge takes what was said of the file in its place: only one that was read and is not
// whole is damaged. What a worker could not say is asked again in the next round.
func (f *Follower) judge(ctx context.Context, err error) {
	switch {
	case err == nil || ctx.Err() != nil:
	case kindOf(err) == Worker:
		f.unproven = f.have.file == nil
		f.count(err)
		f.c.Logger.Error("the snapshot of the feeds on disk could not be proven", "error", err)
	default:
		f.damaged(err)
	}
}

// inForce takes note of what is in its place.
func (f *Follower) inForce(d snapshot.Digest) error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	f.have, f.unproven = have{d, info}, false
	f.update(func(s *State) { s.Digest, s.Size, s.Since = d.String(), info.Size(), info.ModTime() })
	f.c.Logger.Info("feeds in force", "snapshot", d, "octets", info.Size())
	if f.c.Loaded != nil {
		f.c.Loaded(f.path, d)
	}
	return nil
}

// damaged takes note that what was in its place is not whole. Who has it mapped goes on;
// it stays until another comes, as an error is told sooner from a bad file than from none.
func (f *Follower) damaged(err error) {
	f.have, f.unproven = have{}, false
	e := failed(Damaged, "%s is not what was put there, and is fetched again: %w", f.path, err)
	f.count(e)
	f.update(func(s *State) { s.Digest, s.Size, s.Error = "", 0, e.Error() })
	f.c.Logger.Error("the snapshot of the feeds on disk cannot be used, and is fetched again", "error", err)
}

// look sees whether what is in its place is what was put there. Whatever changes a file
// changes its state, so all of it is read only then.
func (f *Follower) look(ctx context.Context) {
	if f.have.file == nil {
		if f.unproven {
			f.restore(ctx)
		}
		return
	}
	info, err := os.Stat(f.path)
	if err == nil && sameState(f.have.file, info) {
		return
	}
	if err == nil {
		err = f.work(ctx, &task{Path: f.path, Digest: f.have.digest.String()})
	}
	if err == nil {
		f.have.file = info
	}
	f.judge(ctx, err)
}

// sameState compares what nobody can set back as well: the time of the last change of the
// inode.
func sameState(a, b os.FileInfo) bool {
	x, okx := a.Sys().(*syscall.Stat_t)
	y, oky := b.Sys().(*syscall.Stat_t)
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && okx && oky && changed(x) == changed(y)
}

// place puts a file that was proven where everybody looks for it.
func (f *Follower) place(path string, d snapshot.Digest) error {
	err := func() error {
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := file.Chmod(f.c.Mode); err != nil {
			return err
		}
		if err := file.Sync(); err != nil {
			return err
		}
		return os.Rename(path, f.path)
	}()
	if err != nil {
		return failed(Disk, "put the snapshot in its place: %w", err)
	}
	if err := f.inForce(d); err != nil {
		return failed(Damaged, "%w", err)
	}
	// It is in force; that its name may be gone after a power failure is an error all the same.
	dir, err := os.Open(f.c.Dir)
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return failed(Disk, "sync %s: %w", f.c.Dir, err)
	}
	return nil
}

// tidy removes what is not believed yet, but for one file, and what a worker that was ended
// left. None is under way.
func (f *Follower) tidy(but string) error {
	cleaned := snapshot.Clean(f.c.Dir)
	list, err := os.ReadDir(f.c.Dir)
	for _, e := range list {
		if strings.HasPrefix(e.Name(), incoming) && e.Name() != but {
			err = errors.Join(err, os.Remove(filepath.Join(f.c.Dir, e.Name())))
		}
	}
	if err = errors.Join(err, cleaned); err != nil {
		return failed(Disk, "%w", err)
	}
	return nil
}

func (f *Follower) temp(format string, args ...any) string {
	return filepath.Join(f.c.Dir, incoming+fmt.Sprintf(format, args...))
}
