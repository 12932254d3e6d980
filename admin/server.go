package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/printable"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

// Source is what the endpoint shows. Its methods are called from several goroutines, and
// hold no lock that traffic waits for. A source that has more to show implements HasFeeds,
// HasEnvoy or HasMetrics; what it does not implement is answered with 404.
type Source interface {
	// Current is the model in use and the set that it was compiled from.
	Current() (*policy.Model, *api.Set)
	// Feeds decides by threat feeds, as Envoy does; nil where there are none.
	Feeds() *filter.Engine
	// Status is put out as JSON.
	Status() any
	// Decisions are the latest, newest first, at most n: a []decisions.Record.
	Decisions(n int) any
	// Flows are what happened lately; nil where they are not kept.
	Flows() *flows.Store
	// Anomalies are what was unusual; nil where nobody looks for it.
	Anomalies() *anomaly.Detector
}

// maxBody bounds the body of a request, in octets.
const maxBody = 1 << 20

// Handler serves the endpoint; docs/admin.md lists it. It asks nobody who they are: it is for
// a unix socket. ServeTCP is for everything else.
func Handler(s Source) http.Handler { return newEndpoint(s, false).mux() }

func serveStatus(e *endpoint, w http.ResponseWriter, _ *http.Request) { reply(w, e.source.Status()) }

func serveExplain(e *endpoint, w http.ResponseWriter, r *http.Request) {
	var q Query
	if !readBody(w, r, "a query", &q) {
		return
	}
	m, set := e.source.Current()
	if m == nil {
		fail(w, http.StatusServiceUnavailable, "no policy is in use yet")
		return
	}
	x, err := Explain(m, set, e.source.Feeds(), q)
	if err != nil {
		unanswerable(w, err)
		return
	}
	reply(w, x)
}

// readBody reads the one JSON value of a body; false if an answer was sent because it cannot.
func readBody(w http.ResponseWriter, r *http.Request, what string, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		fail(w, http.StatusBadRequest, "the body is not "+what+": "+clip(err.Error()))
		return false
	}
	return true
}

// clip bounds what is said again of a request.
func clip(s string) string {
	if len(s) > mostParameter {
		return s[:mostParameter] + "…"
	}
	return s
}

// unanswerable is for a question that cannot be answered as it stands.
func unanswerable(w http.ResponseWriter, err error) {
	var q *QueryError
	if !errors.As(err, &q) {
		q = &QueryError{Message: err.Error()}
	}
	send(w, http.StatusUnprocessableEntity, failure{clip(q.Message), q.Field})
}

// reply encodes first and writes then: nothing is held while a client reads.
func reply(w http.ResponseWriter, v any) { write(w, http.StatusOK, v) }

func write(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(printable.JSON(text), '\n')) // the client has gone
}

type failure struct {
	Error string `json:"error"`
	// Field is set where a query cannot be answered as it stands.
	Field string `json:"field,omitempty"`
}

func fail(w http.ResponseWriter, status int, message string) {
	send(w, status, failure{Error: message})
}

func send(w http.ResponseWriter, status int, f failure) { write(w, status, f) }

// Serve answers at a unix socket, made with mode 0600, until the context ends.
func Serve(ctx context.Context, socket string, s Source) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove a stale socket: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("listen for the admin endpoint: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		_ = l.Close()
		return fmt.Errorf("close the socket to others: %w", err)
	}
	return serveOn(ctx, l, Handler(s), slog.Default())
}

// serveOn answers at a listener until the context ends.
func serveOn(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the admin endpoint: %w", err)
	}
	return nil
}
