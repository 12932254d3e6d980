package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"pavise.dev/pavise/admin/flows"
)

// flowRoutes serve what happened lately, where there is a store of it.
func flowRoutes() []route {
	filters := flowParameters[:len(flowParameters)-2] // all but cursor and limit
	return []route{
		{
			method: "GET", path: "/api/v1/flows", summary: "What happened lately, the newest first.", answer: flows.Page{},
			parameters: flowParameters, lacks: noFlows, serve: serveFlows,
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

func serveFlows(e *endpoint, w http.ResponseWriter, r *http.Request) {
	f, cursor, most, err := flows.Parse(r.URL.Query())
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
