package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

// Source is what the endpoint shows. Its methods are called from several goroutines.
type Source interface {
	// Current is the model in use and the set that it was compiled from.
	Current() (*policy.Model, *api.Set)
	// Feeds decides by threat feeds, as Envoy does; nil where there are none.
	Feeds() *filter.Engine
	// Status is put out as JSON.
	Status() any
	// Decisions are the latest, newest first, at most n.
	Decisions(n int) any
	// Flows are what happened lately; nil where they are not kept.
	Flows() *flows.Store
	// Anomalies are what was unusual; nil where nobody looks for it.
	Anomalies() *anomaly.Detector
}

const (
	maxBody      = 1 << 20
	maxDecisions = 1000
)

// Handler serves the endpoint; docs/admin.md lists it.
func Handler(s Source) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Status()) })
	mux.HandleFunc("GET /api/v1/decisions", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Decisions(maxDecisions)) })
	if store := s.Flows(); store != nil {
		flowPages(mux, store)
	}
	if d := s.Anomalies(); d != nil {
		anomalyPages(mux, d)
	}
	mux.HandleFunc("POST /api/v1/explain", func(w http.ResponseWriter, r *http.Request) {
		var q Query
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		d.DisallowUnknownFields()
		if err := d.Decode(&q); err != nil {
			fail(w, http.StatusBadRequest, "the body is not a query: "+err.Error())
			return
		}
		m, set := s.Current()
		if m == nil {
			fail(w, http.StatusServiceUnavailable, "no policy is in use yet")
			return
		}
		e, err := Explain(m, set, s.Feeds(), q)
		if err != nil {
			var q *QueryError
			if !errors.As(err, &q) {
				q = &QueryError{Message: err.Error()}
			}
			send(w, http.StatusUnprocessableEntity, failure{q.Message, q.Field})
			return
		}
		reply(w, e)
	})
	return mux
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}

type failure struct {
	Error string `json:"error"`
	// Field is set where a query cannot be answered as it stands.
	Field string `json:"field,omitempty"`
}

func fail(w http.ResponseWriter, status int, message string) {
	send(w, status, failure{Error: message})
}

func send(w http.ResponseWriter, status int, f failure) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(f) // the client has gone
}

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
	srv := &http.Server{Handler: Handler(s), ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the admin endpoint: %w", err)
	}
	return nil
}
