package decisions

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func newFile(t *testing.T, c FileConfig) *File {
	t.Helper()
	f, err := NewFile(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func write(t *testing.T, f *File, from, to int) {
	t.Helper()
	if n, err := f.Write(t.Context(), batchOf(from, to)); n != to-from || err != nil {
		t.Fatalf("%d of %d, %v", n, to-from, err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFileIsForThisUserAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.log")
	write(t, newFile(t, FileConfig{Path: path}), 0, 10)
	write(t, newFile(t, FileConfig{Path: path}), 10, 20) // a restart appends
	numbered(t, paths(t, content(t, path)), 0, 20)
	if s, err := os.Stat(path); err != nil || s.Mode() != 0o600 {
		t.Errorf("%v, mode %v", err, s.Mode())
	}
}

func TestRotation(t *testing.T) {
	for _, keep := range []int{3, 1, -1} {
		path := filepath.Join(t.TempDir(), "decisions.log")
		f := newFile(t, FileConfig{Path: path, MaxOctets: 1, Keep: keep}) // which is 1 MiB
		const n = 50_000
		for i := 0; i < n; i += 1000 {
			write(t, f, i, i+1000)
		}
		files, err := filepath.Glob(path + "*")
		if err != nil || len(files) != max(keep, 0)+1 {
			t.Fatalf("%v, %v", files, err)
		}
		var all strings.Builder
		for i := len(files) - 1; i > 0; i-- {
			all.WriteString(content(t, fmt.Sprint(path, ".", i)))
		}
		all.WriteString(content(t, path))
		lines := paths(t, all.String()) // no line is lost or cut between two
		numbered(t, lines, n-len(lines), n)
		for _, file := range files {
			s, err := os.Stat(file)
			if err != nil || s.Size() > leastFileOctets || file != path && s.Size() < leastFileOctets-mostOctets || s.Mode() != 0o600 {
				t.Errorf("%v, %s has %d octets, mode %v", err, file, s.Size(), s.Mode())
			}
		}
	}
}

// TestRotationThatFails: a file that may not grow and cannot be renamed takes nothing more,
// until it can.
func TestRotationThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.log")
	f := newFile(t, FileConfig{Path: path, MaxOctets: 1, Keep: 1})
	if err := os.Mkdir(path+".1", 0o700); err != nil { // nothing can be renamed to a folder
		t.Fatal(err)
	}
	done := 0
	var err error
	for done < 20_000 && err == nil {
		n := 0
		n, err = f.Write(t.Context(), batchOf(done, done+1000))
		done += n
	}
	if err == nil || !strings.Contains(err.Error(), "cannot be rotated") {
		t.Fatalf("%v after %d", err, done)
	}
	if err := os.Remove(path + ".1"); err != nil {
		t.Fatal(err)
	}
	write(t, f, done, done+1000)
	numbered(t, paths(t, content(t, path+".1")+content(t, path)), 0, done+1000)
}

func TestRotatedByOthers(t *testing.T) {
	for name, rotate := range map[string]func(path string, f *File) error{
		"renamed":              func(path string, _ *File) error { return os.Rename(path, path+".old") },
		"renamed, then SIGHUP": func(path string, f *File) error { defer f.Reopen(); return os.Rename(path, path+".old") },
		"renamed and made anew": func(path string, _ *File) error {
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, nil, 0o640))
		},
		"SIGHUP, nothing renamed": func(_ string, f *File) error { f.Reopen(); return nil },
		"copied and emptied": func(path string, _ *File) error {
			b, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path+".old", b, 0o600), os.Truncate(path, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "decisions.log")
			f := newFile(t, FileConfig{Path: path})
			write(t, f, 0, 10)
			if err := rotate(path, f); err != nil {
				t.Fatal(err)
			}
			write(t, f, 10, 20)
			old, err := os.ReadFile(path + ".old")
			if errors.Is(err, os.ErrNotExist) != (name == "SIGHUP, nothing renamed") {
				t.Fatal(err)
			}
			now := content(t, path)
			numbered(t, paths(t, string(old)+now), 0, 20)
			if len(old) > 0 {
				numbered(t, paths(t, now), 10, 20)
			}
		})
	}
	t.Run("deleted, and its folder", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "log")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		f := newFile(t, FileConfig{Path: filepath.Join(dir, "decisions.log")})
		write(t, f, 0, 10)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if n, err := f.Write(t.Context(), batchOf(10, 20)); n != 0 || !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("%d, %v", n, err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, f, 10, 20)
		numbered(t, paths(t, content(t, filepath.Join(dir, "decisions.log"))), 10, 20)
	})
}

// TestFileThatEndsWithinALine: whoever wrote it was killed, or its disk was full.
func TestFileThatEndsWithinALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.log")
	if err := os.WriteFile(path, []byte(`{"time":"2026-`), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, newFile(t, FileConfig{Path: path}), 0, 3)
	_, rest, _ := strings.Cut(content(t, path), "\n")
	numbered(t, paths(t, rest), 0, 3)
}

func TestWhatIsNoFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	target, link, fifo := filepath.Join(dir, "target"), filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.WriteFile(target, nil, 0o600), os.Symlink(target, link), syscall.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		link: "is no regular file", fifo: "is no regular file", "/dev/null": "is no regular file", dir: "is no regular file",
		filepath.Join(dir, "none", "x"): "cannot be opened", "": "needs a path",
	} {
		if _, err := NewFile(FileConfig{Path: path}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v, want %s", path, err, want)
		}
	}
}

func BenchmarkFile(b *testing.B) {
	f, err := NewFile(FileConfig{Path: filepath.Join(b.TempDir(), "decisions.log"), Keep: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	batch := batchOf(0, batchRecords)
	for b.Loop() {
		if _, err := f.Write(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*batchRecords/b.Elapsed().Seconds(), "records/s")
}
