package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"pavise.dev/pavise/xds"
)

func fetchFrom(h http.Handler) Fetch {
	return func(ctx context.Context, query url.Values) (io.ReadCloser, error) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/debug/sidecars?"+query.Encode(), nil))
		if w.Code != http.StatusOK {
			return nil, errors.New(w.Body.String())
		}
		return io.NopCloser(w.Body), nil
	}
}

// TestSidecars: many pages of two replicas are each sidecar once, as the replica sees it that
// has its stream.
func TestSidecars(t *testing.T) {
	const n = 2500
	f := world()
	a, b := &fakeServer{}, &fakeServer{}
	away := xds.NodeStatus{Status: xds.Status{Wanted: "x"}}
	f.nodes["shop/web"] = nil
	for i := range n {
		node := fmt.Sprintf("shop/web-%04d", i)
		f.nodes["shop/web"] = append(f.nodes["shop/web"], node)
	}
	slow := f.nodes["shop/web"] // WorkloadOf of the fake is linear
	f.nodes["shop/web"] = slow[:2]
	for i, node := range slow {
		a.set(node, away)
		b.set(node, away)
		if st := synced(f); i%2 == 0 {
			a.set(node, st)
		} else {
			b.set(node, st)
		}
	}
	a.set(slow[0], refusing(f, "no \x1b[31m"+strings.Repeat("x", 1000)))
	ha, hb := SidecarsHandler(a, f, Identity{"a", ""}, nil), SidecarsHandler(b, f, Identity{"b", "new"}, nil)
	got, err := Collect(t.Context(), map[string]Fetch{"a": fetchFrom(ha), "b": fetchFrom(hb)})
	if err != nil || len(got) != n {
		t.Fatalf("%d sidecars, %v", len(got), err)
	}
	for i, s := range got {
		if s.Node != slow[i] || s.Replica != []string{"a", "b"}[i%2] || s.State == string(stateDisconnected) {
			t.Fatalf("%d: %+v", i, s)
		}
	}
	if s := got[0]; s.State != string(stateRefused) || !strings.HasPrefix(s.NACK, `no \x1b[31mxx`) || len([]rune(s.NACK)) != maxShown || s.NACKs != 1 {
		t.Errorf("%+v", s)
	}
	if s := got[1]; s.State != string(stateSynced) || s.Workload != "shop/web" || s.Revision != "new" || len(s.Wanted) != maxDigest || s.Wanted != s.Acked {
		t.Errorf("%+v", s)
	}
	// What one replica has is shown although another does not answer.
	got, err = Collect(t.Context(), map[string]Fetch{"a": func(context.Context, url.Values) (io.ReadCloser, error) { return nil, errors.New("down") }, "b": fetchFrom(hb)})
	if err == nil || err.Error() != "sidecars of replica a: down" || len(got) != n {
		t.Errorf("%d, %v", len(got), err)
	}
}

func TestSidecarsHandlerRefuses(t *testing.T) {
	h := SidecarsHandler(&fakeServer{}, world(), Identity{}, nil)
	for _, test := range []struct {
		method, query string
		code          int
	}{
		{"GET", "", 200},
		{"GET", "limit=1000&after=zzz", 200},
		{"GET", "limit=0", 400},
		{"GET", "limit=1001", 400},
		{"GET", "limit=x", 400},
		{"POST", "", 405},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), test.method, "/debug/sidecars?"+test.query, nil))
		if w.Code != test.code {
			t.Errorf("%s %s: %d; want %d", test.method, test.query, w.Code, test.code)
		}
		if test.code == 200 {
			var p Page
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Sidecars == nil {
				t.Errorf("%s: %v", w.Body, err)
			}
		}
	}
}

// TestCollectHostile: a replica that leads in circles or talks without end is left.
func TestCollectHostile(t *testing.T) {
	for name, body := range map[string]string{
		"one":     `{"sidecars":[{"node":"a"}],"next":""}`,
		"no end":  `{"sidecars":[` + strings.Repeat(" ", maxPageBytes) + `]}`,
		"no JSON": `<html>`,
		"empty":   `{"sidecars":[],"next":"z"}`,
		"back":    `{"sidecars":[{"node":"a"}],"next":"a"}`,
	} {
		_, err := Collect(t.Context(), map[string]Fetch{"a": func(context.Context, url.Values) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(body)), nil
		}})
		if (err == nil) != (name == "one") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
