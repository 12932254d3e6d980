package admin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzRoutes puts anything into every parameter and body of every route: the answer is JSON, is
// bounded, is no failure of the process, and does not say a long parameter again.
func FuzzRoutes(f *testing.F) {
	l := newLab(f)
	e := newEndpoint(l, false)
	mux := e.mux()
	rs := e.routes()
	for i := range rs {
		f.Add(uint(i), "cursor", "../../etc/passwd", "x", "{}")
		f.Add(uint(i), "limit", "-1", "\x00", `{"objects":["a: &a [*a, *a]"]}`)
		f.Add(uint(i), "q", "http://[::1%25eth0]/", strings.Repeat("a", 5000), `{"url":"http://a/%00"}`)
		f.Add(uint(i), "since", "9999999h", "\xff", `{"objects":["kind: AccessPolicy"],"removed":["AccessPolicy shop/web"]}`)
		f.Add(uint(i), "workload", "shop/web", "web", `{"objects":["\u0000"],"list":1e9}`)
	}
	f.Fuzz(func(t *testing.T, n uint, name, value, path, body string) {
		r := rs[n%uint(len(rs))]
		if r.path == "/api/v1/follow" {
			t.Skip("it does not end")
		}
		req := example(&r, l)
		req.URL.RawQuery = url.Values{name: {value}}.Encode()
		if strings.Contains(r.path, "{") && path != "" {
			req.URL.Path = r.path[:strings.IndexByte(r.path, '{')] + strings.ReplaceAll(path, "/", "") + strings.Repeat("/web", strings.Count(r.path, "{")-1)
			req.URL.RawPath = ""
		}
		if r.body != nil {
			req.Body = http.NoBody
			other := example(&r, l)
			req = other.Clone(t.Context())
			req.URL.RawQuery = ""
			req.Body = readCloser{strings.NewReader(body)}
		}
		w := ask(mux, req, &r)
		if w.Code >= 500 && w.Code != http.StatusServiceUnavailable {
			t.Fatalf("%s %s %s: %d %s", r.method, req.URL, body, w.Code, w.Body)
		}
		if w.Header().Get("Location") != "" || w.Header().Get("Content-Type") == "text/plain; charset=utf-8" {
			return // the router's own: a path that is none of ours
		}
		if r.media == "" && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s %s: no JSON: %s", r.method, req.URL, w.Body)
		}
		if !utf8.Valid(w.Body.Bytes()) || w.Body.Len() > 8<<20 {
			t.Fatalf("%s %s: %d octets", r.method, req.URL, w.Body.Len())
		}
		if w.Code == http.StatusBadRequest && w.Body.Len() > 16<<10 {
			t.Fatalf("a refusal of %d octets", w.Body.Len())
		}
	})
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
