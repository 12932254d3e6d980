package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// answer asks for a path and decodes what comes into v.
func answer(t *testing.T, h http.Handler, target string, v any) int {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody))
	if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
		t.Fatalf("%s: %v in %s", target, err, w.Body)
	}
	return w.Code
}

// TestSidecars: by namespace and state, in the order of their names, from behind one that is not
// there any more too; and what an Envoy said at length is cut.
func TestSidecars(t *testing.T) {
	mux := newEndpoint(newLab(t), false).mux()
	for query, want := range map[string]string{
		"":                              "jobs/cron-1 shop/gone-1 shop/web-1 shop/web-2 standalone",
		"?namespace=shop":               "shop/gone-1 shop/web-1 shop/web-2",
		"?state=away":                   "jobs/cron-1 shop/gone-1",
		"?namespace=shop&state=refused": "shop/web-2",
		"?namespace=sho":                "",
		"?namespace=standalone":         "",
		"?limit=2":                      "jobs/cron-1 shop/gone-1 >shop/gone-1",
		"?limit=2&cursor=shop/gone-1":   "shop/web-1 shop/web-2 >shop/web-2",
		"?limit=2&cursor=shop/web-2":    "standalone",
		"?cursor=shop/h":                "shop/web-1 shop/web-2 standalone",
		"?cursor=zzz":                   "",
	} {
		var page Sidecars
		if code := answer(t, mux, "/api/v1/sidecars"+query, &page); code != http.StatusOK || page.Sidecars == nil {
			t.Errorf("%s: %d %v", query, code, page)
		}
		var got []string
		for _, s := range page.Sidecars {
			got = append(got, s.Node)
			if len(s.NACK) > mostParameter+len("…") {
				t.Errorf("a refusal of %d octets", len(s.NACK))
			}
		}
		if page.Next != "" {
			got = append(got, ">"+page.Next)
		}
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %q, want %s", query, got, want)
		}
	}
}

// TestFeedHistory: a feed has its changes, the oldest first; with one of the middle damaged the
// others, and a word about it that names no file; with the newest damaged no false last.
func TestFeedHistory(t *testing.T) {
	l := newLab(t)
	mux := newEndpoint(l, false).mux()
	folder := filepath.Join(l.dir, "feeds", "bad", "changes")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(second, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, "0000000000"+second+"000000000"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1", `{"time":"2026-01-01T00:00:01Z","to":"a","added":3,"removed":0,"entries":3}`+"\n")
	write("2", `{"time":"2026-01-01T00:00:02Z","from":"a","to":"b","added":1,"removed":0,"entries":4}`+"\n+x.example\n")
	write("3", `{"time":"2026-01-01T00:00:03Z","from":"b","to":"c","added":0,"removed":2,"entries":2}`+"\n-x.example\n-y.example\n")
	var f Feed
	if code := answer(t, mux, "/api/v1/feeds/bad", &f); code != http.StatusOK || f.Trouble != "" || len(f.Changes) != 3 {
		t.Fatalf("%d %+v", code, f)
	}
	if f.Changes[0].Entries != 3 || f.Changes[2].Entries != 2 || f.Last == nil || f.Last.To != "c" || len(f.Minus) != 2 || len(f.Plus) != 0 {
		t.Errorf("%+v", f)
	}
	write("2", "damaged")
	f = Feed{}
	if code := answer(t, mux, "/api/v1/feeds/bad", &f); code != http.StatusOK || len(f.Changes) != 2 || f.Trouble == "" || strings.Contains(f.Trouble, l.dir) {
		t.Errorf("%d %+v", code, f)
	}
	write("3", "damaged")
	var refusal struct{ Error string }
	if code := answer(t, mux, "/api/v1/feeds/bad", &refusal); code != http.StatusInternalServerError || strings.Contains(refusal.Error, l.dir) {
		t.Errorf("%d %+v", code, refusal)
	}
}
