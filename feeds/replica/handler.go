package replica

import (
	"cmp"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// busyWait is how many seconds a client is asked to stay away at most.
const busyWait = 5

// HandlerConfig of a Handler.
type HandlerConfig struct {
	// Store is what is served.
	Store *Store
	// Waiters is how many requests may wait for a change at a time; more are answered at
	// once, and ask again when they see fit. Default 4096; negative for none.
	Waiters int
	// Releases is how many of those that wait are let go in a second when a change comes,
	// on the average and within five seconds in all. Default 1000.
	Releases int
	// Transfers is how many snapshots and deltas are sent at a time; more are answered 503.
	// Default 1024.
	Transfers int
	// Rate is the least octets a second, on the average, that a client has to take of a
	// snapshot or delta before its connection is given up. Default 65536.
	Rate int64
	// Logger is told of files that cannot be read; silent when nil.
	Logger *slog.Logger
}

// Handler answers what the package comment describes. No request makes it compute
// anything: files are sent as they lie, and the document is made when it changes. It keeps
// deadlines of its own, where what it is served by can (http.ResponseController).
type Handler struct {
	c         HandlerConfig
	waiters   chan struct{}
	transfers chan struct{}
	closed    chan struct{}
	close     sync.Once
	// grace is what every answer may take beside its octets and its wait; tests shorten it.
	grace time.Duration

	documents, notModified, snapshots, deltas, busy, notFound atomic.Uint64
}

// NewHandler returns a Handler. It starts nothing.
func NewHandler(c HandlerConfig) *Handler {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Waiters = max(cmp.Or(c.Waiters, 4096), 0)
	c.Releases = max(cmp.Or(c.Releases, 1000), 1)
	c.Transfers = max(cmp.Or(c.Transfers, 1024), 1)
	c.Rate = max(cmp.Or(c.Rate, 64<<10), 1)
	return &Handler{
		c: c, waiters: make(chan struct{}, c.Waiters), transfers: make(chan struct{}, c.Transfers), closed: make(chan struct{}),
		grace: 30 * time.Second,
	}
}

// Close lets go whoever waits for a change; later requests do not wait. http.Server.Shutdown
// would wait for them otherwise.
func (h *Handler) Close() { h.close.Do(func() { close(h.closed) }) }

// Served is what a Handler did, for metrics. All but Waiting and Sending only ever grow.
type Served struct {
	// Documents are answers to /feeds/current with a body, NotModified those without.
	Documents, NotModified uint64
	// Snapshots and Deltas are requests for them, parts included.
	Snapshots, Deltas uint64
	// Busy were answered 503, NotFound 404.
	Busy, NotFound uint64
	// Waiting for a change, and Sending, at the moment.
	Waiting, Sending int
}

// Served returns what was done so far.
func (h *Handler) Served() Served {
	return Served{
		Documents: h.documents.Load(), NotModified: h.notModified.Load(),
		Snapshots: h.snapshots.Load(), Deltas: h.deltas.Load(),
		Busy: h.busy.Load(), NotFound: h.notFound.Load(),
		Waiting: len(h.waiters), Sending: len(h.transfers),
	}
}

// ServeHTTP serves the paths of the package comment; who mounts it elsewhere strips the
// prefix.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	rc := http.NewResponseController(w)
	deadline(rc.SetWriteDeadline, h.grace)
	if r.ContentLength != 0 {
		// It is read by net/http after the answer, and may never come.
		deadline(rc.SetReadDeadline, h.grace/6)
		w.Header().Set("Connection", "close")
		http.Error(w, "a request here has no body", http.StatusBadRequest)
		return
	}
	path := r.URL.Path
	known := path == currentPath || strings.HasPrefix(path, snapshotPath) || strings.HasPrefix(path, deltaPath)
	switch {
	case !known:
		h.missing(w, "this serves "+currentPath+", "+snapshotPath+"HEX and "+deltaPath+"FROM/TO")
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "what is served is only read: GET or HEAD", http.StatusMethodNotAllowed)
		return
	}
	c := h.c.Store.current.Load()
	if path == currentPath {
		h.serveCurrent(w, r, rc, c)
		return
	}
	if c != nil {
		if f, ok := c.files[path]; ok {
			h.send(w, r, rc, f)
			return
		}
	}
	h.missing(w, "it is not kept, or never was: "+currentPath+" says what is")
}

// missing is an answer that a cache must not keep: what is asked for may come.
func (h *Handler) missing(w http.ResponseWriter, words string) {
	h.notFound.Add(1)
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, words, http.StatusNotFound)
}

func (h *Handler) refuse(w http.ResponseWriter, words string) {
	h.busy.Add(1)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Retry-After", strconv.Itoa(1+rand.IntN(busyWait))) //nolint:gosec // G404: it spreads
	http.Error(w, words, http.StatusServiceUnavailable)
}

// send sends a file, or the part that is asked for.
func (h *Handler) send(w http.ResponseWriter, r *http.Request, rc *http.ResponseController, f served) {
	select {
	case h.transfers <- struct{}{}:
		defer func() { <-h.transfers }()
	default:
		h.refuse(w, "too many are being served at the moment")
		return
	}
	file, err := os.Open(f.path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			h.c.Logger.Error("a file that is served cannot be read", "error", err)
		}
		h.missing(w, "it is not kept any more: "+currentPath+" says what is")
		return
	}
	defer file.Close()
	deadline(rc.SetWriteDeadline, h.grace+time.Duration(f.size/h.c.Rate)*time.Second)
	if strings.HasPrefix(r.URL.Path, deltaPath) {
		h.deltas.Add(1)
	} else {
		h.snapshots.Add(1)
	}
	if strings.Contains(r.Header.Get("Range"), ",") {
		// A range may be answered with the whole (RFC 9110 14.2), and nobody needs several.
		r.Header.Del("Range")
	}
	head := w.Header()
	head.Set("Content-Type", "application/octet-stream")
	head.Set("ETag", f.tag)
	head.Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, file)
}

// deadline sets one from now on. What cannot keep deadlines has some of its own, or none.
func deadline(set func(time.Time) error, after time.Duration) { _ = set(time.Now().Add(after)) }
