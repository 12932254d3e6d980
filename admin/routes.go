package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/admin/simulate"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/policy"
)

// route is one request that the endpoint answers. The router, the OpenAPI document and the
// tests that go through every route are all made from the list of routes.
type route struct {
	method, path string
	summary      string
	parameters   []parameter
	// body and answer are values of the types that are read and written; nil for none.
	body, answer any
	// media is the type of an answer that is no single JSON value.
	media string
	// heavy ones take processor time, and only a few are answered at a time.
	heavy bool
	// switched ones are there only with Options.Profile.
	switched bool
	// lacks says why this process has no such thing; empty if it has. Nil is empty.
	lacks func(Source) string
	serve func(*endpoint, http.ResponseWriter, *http.Request)
}

// parameter of a query or, with inPath, of the path.
type parameter struct {
	name, words string
	enum        []string
	number      bool
	boolean     bool
	required    bool
	inPath      bool
	most        int // octets; 0 is mostParameter
}

// Bounds of parameters and pages.
const (
	mostParameter = 512 // octets
	mostReason    = 4096
	mostURL       = 2083
	defaultLimit  = flows.DefaultLimit
	maxLimit      = flows.MaxLimit
)

var (
	limitParameter     = parameter{name: "limit", words: "how many at most, 1 to 1000; default 100", number: true}
	cursorParameter    = parameter{name: "cursor", words: "next of the page before"}
	namespaceParameter = parameter{name: "namespace", words: "only workloads there"}
	workloadParameter  = parameter{name: "workload", words: "only NAMESPACE/NAME"}
	sinceParameter     = parameter{name: "since", words: "not before this time (RFC 3339), or how long ago, such as 10m"}
)

// flowParameters are those that flows.Parse reads.
var flowParameters = []parameter{
	namespaceParameter, workloadParameter,
	{name: "peer", words: "only this peer: NAMESPACE/NAME, an address or a range"},
	{name: "verdict", words: "only this verdict", enum: []string{"allow", "deny"}},
	{name: "reason", words: "only reasons that begin so", most: mostReason},
	{name: "feed", words: "only what this threat feed lists"},
	{name: "name", words: "only this host, server name or question"},
	{name: "method", words: "only this method"},
	{name: "direction", words: "only this direction", enum: []string{"ingress", "egress"}},
	{name: "port", words: "only this destination port", number: true},
	sinceParameter,
	{name: "until", words: "before this time, likewise"},
	{name: "audit", words: "only what the audited policies would deny", boolean: true},
	{name: "text", words: "only where this is part of a text; at most 64 octets"},
	cursorParameter, limitParameter,
}

// alertParameters are those of anomalies.
var alertParameters = []parameter{
	namespaceParameter, workloadParameter,
	{name: "kind", words: "only this kind", enum: texts(anomaly.Kinds)},
	{name: "severity", words: "only this severity", enum: texts(anomaly.Severities)},
	sinceParameter, cursorParameter, limitParameter,
}

func texts[T ~string](in []T) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
	}
	return out
}

// workloadPath are the parts of a path that name a workload.
var workloadPath = []parameter{
	{name: "namespace", words: "its namespace", inPath: true, required: true},
	{name: "name", words: "its name", inPath: true, required: true},
}

func idPath(words string) []parameter {
	return []parameter{{name: "id", words: words, inPath: true, required: true}}
}

// routes is everything that the endpoint answers.
func routes() []route {
	r := []route{
		{method: "GET", path: "/api/v1/status", summary: "What is in force.", answer: anyObject{}, serve: serveStatus},
		{
			method: "GET", path: "/api/v1/decisions", summary: "The latest decisions, the newest first.", answer: Decisions{},
			parameters: []parameter{cursorParameter, limitParameter}, serve: serveDecisions,
		},
		{
			method: "POST", path: "/api/v1/explain", summary: "How a request would be decided, and why.", body: Query{}, answer: Explanation{},
			lacks: noModel, serve: serveExplain,
		},
		{
			method: "GET", path: "/api/v1/workloads", summary: "The workloads of the compiled model.", answer: Workloads{},
			parameters: []parameter{namespaceParameter, cursorParameter, limitParameter}, lacks: noModel, serve: serveWorkloads,
		},
		{
			method: "GET", path: "/api/v1/workloads/{namespace}/{name}", summary: "One workload, its listeners, and its rules in the order of evaluation.",
			answer: Workload{}, lacks: noModel, serve: serveWorkload,
			parameters: slices.Concat(workloadPath, []parameter{
				{name: "direction", words: "only rules of this direction", enum: []string{"ingress", "egress"}}, cursorParameter, limitParameter,
			}),
		},
		{
			method: "GET", path: "/api/v1/graph", summary: "Who may reach whom, as far as addresses and selectors say.", answer: Graph{}, heavy: true,
			parameters: []parameter{namespaceParameter, cursorParameter, limitParameter}, lacks: noModel, serve: serveGraph,
		},
		{
			method: "GET", path: "/api/v1/feeds", summary: "The threat feeds and the state of each.", answer: Feeds{},
			parameters: []parameter{cursorParameter, limitParameter}, lacks: noFeedList, serve: serveFeeds,
		},
		{
			method: "GET", path: "/api/v1/feeds/{name}", summary: "One threat feed, what its last change was, and those before.", answer: Feed{}, heavy: true,
			parameters: []parameter{{name: "name", words: "its name", inPath: true, required: true}}, lacks: noFeedList, serve: serveFeed,
		},
		{
			method: "GET", path: "/api/v1/sidecars", summary: "The sidecars that are connected, or were, and what each has.", answer: Sidecars{}, heavy: true,
			parameters: []parameter{
				namespaceParameter, {name: "state", words: "only in this state", enum: sidecarStates}, cursorParameter, limitParameter,
			}, lacks: noSidecars, serve: serveSidecars,
		},
		{
			method: "GET", path: "/api/v1/lookup", summary: "Which threat feeds list an address, a name or the host of a URL.", answer: feeds.Answer{}, heavy: true,
			parameters: []parameter{{name: "q", words: "an address, a name or a URL", required: true, most: mostURL}}, lacks: noFeeds, serve: serveLookup,
		},
		{
			method: "POST", path: "/api/v1/simulate", summary: "What a change of policies would have done to recorded flows.", heavy: true,
			body: Proposal{}, answer: simulate.Result{}, lacks: both(noModel, noFlows), serve: serveSimulate,
		},
		{
			method: "GET", path: "/api/v1/suggest", summary: "Policies that allow what was recorded, and no more.", answer: Suggestions{}, heavy: true,
			parameters: []parameter{
				namespaceParameter, workloadParameter, sinceParameter,
				{name: "minCount", words: "leave out flows with fewer decisions", number: true},
				{name: "serviceAccounts", words: "name peers by their service accounts where they have one", boolean: true},
				{name: "enforce", words: "have the policies enforced, not audited", boolean: true},
				cursorParameter, limitParameter,
			}, lacks: noFlows, serve: serveSuggest,
		},
		{
			method: "GET", path: "/api/v1/envoy", summary: "The resources that the Envoy beside this process has, without secrets.", answer: EnvoyResources{}, heavy: true,
			parameters: []parameter{
				{name: "type", words: "only of this type, such as dynamic_listeners"}, {name: "name", words: "only of this name"}, cursorParameter, limitParameter,
			}, lacks: noEnvoy, serve: serveEnvoy,
		},
	}
	r = append(r, flowRoutes()...)
	r = append(r, anomalyRoutes()...)
	r = append(r, profileRoutes()...)
	return append(r, route{
		method: "GET", path: "/api/v1/openapi.json", summary: "This document.", answer: anyObject{}, serve: serveOpenAPI,
	})
}

// anyObject is a JSON object whose fields depend on the process.
type anyObject map[string]any

// endpoint answers the routes.
type endpoint struct {
	source  Source
	profile bool
	busy    chan struct{} // one place for each heavy request that is answered
	timeout time.Duration // of heavy requests
	// document describes all routes, those behind a switch too. It is made once.
	document func() object
}

const (
	// mostHeavy requests are answered at a time: what traffic needs is not theirs.
	mostHeavy = 2
	// heavyTime is how long one of them may take, less than the server's deadline.
	heavyTime = 20 * time.Second
)

func newEndpoint(s Source, profile bool) *endpoint {
	return &endpoint{
		source: s, profile: profile, busy: make(chan struct{}, mostHeavy), timeout: heavyTime,
		document: sync.OnceValue(func() object { return document(routes()) }),
	}
}

// routes are those that this endpoint has.
func (e *endpoint) routes() []route {
	return slices.DeleteFunc(routes(), func(r route) bool { return r.switched && !e.profile })
}

func (e *endpoint) mux() *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range e.routes() {
		mux.Handle(r.method+" "+r.path, e.handle(r))
	}
	return mux
}

// handle checks what every route is asked in the same way.
func (e *endpoint) handle(r route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		secure(w.Header())
		if r.lacks != nil {
			if why := r.lacks(e.source); why != "" {
				fail(w, http.StatusNotFound, why)
				return
			}
		}
		if err := r.check(req); err != nil {
			parameter400(w, err)
			return
		}
		if r.heavy {
			leave, ok := e.enter(w)
			if !ok {
				return
			}
			defer leave()
		}
		r.serve(e, w, req)
	})
}

// enter takes a place among the heavy requests, to be left; false if an answer was sent because
// there is none.
func (e *endpoint) enter(w http.ResponseWriter) (leave func(), ok bool) {
	select {
	case e.busy <- struct{}{}:
		return func() { <-e.busy }, true
	default:
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusServiceUnavailable, fmt.Sprintf("%d requests like this one are being answered; try again", mostHeavy))
		return nil, false
	}
}

// check looks at the parameters. The error is a *flows.FieldError.
func (r *route) check(req *http.Request) error {
	values, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return &flows.FieldError{Field: "query", Message: "it is no list of NAME=VALUE in the encoding of URLs"}
	}
	var names []string
	for i := range r.parameters {
		p := &r.parameters[i]
		given := values[p.name]
		if p.inPath {
			given = []string{req.PathValue(p.name)}
		} else {
			names = append(names, p.name)
			delete(values, p.name)
		}
		if message := p.wrong(given); message != "" {
			return &flows.FieldError{Field: p.name, Message: message}
		}
	}
	for name := range values {
		if len(names) == 0 {
			return &flows.FieldError{Field: known(name), Message: "there are no parameters here"}
		}
		return &flows.FieldError{Field: known(name), Message: "there is no such parameter; there are " + strings.Join(names, ", ")}
	}
	return nil
}

// wrong says what is wrong with the values that were given; empty for nothing.
func (p *parameter) wrong(given []string) string {
	most := p.most
	if most == 0 {
		most = mostParameter
	}
	switch {
	case len(given) == 0 && p.required:
		return "it is required: " + p.words
	case len(given) == 0:
		return ""
	case len(given) > 1:
		return fmt.Sprintf("it is given %d times; give it once", len(given))
	case given[0] == "" && p.required:
		return "it is empty: " + p.words
	case given[0] == "":
		return ""
	case len(given[0]) > most:
		return fmt.Sprintf("it has %d octets; %d are possible", len(given[0]), most)
	case !utf8.ValidString(given[0]):
		return "it is no UTF-8"
	case p.enum != nil && !slices.Contains(p.enum, given[0]):
		return "it is one of " + strings.Join(p.enum, ", ")
	case p.boolean && given[0] != "true" && given[0] != "false":
		return "it is true or false"
	}
	if n, err := strconv.ParseUint(given[0], 10, 32); p.number && (err != nil || n == 0 || strconv.FormatUint(n, 10) != given[0]) {
		return "it is a number from 1"
	}
	return ""
}

// limit is how many items the page may have.
func limit(v url.Values) (int, error) {
	s := v.Get("limit")
	if s == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxLimit {
		return 0, &flows.FieldError{Field: "limit", Message: "it is a number from 1 to " + strconv.Itoa(maxLimit)}
	}
	return n, nil
}

// known is a name that may be said again.
func known(name string) string {
	if len(name) > 40 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "parameter"
	}
	return name
}

// both is the first of what is lacking.
func both(a, b func(Source) string) func(Source) string {
	return func(s Source) string {
		if why := a(s); why != "" {
			return why
		}
		return b(s)
	}
}

// noModel is for what is asked of a compiled model. A process that has none yet answers 503,
// one that never has says who has.
func noModel(s Source) string {
	if o, ok := s.(interface{ HasModel() bool }); ok && !o.HasModel() {
		return "this process is given what its Envoy enforces, and has no policies to ask: ask the control plane"
	}
	return ""
}

func noFlows(s Source) string {
	if s.Flows() == nil {
		return "this process keeps no flows"
	}
	return ""
}

func noAnomalies(s Source) string {
	if s.Anomalies() == nil {
		return "this process does not look for anomalies"
	}
	return ""
}

// model is what is in use; false if an answer was sent because there is none yet.
func (e *endpoint) model(w http.ResponseWriter) (*policy.Model, bool) {
	m, _ := e.source.Current()
	if m == nil {
		fail(w, http.StatusServiceUnavailable, "no policy is in use yet")
	}
	return m, m != nil
}
