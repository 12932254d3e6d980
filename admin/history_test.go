package admin

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/admin/flows/history"
)

type withHistory struct {
	Source
	file FlowHistory
}

func (w withHistory) History() FlowHistory { return w.file }

// TestHistoryOfFlows: the file is asked by pages with the same filters, and only where there is
// one; what is wrong with a parameter is told as such.
func TestHistoryOfFlows(t *testing.T) {
	l := newLab(t)
	file, err := history.Open(history.Config{Path: filepath.Join(t.TempDir(), "flows.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Save(l.Flows(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	want, err := l.Flows().Query(flows.Filter{}, flows.Cursor{}, maxLimit)
	if err != nil || len(want.Flows) < 2 {
		t.Fatalf("%d flows, %v", len(want.Flows), err)
	}
	h := Handler(withHistory{l, file})
	ask := func(h http.Handler, query string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/flows?"+query, http.NoBody))
		return w.Code, w.Body.String()
	}
	for query, status := range map[string]int{
		"history=true": 200, "history=false": 200, "history=yes": 400, "history=true&cursor=00": 400, "history=true&limit=1001": 400,
		"history=true&verdict=allow&namespace=shop": 200,
	} {
		if got, body := ask(h, query); got != status {
			t.Errorf("%s: %d %s", query, got, body)
		}
	}
	for name, s := range map[string]Source{"a source without": l, "one that has none": withHistory{l, nil}} {
		if got, body := ask(Handler(s), "history=true"); got != http.StatusNotFound {
			t.Errorf("%s: %d %s", name, got, body)
		}
	}
	c := NewClientAt(served(t, withHistory{l, onePage{file}}, Options{}, true))
	got, more, err := c.History(t.Context(), flows.Filter{}, len(want.Flows)-1)
	if err != nil || !more || len(got) != len(want.Flows)-1 {
		t.Fatalf("%d of %d flows, more %t, %v", len(got), len(want.Flows), more, err)
	}
	var ids []string
	for i := range got {
		if !slices.Contains(ids, got[i].ID) {
			ids = append(ids, got[i].ID)
		}
	}
	if len(ids) != len(got) {
		t.Error("a flow is on two pages")
	}
	c.http.CloseIdleConnections()
}

// onePage returns a flow at a time.
type onePage struct{ FlowHistory }

func (o onePage) Query(f flows.Filter, after string, _ int) ([]flows.Flow, string, error) {
	return o.FlowHistory.Query(f, after, 1)
}
