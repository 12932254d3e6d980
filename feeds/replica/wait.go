package replica

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// mostRelease bounds over how long those that wait are let go.
const mostRelease = 5 * time.Second

// serveCurrent says what is in force, after a change of it if the client has what is in
// force and would wait.
func (h *Handler) serveCurrent(w http.ResponseWriter, r *http.Request, rc *http.ResponseController, c *catalog) {
	wait, ok := waitOf(r.URL.RawQuery)
	if !ok {
		http.Error(w, "wait is a number of seconds", http.StatusBadRequest)
		return
	}
	if c == nil {
		h.refuse(w, "no snapshot has been published yet")
		return
	}
	known := r.Header.Get("If-None-Match")
	if wait > 0 && has(known, c) {
		deadline(rc.SetReadDeadline, wait+h.grace)
		deadline(rc.SetWriteDeadline, wait+h.grace)
		h.wait(r, c, wait)
		c = h.c.Store.current.Load()
	}
	head := w.Header()
	head.Set("ETag", weakTag(c.digest))
	head.Set("Cache-Control", "no-cache")
	if has(known, c) {
		h.notModified.Add(1)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.documents.Add(1)
	head.Set("Content-Type", "application/json")
	head.Set("Content-Length", strconv.Itoa(len(c.document)))
	_, _ = w.Write(c.document) //nolint:gosec // G705: digests and numbers, as JSON; who has gone will not know
}

// waitOf reads ?wait=SECONDS, which is capped.
func waitOf(query string) (time.Duration, bool) {
	value, ok := strings.CutPrefix(query, "wait=")
	if !ok {
		return 0, true // what is not meant for this is nothing to it
	}
	n, err := strconv.ParseUint(value, 10, 31)
	return time.Duration(min(n, mostWait)) * time.Second, err == nil
}

// has says whether If-None-Match names what is in force (RFC 9110 13.1.2). A tag is 64
// digits in quotes, which nothing else in the field can look like.
func has(known string, c *catalog) bool {
	return known == "*" || strings.Contains(known, strongTag(c.digest))
}

// wait returns when something else is in force than c, or the time is up, or nobody waits
// any more, or too many do.
func (h *Handler) wait(r *http.Request, c *catalog, wait time.Duration) {
	select {
	case h.waiters <- struct{}{}:
		defer func() { <-h.waiters }()
	default:
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return
	case <-r.Context().Done():
		return
	case <-h.closed:
		return
	case <-c.changed:
	}
	// All of them come for the same delta next: one after the other is as fast, and easier.
	spread := min(time.Duration(len(h.waiters))*time.Second/time.Duration(h.c.Releases), mostRelease)
	t.Reset(rand.N(spread + 1)) //nolint:gosec // G404: it spreads
	select {
	case <-t.C:
	case <-r.Context().Done():
	case <-h.closed:
	}
}
