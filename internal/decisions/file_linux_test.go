package decisions

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDiskFull has a disk of its own, of 64 KiB. What is written to it before and after it
// is full is whole lines; what did not fit waits, and what waits has bounds.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no file system can be mounted: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	path := filepath.Join(dir, "decisions.log")
	f := newFile(t, FileConfig{Path: path})
	l := newLog(t, Options{Repeats: -1, Outputs: []Output{{Name: "file", Sink: f, MaxRecords: 300}}})
	stop := start(l)
	until := func(what string, holds func(OutputStats) bool) OutputStats {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			o := balanced(t, l).Outputs[0]
			if holds(o) {
				return o
			}
			if time.Now().After(deadline) {
				t.Fatalf("not %s: %+v", what, o)
			}
		}
	}
	i := 0
	full := func(o OutputStats) bool { return errors.Is(o.Err, syscall.ENOSPC) }
	for !full(until("writing", func(o OutputStats) bool { return full(o) || o.QueuedRecords < 100 })) {
		l.Add(denied(i))
		i++
	}
	for balanced(t, l).Outputs[0].Dropped[QueueFull].Deny == 0 { // after 300 more
		l.Add(denied(i))
		i++
	}
	o := balanced(t, l).Outputs[0]
	var text string
	until("whole", func(OutputStats) bool { // while it tries again, half a line may be there
		text = content(t, path)
		return strings.HasSuffix(text, "\n")
	})
	before := paths(t, text)
	numbered(t, before, 0, int(o.Written.Deny))
	if len(before) < 100 {
		t.Fatalf("%d lines on 64 KiB", len(before))
	}
	// Make room, as whoever is called for it does.
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	numbered(t, paths(t, content(t, path)), len(before), len(before)+300)
	if o = balanced(t, l).Outputs[0]; o.Written.Deny != uint64(len(before)+300) || o.Written.Deny+o.Dropped[QueueFull].Deny != uint64(i) {
		t.Errorf("of %d added: %+v", i, o)
	}
}
