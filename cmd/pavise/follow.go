package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"pavise.dev/pavise/feeds/replica"
	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/proxy/filter"
	"pavise.dev/pavise/xds/relay"
)

// followFeeds makes what keeps the snapshot of a control plane current in a folder, and the
// engine of this process with it.
func followFeeds(url, dir string, files relay.TLS, e *filter.Engine, log *slog.Logger) (*replica.Follower, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("where this binary is: %w", err)
	}
	c := replica.Config{
		URL: url, Dir: dir, Worker: []string{self, proveCommandName}, Logger: log,
		// The server spreads what it tells; a question is open nearly always.
		Jitter: time.Second,
		Loaded: func(path string, _ snapshot.Digest) { swapSnapshot(e, path, log) },
	}
	if strings.HasPrefix(url, "https://") && files.CAFile != "" {
		if c.TLS, err = files.Config(); err != nil {
			return nil, err
		}
	}
	return replica.New(c)
}

// swapSnapshot puts the snapshot in a file in force in this process, and says whether it is.
// One that cannot be used leaves the last.
func swapSnapshot(e *filter.Engine, path string, log *slog.Logger) bool {
	s, err := snapshot.Open(path)
	if err != nil {
		log.Error("the snapshot cannot be used here; the last one stays", "error", err)
		return false
	}
	e.Swap(s)
	return true
}
