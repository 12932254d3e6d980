package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"pavise.dev/pavise/admin/flows"
)

// flowPages serves what happened lately, where there is a store of it.
func flowPages(mux *http.ServeMux, s *flows.Store) {
	mux.HandleFunc("GET /api/v1/flows", func(w http.ResponseWriter, r *http.Request) {
		f, cursor, limit, err := flows.Parse(r.URL.Query())
		if err == nil {
			var page flows.Page
			if page, err = s.Query(f, cursor, limit); err == nil {
				reply(w, page)
				return
			}
		}
		parameter(w, err)
	})
	mux.HandleFunc("GET /api/v1/flows/{id}", func(w http.ResponseWriter, r *http.Request) {
		if f, ok := s.Get(r.PathValue("id")); ok {
			reply(w, f)
			return
		}
		fail(w, http.StatusNotFound, "there is no flow of that id; it may be past its window")
	})
	mux.HandleFunc("GET /api/v1/requests/{id}", func(w http.ResponseWriter, r *http.Request) {
		if f, ok := s.ByRequest(r.PathValue("id")); ok {
			reply(w, f)
			return
		}
		fail(w, http.StatusNotFound, "no request of that id is known; it may be past its window, or another process decided it")
	})
	mux.HandleFunc("GET /api/v1/follow", func(w http.ResponseWriter, r *http.Request) { follow(w, r, s) })
}

// parameter says which parameter cannot be taken as it stands.
func parameter(w http.ResponseWriter, err error) {
	var f *flows.FieldError
	if errors.As(err, &f) {
		send(w, http.StatusBadRequest, failure{f.Message, f.Field})
		return
	}
	fail(w, http.StatusBadRequest, err.Error())
}

// followDeadline is how long a reader may take for one event.
const followDeadline = 10 * time.Second

// follow sends decisions as they come, one JSON object a line, until the client goes.
func follow(w http.ResponseWriter, r *http.Request, s *flows.Store) {
	f, _, _, err := flows.Parse(r.URL.Query())
	if err != nil {
		parameter(w, err)
		return
	}
	events, err := s.Follow(r.Context(), f)
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := http.NewResponseController(w)
	lines := json.NewEncoder(w)
	// The server's own deadline is for answers that end.
	if out.SetWriteDeadline(time.Time{}) != nil || out.Flush() != nil {
		return
	}
	for e := range events {
		if out.SetWriteDeadline(time.Now().Add(followDeadline)) != nil || lines.Encode(e) != nil || out.Flush() != nil {
			return
		}
	}
}
