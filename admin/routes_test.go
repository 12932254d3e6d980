package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
)

// TestEveryRouteAnswers: with what it needs it answers 200 in the type that the document says,
// without it 404 in words; and nothing that it is not asked for.
func TestEveryRouteAnswers(t *testing.T) {
	l := newLab(t)
	full, none := newEndpoint(l, true).mux(), newEndpoint(&bare{model: l.model, set: l.set}, true).mux()
	for _, r := range routes() {
		t.Run(r.method+" "+r.path, func(t *testing.T) {
			w := ask(full, example(&r, l), &r)
			if w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			for _, h := range []string{"Cache-Control", "Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy"} {
				if w.Header().Get(h) == "" {
					t.Errorf("no %s", h)
				}
			}
			if r.media == "" {
				if ct := w.Header().Get("Content-Type"); ct != "application/json" {
					t.Errorf("Content-Type %s", ct)
				}
				into := reflect.New(reflect.TypeOf(r.answer))
				d := json.NewDecoder(w.Body)
				if r.path != "/api/v1/suggest" { // a policy in it has fields of its own
					d.DisallowUnknownFields()
				}
				if err := d.Decode(into.Interface()); err != nil {
					t.Errorf("it is no %T: %v", r.answer, err)
				}
			}
			if r.lacks != nil && (r.lacks(&bare{model: l.model}) != "") {
				w = ask(none, example(&r, l), &r)
				if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), `"error":"`) {
					t.Errorf("without it: %d %s", w.Code, w.Body)
				}
			}
			// Nothing is taken that is not known.
			req := example(&r, l)
			req.URL.RawQuery += "&surprise=1"
			if w = ask(full, req, &r); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "surprise") {
				t.Errorf("with a parameter that nobody knows: %d %s", w.Code, w.Body)
			}
			for _, p := range r.parameters {
				if p.inPath || p.enum == nil && !p.number && !p.boolean {
					continue
				}
				req := example(&r, l)
				req.URL.RawQuery = p.name + "=-1"
				if w = ask(full, req, &r); w.Code != http.StatusBadRequest {
					t.Errorf("with %s=-1: %d %s", p.name, w.Code, w.Body)
				}
			}
		})
	}
}

// TestFlowParametersAreKnown: the router and flows.Parse know the same parameters.
func TestFlowParametersAreKnown(t *testing.T) {
	for _, p := range flowParameters {
		if _, _, _, err := flows.Parse(url.Values{p.name: {""}}); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
	}
	_, _, _, err := flows.Parse(url.Values{"?": {""}})
	if n := len(strings.Split(err.Error(), ", ")); n != len(flowParameters) {
		t.Errorf("flows has %d parameters, the router %d: %v", n, len(flowParameters), err)
	}
}

// TestEveryListIsPaged: an answer with a list of things has next, cursor and limit; and page by
// page there is what there is on one page.
func TestEveryListIsPaged(t *testing.T) {
	l := newLab(t)
	mux := newEndpoint(l, false).mux()
	paged := 0
	for _, r := range newEndpoint(l, false).routes() {
		typ := reflect.TypeOf(r.answer)
		var list string
		for _, name := range []string{"cursor", "limit"} {
			for _, p := range r.parameters {
				if p.name == name {
					list += name
				}
			}
		}
		if r.method == "GET" && r.media == "" && typ.Kind() == reflect.Struct {
			_, next := typ.FieldByName("Next")
			for i := range typ.NumField() {
				f := typ.Field(i)
				if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct && !next && typ != reflect.TypeFor[anomaly.Baseline]() &&
					!strings.HasSuffix(r.path, "/lookup") && r.path != "/api/v1/feeds/{name}" { // one for each feed and direction; 64 changes
					t.Errorf("%s answers a list, %s, without pages", r.path, f.Name)
				}
			}
		}
		if list == "" {
			continue
		}
		if list != "cursorlimit" {
			t.Errorf("%s has only %s", r.path, list)
		}
		paged++
		whole, _ := pagesOf(t, mux, &r, l, "1000")
		one, pages := pagesOf(t, mux, &r, l, "1")
		if !reflect.DeepEqual(whole, one) {
			t.Errorf("%s: %d items on one page, %d on %d", r.path, len(whole), len(one), pages)
		}
		if len(whole) < 2 && r.path != "/api/v1/anomalies" {
			t.Errorf("%s: %d items show nothing", r.path, len(whole))
		}
	}
	if paged < 8 {
		t.Errorf("%d lists", paged)
	}
}

// pagesOf is what the list of a route has, over all pages.
func pagesOf(t *testing.T, h http.Handler, r *route, l *lab, most string) (all []any, pages int) {
	t.Helper()
	field := map[string]string{"/api/v1/workloads/{namespace}/{name}": "rules", "/api/v1/graph": "nodes", "/api/v1/envoy": "resources", "/api/v1/anomalies": "alerts"}[r.path]
	if field == "" {
		field = r.path[strings.LastIndexByte(r.path, '/')+1:]
	}
	if field == "suggest" {
		field = "suggestions"
	}
	cursor := ""
	for range 100 {
		req := example(r, l)
		v := req.URL.Query()
		v.Set("limit", most)
		v.Set("cursor", cursor)
		req.URL.RawQuery = v.Encode()
		w := ask(h, req, r)
		var page map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s %v", r.path, w.Code, w.Body, err)
		}
		items, ok := page[field].([]any)
		if !ok {
			t.Fatalf("%s: no %s in %s", r.path, field, w.Body)
		}
		all = append(all, items...)
		pages++
		if cursor, _ = page["next"].(string); cursor == "" {
			return all, pages
		}
	}
	t.Fatalf("%s: it does not end", r.path)
	return nil, 0
}

// TestHeavyRequestsAreBounded: what takes processor time waits for nobody and is refused.
func TestHeavyRequestsAreBounded(t *testing.T) {
	l := newLab(t)
	e := newEndpoint(l, true)
	for range mostHeavy {
		e.busy <- struct{}{}
	}
	for _, r := range e.routes() {
		if w := ask(e.mux(), example(&r, l), &r); r.heavy != (w.Code == http.StatusServiceUnavailable) {
			t.Errorf("%s: %d", r.path, w.Code)
		}
	}
}

// TestEveryRouteIsOnThePage: docs/admin.md has every route that is not behind a switch, and no other.
func TestEveryRouteIsOnThePage(t *testing.T) {
	page, err := os.ReadFile("../docs/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, r := range newEndpoint(newLab(t), false).routes() {
		want = append(want, r.method+" "+r.path)
	}
	for _, m := range regexp.MustCompile("`((?:GET|POST) /[^`]*)`").FindAllStringSubmatch(string(page), -1) {
		got = append(got, m[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the page has\n%s\nthe endpoint\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestOpenAPIIsCurrent: the document is the golden one, has every route, and refers to nothing
// that it does not have.
func TestOpenAPIIsCurrent(t *testing.T) {
	doc := document(routes())
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/openapi.json", append(text, '\n'))
	components := doc["components"].(object)["schemas"].(object)
	for _, part := range strings.Split(string(text), `"#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		if components[name] == nil {
			t.Errorf("there is no schema %s", name)
		}
	}
	seen := map[any]string{}
	for path, at := range doc["paths"].(object) {
		for method, op := range at.(object) {
			id := op.(object)["operationId"]
			if seen[id] != "" {
				t.Errorf("%s %s and %s are both %s", method, path, seen[id], id)
			}
			seen[id] = path
		}
	}
	if len(seen) != len(routes()) {
		t.Errorf("%d operations for %d routes", len(seen), len(routes()))
	}
	if size := httptest.NewRecorder(); true {
		serveOpenAPI(newEndpoint(newLab(t), false), size, nil)
		if size.Body.Len() > 256<<10 {
			t.Errorf("%d octets", size.Body.Len())
		}
	}
}

// TestSecretsAreInNoAnswer: what is a secret in a feed, in Envoy or in the token comes out of
// no route.
func TestSecretsAreInNoAnswer(t *testing.T) {
	l := newLab(t)
	mux := newEndpoint(l, true).mux()
	for _, r := range routes() {
		if strings.HasPrefix(r.path, "/debug/pprof/") && r.path != "/debug/pprof/goroutine" {
			continue // memory is sampled, and its contents are not in it
		}
		for _, query := range []string{"", "surprise=" + canary, "%zz"} {
			req := example(&r, l)
			if query != "" {
				req.URL.RawQuery = query
			}
			if w := ask(mux, req, &r); strings.Contains(w.Body.String(), canary) {
				t.Errorf("%s %s gives it away:\n%s", r.path, query, w.Body)
			}
		}
	}
}
