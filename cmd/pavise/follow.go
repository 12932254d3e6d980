package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
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
func followFeeds(url, dir string, files relay.TLS, tokenFile string, e *filter.Engine, log *slog.Logger) (*replica.Follower, error) {
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
	if tokenFile != "" {
		c.Authorize = func(r *http.Request) error { return bearer(r, tokenFile) }
	}
	if strings.HasPrefix(url, "https://") && files.CAFile != "" {
		if c.TLS, err = files.Config(); err != nil {
			return nil, err
		}
	}
	return replica.New(c)
}

// maxToken bounds a file with a token, in octets.
const maxToken = 64 << 10

// bearer sends the token that the file has now: the kubelet writes a new one every hour.
func bearer(r *http.Request, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return err
	}
	token := strings.TrimSpace(string(b))
	if token == "" || len(b) > maxToken || strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return fmt.Errorf("%s has no token in it", file)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return nil
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
