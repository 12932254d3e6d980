package replica

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"pavise.dev/pavise/feeds/fetch"
	"pavise.dev/pavise/feeds/snapshot"
)

// FileName is the name of the file that a Follower keeps current in its folder.
const FileName = "feeds.snapshot"

// Config of a Follower.
type Config struct {
	// URL of the server: https://host[:port][/path], http:// where the network is trusted, or
	// unix:///path/of/a/socket. Proxies of the environment are not used.
	URL string
	// TLS for https; nil for the system's authorities. It is not changed.
	TLS *tls.Config
	// Authorize sets what the server asks for, such as a token, on every request; may be nil.
	// It is called from the goroutine of Run.
	Authorize func(*http.Request) error

	// Dir is a folder that no other Follower uses. It is made if it is not there, with mode
	// 0755: see Mode.
	Dir string
	// Mode of the file. Default 0644: who maps it is Envoy, which is not run as the user of the
	// agent, so that traffic of the agent can be told from that of the workload. What feeds
	// list is no secret to a workload that can ask for any of it.
	Mode fs.FileMode
	// MaxBytes of a snapshot. Default 1 GiB. The folder holds up to four files of that size
	// for a moment: what is in force, what comes, and two that deltas make.
	MaxBytes int64
	// MaxDelta is how many octets of deltas are taken at a time instead of a whole, which
	// costs memory: see the package comment. Default 4 MiB; negative for none.
	MaxDelta int64

	// Interval between two questions, from the beginning of one to that of the next, plus up
	// to Jitter, which is all there is after a change. Defaults 30 s and a fifth of Interval.
	Interval, Jitter time.Duration
	// Wait is how long the server may hold a question back until there is an answer, in whole
	// seconds, at most a minute. Default Interval; negative for not at all.
	Wait time.Duration
	// Patience is for connecting, for an answer to begin beside Wait, and for each 256 KiB of
	// a body to come. Default 20 s.
	Patience time.Duration
	// Backoff after rounds that failed. Default 1 s to 5 min, which bounds Retry-After too.
	Backoff fetch.Backoff

	// Never are addresses and canonical names that no snapshot may list, beside those that no
	// feed can list and the host of URL: the API server, the DNS servers.
	Never []string
	// Check is asked about a snapshot that passed, before it takes the place of the other; may
	// be nil. An error refuses it.
	Check func(ctx context.Context, path string) error
	// Worker is the command line of a process that calls Work, which then proves snapshots
	// and applies deltas: one of them that crashes its reader, or takes all memory, so does it
	// there. Nil does it here.
	Worker []string
	// WorkerMemory is how many octets a worker may have of its own before it is ended,
	// mappings of snapshots left out. Default 256 MiB.
	WorkerMemory int64

	// Loaded is called when a snapshot is in force, from the goroutine of Run: at the start
	// with what is on disk, and then with each new one. May be nil.
	Loaded func(path string, d snapshot.Digest)
	// Logger is silent when nil.
	Logger *slog.Logger
}

// Follower keeps one folder current. Status may be called from any goroutine, Run once.
type Follower struct {
	c      Config
	remote *remote
	path   string

	// Of the goroutine of Run.
	have have
	// unproven is set where there is a file of which no worker could say what it is.
	unproven bool
	// refused is why refusedDigest did not pass, nil for none: it is not fetched again.
	refused       error
	refusedDigest snapshot.Digest

	mu    sync.Mutex
	state State
}

// have is what is in force. The zero one is nothing.
type have struct {
	digest snapshot.Digest
	file   os.FileInfo // as it was when it was proven
}

// New returns a Follower, or says what in the Config is wrong. It touches nothing.
func New(c Config) (*Follower, error) {
	if c.Dir == "" {
		return nil, errors.New("a follower of feeds needs a folder (Dir)")
	}
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&c.Interval, 30*time.Second)
	set(&c.Jitter, c.Interval/5)
	if c.Wait == 0 {
		c.Wait = c.Interval
	}
	c.Wait = max(min(c.Wait, mostWait*time.Second), 0).Truncate(time.Second)
	set(&c.Patience, 20*time.Second)
	set(&c.Backoff.Min, time.Second)
	set(&c.Backoff.Max, 5*time.Minute)
	octets := func(n *int64, to int64) {
		if *n == 0 {
			*n = to
		}
	}
	octets(&c.MaxBytes, 1<<30)
	octets(&c.MaxDelta, 4<<20)
	octets(&c.WorkerMemory, 256<<20)
	if c.Mode == 0 {
		c.Mode = 0o644
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("the URL of the feeds cannot be read") // which may hold a secret
	}
	r, err := newRemote(&c, u)
	if err != nil {
		return nil, err
	}
	if host := strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")); u.Scheme != "unix" && !loopback(host) {
		c.Never = append(c.Never[:len(c.Never):len(c.Never)], host)
	}
	f := &Follower{c: c, remote: r, path: filepath.Join(c.Dir, FileName)}
	f.state.Failed = map[Kind]uint64{}
	return f, nil
}

// Run brings what is on disk into force, and then keeps it current until the context ends,
// which is no error. An error says that the folder cannot be used: it is ErrLocked, or of
// the system. Everything else is in the Status, and what is in force stays.
func (f *Follower) Run(ctx context.Context) error {
	lock, err := f.enter()
	if err != nil {
		return fmt.Errorf("follow feeds: %w", err)
	}
	defer lock.Close()
	defer f.remote.close()
	if f.restore(ctx); f.have.file != nil {
		// A fleet that starts together need not ask together.
		if !f.sleep(ctx, jitter(f.c.Jitter)) {
			return nil
		}
	}
	for ctx.Err() == nil {
		start, before := time.Now(), f.have.digest
		err := f.round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait := f.c.Interval + jitter(f.c.Jitter) - time.Since(start)
		if f.have.digest != before && f.c.Wait > 0 {
			wait = jitter(f.c.Jitter) // to be told of the next change
		}
		if failures := f.report(err); failures > 0 {
			asked := time.Duration(0)
			if e := (*Error)(nil); errors.As(err, &e) {
				asked = min(e.RetryAfter, f.c.Backoff.Max)
			}
			wait = f.c.Backoff.Wait(failures, asked)
		}
		if !f.sleep(ctx, wait) {
			return nil
		}
	}
	return nil
}

// report takes the outcome of a round into the status, and returns how many failed in a row.
func (f *Follower) report(err error) (failures int) {
	f.update(func(s *State) {
		if err == nil {
			s.LastSuccess, s.Failures, s.Error = time.Now(), 0, ""
			return
		}
		s.Failures++
		s.Error = err.Error()
		s.Failed[kindOf(err)]++
		failures = s.Failures
	})
	if err != nil {
		f.c.Logger.Error("the feeds could not be brought up to date; what is in force stays", "kind", kindOf(err), "error", err, "failures", failures)
	}
	return failures
}

func (f *Follower) sleep(ctx context.Context, d time.Duration) bool {
	f.update(func(s *State) { s.NextAttempt = time.Now().Add(max(d, 0)) })
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func jitter(most time.Duration) time.Duration {
	return rand.N(most + 1) //nolint:gosec // G404: it spreads
}
