package page

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"time"

	"pavise.dev/pavise/admin"
)

//go:embed templates/*.html
var templates embed.FS

//go:embed style.css icon.svg
var assets embed.FS

const (
	// policyOfContent allows a style sheet, an icon and forms of this origin, and nothing else.
	policyOfContent = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
	// mostQuery bounds all parameters of a page together, in octets as they are sent.
	mostQuery = 16 << 10
	// pageSize is how many rows a list has unless it says otherwise.
	pageSize = 50
	// shortList is how many rows a list has that is beside others.
	shortList = 10
)

// site serves the pages. It has no state of its own but for how many it makes.
type site struct {
	src  Source
	now  func() time.Time
	tmpl *template.Template
	// busy has a place for each page that takes processor time.
	busy chan struct{}
}

// Handler serves the pages, to be mounted at "/" of a server. It may be called by any number
// of goroutines and holds no lock while it writes.
func Handler(src Source) http.Handler { return handler(src, time.Now) }

func handler(src Source, now func() time.Time) http.Handler {
	s := &site{src: src, now: now, busy: make(chan struct{}, mostHeavy)}
	s.tmpl = template.Must(template.New("").Funcs(s.funcs()).ParseFS(templates, "templates/*.html"))
	mux := http.NewServeMux()
	for path, page := range s.pages() {
		mux.HandleFunc("GET "+path, page)
	}
	for path, page := range s.posts() {
		mux.HandleFunc("POST "+path, page)
	}
	mux.HandleFunc("GET /style.css", asset("style.css", "text/css; charset=utf-8"))
	mux.HandleFunc("GET /icon.svg", asset("icon.svg", "image/svg+xml"))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			allow := "GET, HEAD"
			if _, ok := s.posts()[r.URL.Path]; ok {
				allow += ", POST"
			}
			w.Header().Set("Allow", allow)
			s.nothing(w, r, http.StatusMethodNotAllowed, "Pages are only read", "Nothing can be changed here; ask with GET.")
			return
		}
		s.nothing(w, r, http.StatusNotFound, "There is no such page", "The menu has all that there are.")
	})
	own := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guard(w.Header())
		if own.Check(r) != nil {
			s.nothing(w, r, http.StatusForbidden, "That came from elsewhere", "A page of another site may send nothing here. Send the form of this page itself.")
			return
		}
		if len(r.URL.RawQuery) > mostQuery {
			r.URL.RawQuery = ""
			s.nothing(w, r, http.StatusRequestURITooLong, "That is too much", "The parameters of a page have at most 16 KiB.")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// pages are all there are, by their path.
func (s *site) pages() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/{$}":       s.overview,
		"/workloads": s.workloads,
		"/workload":  s.workload,
		"/graph":     s.graph,
		"/suggest":   s.suggest,
		"/simulate":  s.simulate,
		"/explain":   s.explain,
		"/flows":     s.flows,
		"/follow":    s.follow,
		"/feeds":     s.feeds,
		"/feed":      s.feed,
		"/lookup":    s.lookup,
		"/anomalies": s.anomalies,
		"/anomaly":   s.anomaly,
		"/sidecars":  s.sidecars,
	}
}

// posts are what is sent by POST: forms that are too long for an address. Nothing is changed by them.
func (s *site) posts() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{"/simulate": s.simulated}
}

// guard sets what every answer has.
func guard(h http.Header) {
	h.Set("Content-Security-Policy", policyOfContent)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	// With no-referrer a browser would send forms of this very site with the origin null.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-store")
}

func asset(name, kind string) http.HandlerFunc {
	data, err := fs.ReadFile(assets, name)
	return func(w http.ResponseWriter, _ *http.Request) {
		if err != nil { // not possible: it is embedded
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(data) // the client has gone
	}
}

// frame is what is around every page.
type frame struct {
	// Title is the heading and, with the name of the program, that of the window.
	Title string
	Menu  []entry
	// Problems are what is wrong with parameters.
	Problems []problem
	// Body is the page's own.
	Body any
}

// entry of the menu.
type entry struct {
	Path, Name string
	Here       bool
}

// menu has the pages for which there is something to show; here is the path of one.
func (s *site) menu(here string) []entry {
	_, isFeeds := s.src.(admin.HasFeeds)
	_, isSidecars := s.src.(admin.HasSidecars)
	kept, engine := s.src.Flows() != nil, s.src.Feeds()
	model, _ := s.src.Current()
	var m []entry
	for _, e := range []struct {
		path, name string
		shown      bool
	}{
		{"/", "Overview", true},
		{"/workloads", "Workloads", true},
		{"/graph", "Graph", model != nil},
		{"/explain", "Explain", true},
		{"/flows", "Flows", kept},
		{"/follow", "Live", kept},
		{"/anomalies", "Anomalies", s.src.Anomalies() != nil},
		{"/suggest", "Suggest", kept},
		{"/simulate", "Simulate", s.canSimulate()},
		{"/feeds", "Feeds", isFeeds},
		{"/lookup", "Lookup", engine != nil},
		{"/sidecars", "Sidecars", isSidecars},
	} {
		if e.shown {
			m = append(m, entry{e.path, e.name, e.path == here})
		}
	}
	return m
}

// show renders a page; here is the entry of the menu that it belongs to. The status is 400
// where a form has problems.
func (s *site) show(w http.ResponseWriter, name, here, title string, f *form, body any) {
	status := http.StatusOK
	fr := frame{Title: title, Menu: s.menu(here), Body: body}
	if f != nil && len(f.Problems) > 0 {
		fr.Problems, status = f.Problems, http.StatusBadRequest
		if f.Status != 0 {
			status = f.Status
		}
	}
	s.write(w, status, name, fr)
}

// nothing is a page that says why there is none.
func (s *site) nothing(w http.ResponseWriter, r *http.Request, status int, title, why string) {
	s.write(w, status, "nothing", frame{Title: title, Menu: s.menu(r.URL.Path), Body: why})
}

// write renders as a whole before it sends anything, so that an error is no half page.
func (s *site) write(w http.ResponseWriter, status int, name string, fr frame) {
	var b bytes.Buffer
	if err := s.tmpl.ExecuteTemplate(&b, name, fr); err != nil {
		http.Error(w, "the page cannot be rendered: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client has gone
}
