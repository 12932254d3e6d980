package admin

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/internal/printable"
)

// flowRoutes serve what happened lately, where there is a store of it.
func flowRoutes() []route {
	filters := flowParameters[:len(flowParameters)-2] // all but cursor and limit
	return []route{
		{
			method: "GET", path: "/api/v1/flows", summary: "What happened lately, the newest first.", answer: flows.Page{},
			parameters: append(slices.Clone(flowParameters), historyParameter), lacks: noFlows, serve: serveFlows,
		},
		{
			method: "GET", path: "/api/v1/flows/{id}", summary: "One flow.", answer: flows.Flow{},
			parameters: idPath("of the flow"), lacks: noFlows, serve: serveFlow,
		},
		{
			method: "GET", path: "/api/v1/requests/{id}", summary: "The flow of one request.", answer: flows.Flow{},
			parameters: idPath("of the request, as its response says"), lacks: noFlows, serve: serveRequest,
		},
		{
			method: "GET", path: "/api/v1/follow", summary: "Each decision as it comes, one JSON object a line.", answer: flows.Event{},
			media: "application/x-ndjson", parameters: filters, lacks: noFlows, serve: follow,
		},
	}
}

var historyParameter = parameter{name: "history", words: "true: of the file that is kept for longer, where there is one; its cursors are its own", boolean: true}

// FlowHistory has flows of longer ago than memory has; *history.File is one. Query returns at
// most limit, the newest first, after the place that an earlier call returned; it may return
// fewer, and a next.
type FlowHistory interface {
	Query(f flows.Filter, after string, limit int) (found []flows.Flow, next string, err error)
}

// HasHistory is a Source that keeps flows in a file. Nil is that it does not.
type HasHistory interface {
	History() FlowHistory
}

// HistoryPage is a flows.Page of a history.
type HistoryPage struct {
	Flows []flows.Flow `json:"flows"`
	// Next is where the next page begins; empty if this is the last one.
	Next string `json:"next,omitempty"`
}

// serveHistory is one of the heavy requests: it reads a file.
func serveHistory(e *endpoint, w http.ResponseWriter, v url.Values) {
	var h FlowHistory
	if s, ok := e.source.(HasHistory); ok {
		h = s.History()
	}
	if h == nil {
		fail(w, http.StatusNotFound, "this process keeps no history of flows: start it with --flows-history")
		return
	}
	after := v.Get("cursor")
	v.Del("cursor")
	v.Del("history")
	f, _, most, err := flows.Parse(v)
	if err != nil {
		parameter400(w, err)
		return
	}
	leave, ok := e.enter(w)
	if !ok {
		return
	}
	found, next, err := h.Query(f, after, most)
	leave()
	var field *flows.FieldError
	switch {
	case errors.As(err, &field):
		parameter400(w, err)
	case err != nil:
		fail(w, http.StatusInternalServerError, err.Error())
	default:
		reply(w, HistoryPage{append([]flows.Flow{}, found...), next})
	}
}

func serveFlows(e *endpoint, w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	if v.Get("history") == "true" {
		serveHistory(e, w, v)
		return
	}
	v.Del("history") // false
	f, cursor, most, err := flows.Parse(v)
	if err == nil {
		var page flows.Page
		if page, err = e.source.Flows().Query(f, cursor, most); err == nil {
			reply(w, page)
			return
		}
	}
	parameter400(w, err)
}

func serveFlow(e *endpoint, w http.ResponseWriter, r *http.Request) {
	if f, ok := e.source.Flows().Get(r.PathValue("id")); ok {
		reply(w, f)
		return
	}
	fail(w, http.StatusNotFound, "there is no flow of that id; it may be past its window")
}

func serveRequest(e *endpoint, w http.ResponseWriter, r *http.Request) {
	if f, ok := e.source.Flows().ByRequest(r.PathValue("id")); ok {
		reply(w, f)
		return
	}
	fail(w, http.StatusNotFound, "no request of that id is known; it may be past its window, or another process decided it")
}

// parameter400 says which parameter cannot be taken as it stands.
func parameter400(w http.ResponseWriter, err error) {
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
func follow(e *endpoint, w http.ResponseWriter, r *http.Request) {
	f, _, _, err := flows.Parse(r.URL.Query())
	if err != nil {
		parameter400(w, err)
		return
	}
	events, err := e.source.Flows().Follow(r.Context(), f)
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := http.NewResponseController(w)
	// The server's own deadline is for answers that end.
	if out.SetWriteDeadline(time.Time{}) != nil || out.Flush() != nil {
		return
	}
	for e := range events {
		if out.SetWriteDeadline(time.Now().Add(followDeadline)) != nil || printable.WriteJSON(w, e) != nil {
			return
		}
		// What has come meanwhile goes with it.
		if len(events) == 0 && out.Flush() != nil {
			return
		}
	}
}
