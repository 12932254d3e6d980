//go:build unix

package fetch

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestFile(t *testing.T) {
	l := newLab(t)
	path := filepath.Join(t.TempDir(), "list #1.txt")
	src := Source{URL: "file://" + strings.ReplaceAll(strings.ReplaceAll(path, " ", "%20"), "#", "%23")}
	l.fails(src, File, "there is no file "+path)
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(list)
	// Just written, it may change again without its times showing it.
	if res := l.gives(src, list); res.Validators.File != "" {
		t.Error("a file's times are believed at once")
	}
	l.c.now = func() time.Time { return time.Now().Add(time.Minute) }
	res := l.gives(src, list)
	if res.Bytes != int64(len(list)) || !strings.HasPrefix(res.Final, "file:///") {
		t.Errorf("%+v", res)
	}
	v := again(t, res.Validators)
	if res, body, err := l.fetch(src, v); err != nil || !res.NotModified || body != "" {
		t.Errorf("the same file: %v, %+v", err, res)
	}
	forced := src
	forced.Force = true
	if res, _, err := l.fetch(forced, v); err != nil || res.NotModified {
		t.Errorf("forced: %v, %+v", err, res)
	}
	// Same size, and its time set back: what cannot be set back gives it away.
	st, _ := os.Stat(path)
	write(strings.ReplaceAll(list, "192", "198"))
	if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
	if res, body, err := l.fetch(src, v); err != nil || res.NotModified || body == list {
		t.Errorf("another file: %v, %+v", err, res)
	}
	// Compressed, by its first octets; and through a symbolic link, as Kubernetes mounts.
	write(gzipped(list))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if res := l.gives(Source{URL: "file://localhost" + link}, list); res.Encoding != "gzip" {
		t.Errorf("%+v", res)
	}
	write(gzipped(list)[:20])
	l.fails(src, Truncated, "middle of its gzip")
	write(gzipped(strings.Repeat("\x00", 10<<20)))
	l.fails(Source{URL: src.URL, MaxBytes: 1 << 20}, OverLimit, "maxBytes")
	write(strings.Repeat("a", 1<<20))
	l.fails(Source{URL: src.URL, MaxBytes: 1 << 10}, OverLimit, "maxBytes")
	write("")
	l.gives(src, "")
}

// TestWhatIsNoRegularFile: nothing that blocks, never ends or is no file at all.
func TestWhatIsNoRegularFile(t *testing.T) {
	l := newLab(t)
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		pipe:                   "a pipe", // and nobody writes into it
		dir:                    "a folder",
		"/dev/zero":            "a device",
		"/proc/self/environ":   "changed while it was read",
		"/../../dev/zero/../x": "there is no file /dev/x",
	} {
		l.fails(Source{URL: "file://" + path}, File, says)
	}
}
