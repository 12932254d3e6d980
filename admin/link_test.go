package admin

import (
	"net/http"
	"testing"
)

// TestLinksFromElsewhere: a link in a chat opens a page; nothing else that comes from elsewhere
// is answered, and no route of the endpoint by a link.
func TestLinksFromElsewhere(t *testing.T) {
	pages := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a page")) })
	l := newLab(t)
	with := served(t, l, Options{Pages: pages, Profile: true}, true)
	without := served(t, l, Options{}, true)
	c := client(t, nil)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, x := range []struct {
		method, path, site, mode, dest string
		want                           int
	}{
		{"GET", "/", "cross-site", "navigate", "document", 200},
		{"GET", "/flows?verdict=deny", "cross-site", "navigate", "document", 200},
		{"GET", "/flows", "same-site", "navigate", "document", 200},
		{"POST", "/simulate", "cross-site", "navigate", "document", 403},
		{"HEAD", "/flows", "cross-site", "navigate", "document", 403},
		{"GET", "/flows", "cross-site", "navigate", "iframe", 403},
		{"GET", "/flows", "cross-site", "no-cors", "image", 403},
		{"GET", "/flows", "cross-site", "cors", "empty", 403},
		{"GET", "/flows", "cross-site", "", "", 403},
		{"GET", "/api/v1/status", "cross-site", "navigate", "document", 403},
		{"GET", "//api/v1/status", "cross-site", "navigate", "document", 403},
		{"GET", "/x/../api/v1/status", "cross-site", "navigate", "document", 403},
		{"GET", "/debug/pprof/heap", "cross-site", "navigate", "document", 403},
	} {
		for address, want := range map[string]int{with: x.want, without: 403} {
			req, err := http.NewRequestWithContext(t.Context(), x.method, "http://"+address+"/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.URL.Opaque = x.path
			for name, value := range map[string]string{"Sec-Fetch-Site": x.site, "Sec-Fetch-Mode": x.mode, "Sec-Fetch-Dest": x.dest} {
				if value != "" {
					req.Header.Set(name, value)
				}
			}
			if status, body, _ := fetched(t, c, req); status != want {
				t.Errorf("%s %s (%s, %s, %s): %d %s, want %d", x.method, x.path, x.site, x.mode, x.dest, status, body, want)
			}
		}
	}
	// The name that is asked by counts for a link too.
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+with+"/flows", http.NoBody)
	req.Host = "evil.example"
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	if status, _, _ := fetched(t, c, req); status != http.StatusForbidden {
		t.Errorf("by DNS rebinding: %d", status)
	}
}
