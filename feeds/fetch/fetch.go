package fetch

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

// UserAgent says who asks, so that whoever runs a feed knows whom to talk to.
func UserAgent(version string) string {
	return "Pavise/" + version + " (+https://pavise.dev; threat feed fetcher)"
}

// Options of a Client. The zero value can be used.
type Options struct {
	// UserAgent is sent with every request; UserAgent("devel") when empty. A header of the
	// source wins over it.
	UserAgent string
	// Resolver finds hosts; net.DefaultResolver when nil. Feeds are to resolve outside the
	// verdicts they lead to: a feed must not be able to block the host it comes from.
	Resolver *net.Resolver
	// Proxy is asked which proxy leads to a URL; none is used when nil.
	// http.ProxyFromEnvironment honours HTTPS_PROXY and NO_PROXY as other programs do. It
	// is off by default since the addresses that a proxy connects to are not checked; see
	// the package comment.
	Proxy func(*http.Request) (*url.URL, error)
	// Log is told of redirects and retries, at level debug; silent when nil. Failures
	// are returned, not logged.
	Log *slog.Logger
	// MaxValidatorAge is how long answers of "not modified" are believed; then the whole
	// body is asked for. 24 hours when 0.
	MaxValidatorAge time.Duration
	// Timeouts bound the steps of a fetch; each has its default when 0.
	Timeouts Timeouts
}

// Timeouts bound the steps of a fetch; Source.Timeout bounds the whole.
type Timeouts struct {
	// Connect is for the look-up and the connections to all addresses. 10 s.
	Connect time.Duration
	// Handshake is for TLS. 10 s.
	Handshake time.Duration
	// Header is from the request to the end of the answer's headers. 30 s.
	Header time.Duration
	// A body that brings less than Least octets (1024) in each Window (30 s) spent waiting
	// for it is given up.
	Window time.Duration
	Least  int64
	// RetryWait is the longest pause before a broken connection is made again. 1 s.
	RetryWait time.Duration
}

// Result is what a fetch brought.
type Result struct {
	// NotModified is set where the validators still hold; nothing was written then.
	NotModified bool
	// Validators are for the next fetch, to be stored with the body.
	Validators Validators
	// Bytes were written, after decompression; Wire came, before it.
	Bytes, Wire int64
	// Digest of what was written: sha256:HEX. Empty with NotModified.
	Digest string
	// Final is where it came from at last, without user, query and fragment.
	Final string
	// ContentType is the media type the server claims, in lower case, without parameters;
	// empty where that makes no sense.
	ContentType string
	// Encoding is what was decompressed: gzip, zstd, br or nothing.
	Encoding string
	// Pages is the number of answers that were put together.
	Pages int
	// AddedLast is what to ask a TAXII server for next, as Source.AddedAfter; empty where
	// it does not say.
	AddedLast string
	// RetryAfter is how long the server asks to be left alone, at most a day.
	RetryAfter time.Duration
	// OpenEnded is set where nothing told the end of the body but the end of the
	// connection (RFC 9112 6.3): one that broke looks the same. Believe a body that
	// shrank all the less.
	OpenEnded bool
}

// Client fetches feeds. It is safe for concurrent use. It keeps no connections between
// fetches: feeds are asked for hourly, and a connection that idles that long is dead.
type Client struct {
	o Options

	// The two seams of the tests, which have only loopback to play with. Nothing outside
	// the package can set them.
	classify func(netip.Addr) reach
	now      func() time.Time

	base   context.Context //nolint:containedctx // of the client's life, which Close ends
	cancel context.CancelFunc
	mu     sync.Mutex // closed, and no Add to running after it
	closed bool
	run    sync.WaitGroup
}

// New returns a client. It starts nothing.
func New(o Options) *Client {
	if o.UserAgent == "" {
		o.UserAgent = UserAgent("devel")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxValidatorAge <= 0 {
		o.MaxValidatorAge = 24 * time.Hour
	}
	defaults := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	defaults(&o.Timeouts.Connect, 10*time.Second)
	defaults(&o.Timeouts.Handshake, 10*time.Second)
	defaults(&o.Timeouts.Header, 30*time.Second)
	defaults(&o.Timeouts.Window, 30*time.Second)
	defaults(&o.Timeouts.RetryWait, time.Second)
	if o.Timeouts.Least <= 0 {
		o.Timeouts.Least = 1024
	}
	c := &Client{o: o, classify: classify, now: time.Now}
	c.base, c.cancel = context.WithCancel(context.Background())
	return c
}

// Close ends the fetches under way and waits until they have. Later ones fail.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.run.Wait()
}

func (c *Client) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.run.Add(1)
	return true
}

// Fetch brings a feed and writes its body to w as it comes, decompressed. An error is
// an *Error; with one, what w got is to be thrown away. A body without an octet is no
// error here: it is for the guards to say what an empty feed means.
//
// A body is decompressed where Content-Encoding says gzip, zstd or br, and, where it says
// nothing, where the first octets are those of gzip or zstd, whatever the URL ends in:
// no feed begins so. That holds for files as well. It is one layer only, and a window of
// zstd has at most 8 MiB (RFC 9659).
func (c *Client) Fetch(ctx context.Context, src Source, v Validators, w io.Writer) (Result, error) {
	if !c.enter() {
		return Result{}, errClosed
	}
	defer c.run.Done()
	u, err := src.check()
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.base, func() { cancel(errClosed) })()
	timed, stop := context.WithTimeoutCause(ctx, src.Timeout, errWhole)
	defer stop()

	f := &fetching{c: c, ctx: timed, cancel: cancel, src: &src, own: u, out: newSink(w, src.MaxBytes)}
	f.of = src.digest(u)
	if !src.Force && src.Paging != TAXII && v.usable(f.of, c.now(), c.o.MaxValidatorAge) {
		f.v = v
	}
	switch {
	case u.Scheme == "file":
		err = f.file()
	default:
		if err = f.prepare(); err != nil {
			break
		}
		defer f.hangUp()
		if src.Paging == TAXII {
			err = f.pages()
		} else {
			err = f.once()
		}
	}
	if err != nil {
		return Result{}, err
	}
	if !f.res.NotModified {
		f.res.Bytes = f.out.n
		f.res.Digest = "sha256:" + hex.EncodeToString(f.out.sum.Sum(nil))
	}
	return f.res, nil
}
