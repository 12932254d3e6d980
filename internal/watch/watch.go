// Package watch tells when something in a folder changed. It listens to the kernel
// where that works and looks by itself besides, since a missed event must not mean a
// policy that never comes into force.
package watch

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// Quiet is how long a folder has to be quiet after a change: editors write a file in
	// several steps.
	Quiet = 15 * time.Millisecond
	// longest bounds how long a folder that is never quiet holds a change back.
	longest = 250 * time.Millisecond
	// poll is how often to report a change that nobody may have made; the receiver
	// compares contents.
	poll = 30 * time.Second
)

// Folder calls changed, in this goroutine, once it watches, after every burst of changes
// below dir, and now and then without one, until the context ends. Names that begin with a dot are
// passed over, except ..data, through which Kubernetes replaces mounted files.
func Folder(ctx context.Context, dir string, log *slog.Logger, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	defer w.Close()
	add(w, dir, log)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	// Once at the beginning: what was changed between the caller's own look and now made
	// no event.
	quiet := time.After(Quiet)
	since := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.Events:
			if ignored(e.Name) {
				continue
			}
			if e.Has(fsnotify.Create) {
				add(w, e.Name, log)
			}
			if quiet == nil {
				since = time.Now()
			}
			if time.Since(since) < longest {
				quiet = time.After(Quiet)
			}
		case err := <-w.Errors:
			log.Warn("watching the folder failed; it is still looked at now and then", "dir", dir, "error", err)
		case <-quiet:
			quiet = nil
			changed()
		case <-tick.C:
			add(w, dir, log)
			changed()
		}
	}
}

func ignored(name string) bool {
	base := filepath.Base(name)
	return strings.HasPrefix(base, ".") && base != "..data"
}

// add watches a folder and those below it; what is no folder is watched through the one
// it is in.
func add(w *fsnotify.Watcher, root string, log *slog.Logger) {
	if st, err := os.Stat(root); err != nil || !st.IsDir() {
		return
	}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // it went away meanwhile
		}
		if p != root && ignored(p) {
			return filepath.SkipDir
		}
		return w.Add(p)
	})
	if err != nil {
		log.Warn("the folder cannot be watched; it is looked at now and then", "dir", root, "error", err)
	}
}
