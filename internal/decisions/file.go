package decisions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
)

// FileConfig is what a File writes to.
type FileConfig struct {
	// Path of the file. It is made with mode 0600, for this user alone; one that is there is
	// appended to and keeps its mode. It must not be a link or anything but a file. Its
	// folder has to be there, and only who may read decisions should be able to write there.
	Path string
	// MaxOctets is how large the file may grow before it is renamed to PATH.1 and a new one
	// begins. 64 MiB when 0; less than 1 MiB is not possible.
	MaxOctets int64
	// Keep is how many renamed files stay: PATH.1, the latest, to PATH.N. 5 when 0; negative
	// keeps none.
	Keep int
}

const leastFileOctets = 1 << 20

// File is a sink of JSON lines that appends to a file and rotates it. One process at a time
// may write to a file. Nothing is synced: what the system had not written when it crashed
// is lost.
//
// Someone else may rotate too: before each write it looks whether its path still leads to
// its file, and opens it anew if not. Lines after a rename go to the new file at once, also
// without Reopen.
type File struct {
	c      FileConfig
	f      *os.File
	lines  lines
	reopen atomic.Bool
}

// NewFile returns a sink that appends to a file. It opens it, so that one that cannot be
// opened is known at once.
func NewFile(c FileConfig) (*File, error) {
	if c.Path == "" {
		return nil, errors.New("decisions: a file needs a path")
	}
	c.MaxOctets = max(cmp.Or(c.MaxOctets, 64<<20), leastFileOctets)
	if c.Keep = cmp.Or(c.Keep, 5); c.Keep < 0 {
		c.Keep = 0
	}
	f := &File{c: c}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("decisions: %w", err)
	}
	return f, nil
}

// Reopen has the file opened anew by its path before the next write. It may be called from
// any goroutine, as on SIGHUP, and does not wait.
func (f *File) Reopen() { f.reopen.Store(true) }

// Write appends a line for each record. On a full disk what is there of a broken line is
// taken back.
func (f *File) Write(ctx context.Context, batch []*Record) (int, error) {
	for done := 0; ; {
		if done == len(batch) {
			return done, nil
		}
		if err := ctx.Err(); err != nil {
			return done, err
		}
		if err := f.ready(); err != nil {
			return done, err
		}
		f.lines.next(batch[done:])
		n, err := f.lines.flush(f.f)
		done += n
		if err != nil {
			f.takeBack()
			return done, fmt.Errorf("the file for decisions cannot be written: %w", err)
		}
	}
}

// takeBack removes the beginning of a line that was not written whole. If it cannot be, the
// next line ends it.
func (f *File) takeBack() {
	if f.lines.rest == 0 {
		return
	}
	here, err := f.f.Stat()
	if err != nil || here.Size() < f.lines.wrote { // someone emptied it meanwhile
		return
	}
	if f.f.Truncate(here.Size()-f.lines.rest) == nil {
		f.lines.torn = false
	}
}

// Close closes the file.
func (f *File) Close() error {
	if f.f == nil {
		return nil
	}
	return f.f.Close()
}

// open opens the path, whatever was open before.
func (f *File) open() error {
	if f.f != nil {
		_ = f.f.Close() // nothing of ours is unwritten
		f.f = nil
	}
	other := fmt.Errorf("%s is no regular file: name one, and not a link, or a path where there is none yet", f.c.Path)
	if there, err := os.Lstat(f.c.Path); err == nil && !there.Mode().IsRegular() {
		return other
	}
	at, err := os.OpenFile(f.c.Path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("the file for decisions cannot be opened: %w", err)
	}
	if !f.is(at) { // it was replaced between the two
		_ = at.Close()
		return other
	}
	f.f, f.lines.torn = at, false
	if size, err := at.Seek(0, io.SeekEnd); err == nil && size > 0 {
		last := []byte{0}
		if _, err := at.ReadAt(last, size-1); err == nil {
			f.lines.torn = last[0] != '\n' // whoever wrote it was stopped within a line
		}
	}
	return nil
}

// is says whether the path is a file, and that one.
func (f *File) is(at *os.File) bool {
	there, err := os.Lstat(f.c.Path)
	if err != nil || !there.Mode().IsRegular() {
		return false
	}
	here, err := at.Stat()
	return err == nil && os.SameFile(here, there)
}

// ready opens the file where that has to be, and rotates it where it might get too large.
func (f *File) ready() error {
	if f.reopen.Swap(false) || f.f == nil || !f.is(f.f) {
		if err := f.open(); err != nil {
			return err
		}
	}
	here, err := f.f.Stat()
	if err != nil {
		return fmt.Errorf("the file for decisions: %w", err)
	}
	if here.Size()+mostOctets <= f.c.MaxOctets {
		return nil
	}
	if err := f.rotate(); err != nil {
		return fmt.Errorf("the file for decisions is as large as it may be and cannot be rotated: %w", err)
	}
	return f.open()
}

// rotate renames the files, the oldest first, which so is replaced.
func (f *File) rotate() error {
	if f.c.Keep == 0 {
		return os.Remove(f.c.Path)
	}
	for n := f.c.Keep; n > 1; n-- {
		if err := os.Rename(f.numbered(n-1), f.numbered(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Rename(f.c.Path, f.numbered(1))
}

func (f *File) numbered(n int) string { return filepath.Clean(f.c.Path) + "." + strconv.Itoa(n) }
