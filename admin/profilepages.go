package admin

import (
	"net/http"
	"net/http/pprof"
	"strconv"

	"pavise.dev/pavise/admin/flows"
)

// HasMetrics is a Source with metrics for Prometheus.
type HasMetrics interface {
	// Metrics answers a scrape.
	Metrics() http.Handler
}

func noMetrics(s Source) string {
	if _, ok := s.(HasMetrics); !ok {
		return "this process has no metrics here; --metrics or --listen-metrics says where they are"
	}
	return ""
}

// mostSeconds is how long a profile may take, less than the server's deadline.
const mostSeconds = 20

// profileRoutes serve what the process counts and, behind a switch, what it spends time and
// memory on. The command line is not among them: it may hold what is nobody's business.
func profileRoutes() []route {
	seconds := parameter{name: "seconds", words: "how long to look, 1 to 20", number: true}
	debug := parameter{name: "debug", words: "1 or 2 for a text that people read", number: true}
	pages := []route{
		{
			method: "GET", path: "/api/v1/metrics", summary: "Metrics for Prometheus.", answer: "", media: "text/plain", lacks: noMetrics,
			serve: func(e *endpoint, w http.ResponseWriter, r *http.Request) {
				e.source.(HasMetrics).Metrics().ServeHTTP(w, r)
			},
		},
		{
			method: "GET", path: "/debug/pprof/profile", summary: "Where processor time goes.", answer: "", media: "application/octet-stream",
			parameters: []parameter{seconds}, switched: true, heavy: true, serve: timed(pprof.Profile),
		},
		{
			method: "GET", path: "/debug/pprof/trace", summary: "A trace of the runtime.", answer: "", media: "application/octet-stream",
			parameters: []parameter{seconds}, switched: true, heavy: true, serve: timed(pprof.Trace),
		},
	}
	for _, p := range []struct{ name, summary string }{
		{"allocs", "What memory was allocated."},
		{"goroutine", "What goroutines do."},
		{"heap", "What memory is in use."},
	} {
		pages = append(pages, route{
			method: "GET", path: "/debug/pprof/" + p.name, summary: p.summary, answer: "", media: "application/octet-stream",
			parameters: []parameter{debug}, switched: true, heavy: true,
			serve: func(_ *endpoint, w http.ResponseWriter, r *http.Request) { pprof.Handler(p.name).ServeHTTP(w, r) },
		})
	}
	return pages
}

// timed bounds how long a profile takes. Without seconds it is 10.
func timed(serve http.HandlerFunc) func(*endpoint, http.ResponseWriter, *http.Request) {
	return func(_ *endpoint, w http.ResponseWriter, r *http.Request) {
		n := 10
		if s := r.URL.Query().Get("seconds"); s != "" {
			n, _ = strconv.Atoi(s) // it was checked
			if n > mostSeconds {
				parameter400(w, &flows.FieldError{Field: "seconds", Message: "it is a number from 1 to " + strconv.Itoa(mostSeconds)})
				return
			}
		}
		c := r.Clone(r.Context())
		c.URL.RawQuery = "seconds=" + strconv.Itoa(n)
		c.Form = nil
		serve(w, c)
	}
}
