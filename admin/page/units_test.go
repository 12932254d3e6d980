package page

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/admin/simulate"
	"pavise.dev/pavise/admin/suggest"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// TestVisible finds texts that look like others.
func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain text":             "plain text",
		"Grüße 東京":               "Grüße 東京",
		turned:                   `safe\u202egpj.exe\u2066`,
		"a\x00b\x1b[1m":          `a\x00b\x1b[1m`,
		"a\xffb\xc3":             `a\xffb\xc3`,
		"zero\u200bwidth\ufeff":  `zero\u200bwidth\ufeff`,
		"two\nlines\ttab":        `two\nlines\ttab`,
		"no\u00a0break":          `no\u00a0break`,
		strings.Repeat("ä", 301): strings.Repeat("ä", 300) + "… (2 octets more)",
	} {
		if got := visible(in); got != want {
			t.Errorf("%q is %q, and not %q", in, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "now", 59 * time.Second: "59 s ago", 61 * time.Minute: "1 h ago", 49 * time.Hour: "2 d ago", -90 * time.Second: "in 1 min",
	} {
		if got := ago(d); got != want {
			t.Errorf("%v is %q, and not %q", d, got, want)
		}
	}
}

func TestNumber(t *testing.T) {
	for in, want := range map[float64]string{0: "0", 1234567: "1\u202f234\u202f567", 0.123456: "0.1235", 1e300: "1e+300", math.Inf(1): "+Inf"} {
		if got := number(in); got != want {
			t.Errorf("%v is %q, and not %q", in, got, want)
		}
	}
}

func TestGrouped(t *testing.T) {
	for in, want := range map[string]string{"0": "0", "999": "999", "1000": "1\u202f000", "-1234567": "-1\u202f234\u202f567"} {
		if got := grouped(in); got != want {
			t.Errorf("%s is %q, and not %q", in, got, want)
		}
	}
}

// TestSizesOf finds a history that is reckoned the wrong way round.
func TestSizesOf(t *testing.T) {
	got := sizesOf(103, []feeds.Change{{Added: 100}, {Added: 5, Removed: 2}})
	if len(got) != 3 || got[0] != 0 || got[1] != 100 || got[2] != 103 {
		t.Errorf("%v", got)
	}
	// The second of these is not known, and the feed has others now than after its last change.
	got = sizesOf(500, []feeds.Change{{Added: 100, Entries: 100}, {Added: 5, Removed: 2}, {Added: 7, Entries: 110}})
	if fmt.Sprint(got) != "[0 100 103 110]" {
		t.Errorf("%v", got)
	}
	if sparkline("x", got[:1]) != nil {
		t.Error("a line of one point")
	}
	if s := sparkline("x", []float64{1, 1, 1}); s == nil || strings.Contains(s.Points, "NaN") {
		t.Errorf("what is flat: %+v", s)
	}
}

// TestCloser finds links that ask for nothing that is there: "*" stands for several.
func TestCloser(t *testing.T) {
	a := anomaly.Alert{
		Kind: anomaly.Denials, Workload: "shop/web", Direction: policy.Ingress, Peer: "*", Name: strings.Repeat("x", 600), First: noon, Last: noon,
	}
	want := "/flows?direction=ingress&since=2026-06-01T11%3A50%3A00Z&until=2026-06-01T12%3A10%3A00Z&verdict=deny&workload=shop%2Fweb"
	if got := closer(&a); got != want {
		t.Errorf("%s", got)
	}
}

// TestStatusOfOtherForm finds a status that is dropped because a field has another type.
func TestStatusOfOtherForm(t *testing.T) {
	s := readStatus(map[string]any{"problems": "none", "broken": "yes", "held": []int{1}, "feeds": map[string]any{"stale": true}, "lost": 7})
	facts, left := s.facts()
	var b strings.Builder
	for _, f := range facts {
		b.WriteString(f.Name + "=" + f.Value + " ")
	}
	if got, want := b.String(), "broken=yes feeds.stale=true held=1 items lost=7 problems=none "; got != want || left != 0 {
		t.Errorf("%q and %d", got, left)
	}
	if n := readStatus(make(chan int)).notices(); len(n) != 1 {
		t.Errorf("what cannot be read: %v", n)
	}
	if f, _ := readStatus("a text").facts(); len(f) != 1 {
		t.Errorf("what is no object: %v", f)
	}
}

// TestErrorOfHistory finds names of files on the page.
func TestErrorOfHistory(t *testing.T) {
	l := newLab(t)
	l.failPast = errors.New("open /var/lib/secret: denied")
	w := get(l.handler(), "/feed?name=bad")
	if body := w.Body.String(); w.Code != 200 || strings.Contains(body, "/var/lib") || !strings.Contains(body, "cannot be read") {
		t.Errorf("status %d: %s", w.Code, body)
	}
}

// TestMenu finds entries that lead to nothing.
func TestMenu(t *testing.T) {
	names := func(s Source) string {
		var out []string
		for _, e := range (&site{src: s}).menu("/") {
			out = append(out, e.Name)
		}
		return strings.Join(out, " ")
	}
	if got := names(bare{}); got != "Overview Workloads Explain" {
		t.Error(got)
	}
	if got := names(newLab(t)); got != "Overview Workloads Graph Explain Flows Live Anomalies Suggest Simulate Feeds Lookup Sidecars" {
		t.Error(got)
	}
}

// TestEveryFlowIsExplained follows the link of each row, whatever the flow is of. It finds a form that
// is not filled in with what was decided, and an explanation that is of something else.
func TestEveryFlowIsExplained(t *testing.T) {
	l := newLab(t)
	h := l.handler()
	page := must[flows.Page](t)(l.store.Query(flows.Filter{}, flows.Cursor{}, 100))
	list := get(h, "/flows").Body.String()
	kinds := map[string]bool{}
	for _, f := range page.Flows {
		target := "/explain?flow=" + f.ID
		if n := strings.Count(list, `href="`+target+`"`); n != 1 {
			t.Errorf("%d links lead to %s", n, target)
		}
		doc, err := html.Parse(get(h, target).Body)
		if err != nil {
			t.Fatal(err)
		}
		r := &f.Example
		want := map[string]string{"workload": r.Workload, "destination": r.Destination, "servername": r.ServerName, "method": r.Method, "names": string(r.Names)}
		kind := "HTTP"
		switch {
		case r.From == decisions.DNS:
			kind, want["url"] = "DNS", "http://"+strings.TrimSuffix(r.Question.Name, ".")+"/"
		case r.Method == "":
			kind, want["url"], want["egress"] = "TCP", "", "true"
		}
		kinds[kind] = true
		answers := 0
		for n := range doc.Descendants() {
			name := attr(n, "name")
			if value, ok := want[name]; ok && n.Data == "input" {
				if got := attr(n, "value"); got != value {
					t.Errorf("%s: %s is %q, not %q", target, name, got, value)
				}
				delete(want, name)
			}
			if strings.HasPrefix(attr(n, "class"), "answer ") {
				answers++
			}
		}
		if len(want) > 0 {
			t.Errorf("%s: no field for %v", target, want)
		}
		if said := map[string]int{"DNS": 1, "TCP": 2, "HTTP": 2}[kind]; answers != said {
			t.Errorf("%s: %d answers, not %d", target, answers, said)
		}
	}
	if len(kinds) != 3 {
		t.Errorf("there are flows of %v only", kinds)
	}
}

// TestAnomalyWithoutRequestID finds an example that nothing explains.
func TestAnomalyWithoutRequestID(t *testing.T) {
	r := decisions.Record{
		From: decisions.Envoy, Workload: "shop/web", Listener: "shop/web/outbound", Direction: policy.Egress, Source: "192.0.2.10:1", Destination: "203.0.113.80:443",
		ServerName: "api.example", Names: "api.example\nwww.example",
	}
	want := "/explain?destination=203.0.113.80%3A443&egress=true&listener=outbound&names=api.example+www.example&servername=api.example&source=192.0.2.10&workload=shop%2Fweb"
	if got := askAbout(&r); got != want {
		t.Errorf("%s", got)
	}
	w := get(newLab(t).handler(), want)
	if body := w.Body.String(); w.Code != 200 || !strings.Contains(body, "namespace:shop/web#api") {
		t.Errorf("status %d: %s", w.Code, body)
	}
}

// TestBusy finds pages that take all of the processor: more than two at a time, or one that is
// counted for ever.
func TestBusy(t *testing.T) {
	l := newLab(t)
	s := &site{src: l, now: l.now, busy: make(chan struct{}, mostHeavy)}
	f := &form{}
	w := httptest.NewRecorder()
	ran := 0
	var deeper func(context.Context) error
	deeper = func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("it has no end")
		}
		if ran++; ran <= mostHeavy {
			s.heavy(ctx, w, f, deeper)
		}
		return nil
	}
	s.heavy(t.Context(), w, f, deeper)
	if ran != mostHeavy || f.Status != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || len(s.busy) != 0 {
		t.Errorf("%d at a time, status %d, %d places are taken", ran, f.Status, len(s.busy))
	}
	ctx, over := context.WithTimeout(t.Context(), 0)
	defer over()
	f = &form{}
	s.heavy(ctx, w, f, func(ctx context.Context) error { return ctx.Err() })
	if f.Status != http.StatusServiceUnavailable || !strings.Contains(f.Problems[0].Message, "longer") {
		t.Errorf("%d: %+v", f.Status, f.Problems)
	}
}

// TestSuggestionChangesNothing finds a button that tries something else than what was suggested.
func TestSuggestionChangesNothing(t *testing.T) {
	h := newLab(t).handler()
	doc, err := html.Parse(get(h, "/suggest?namespace=shop").Body)
	if err != nil {
		t.Fatal(err)
	}
	forms := 0
	for n := range doc.Descendants() {
		if n.Data != "form" || attr(n, "method") != "post" {
			continue
		}
		forms++
		v := url.Values{}
		for in := range n.Descendants() {
			if in.Data == "input" {
				v.Set(attr(in, "name"), strings.ReplaceAll(attr(in, "value"), "\n", "\r\n")) // as browsers do
			}
		}
		w := send(h, "/simulate", v)
		if body := w.Body.String(); w.Code != 200 || !strings.Contains(body, "none would be decided otherwise") {
			t.Errorf("status %d of %v: %s", w.Code, v, body)
		}
	}
	if forms != 3 { // one for each direction, and both
		t.Errorf("%d forms", forms)
	}
}

// TestLongAnswers finds a page as long as what it is about, and rows that are dropped in silence.
func TestLongAnswers(t *testing.T) {
	p := simulatePage{Result: &simulate.Result{
		Changes: make([]simulate.Change, 150), Uncertain: make([]simulate.Uncertain, 101), Problems: make([]api.Problem, 3), LeftOff: 7,
	}}
	p.fill()
	if len(p.Changes) != mostListed || len(p.Uncertain) != mostListed || len(p.Problems) != 3 || p.Off != 50+1+7 {
		t.Errorf("%d changes, %d uncertain, %d problems, %d left off", len(p.Changes), len(p.Uncertain), len(p.Problems), p.Off)
	}
	rules := make([]suggest.Rule, mostRulesShown+5)
	all := []suggest.Suggestion{
		{Workload: "shop/web", Direction: policy.Ingress, YAML: strings.Repeat("#", mostYAML+1), Rules: rules},
		{Workload: "shop/web", Direction: policy.Egress, YAML: strings.Repeat("#", mostYAML)},
		{Workload: "shop/x", Direction: policy.Egress, YAML: "a: b\n"},
		{Workload: "shop/y", Direction: policy.Egress},
		{Workload: "shop/z", Direction: policy.Egress, YAML: "a: b\n"},
	}
	var s suggestPage
	s.take(suggestForm(), all, true)
	if x := s.List[0]; !x.Long || x.Try != nil || x.Command != "pavise suggest -w shop/web" || x.More != 5 {
		t.Errorf("%+v", x)
	}
	if s.List[1].Try == nil || s.List[2].Try == nil || s.List[3].Try != nil || len(s.List) != suggestionsPage || s.Pages.Next != "/suggest?from=4" {
		t.Errorf("%+v", s)
	}
	if s.All == nil || !strings.HasSuffix(s.All.Objects, "---\na: b\n") {
		t.Errorf("together: %+v", s.All)
	}
	s = suggestPage{}
	if s.take(suggestForm(), all, false); s.All != nil || s.List[1].Try != nil {
		t.Error("there is nothing to try it on")
	}
}

// many is a set of workloads of one namespace, each of which only the one before may reach.
func many(t *testing.T, n int) *lab {
	t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "---\napiVersion: pavise.dev/v1alpha1\nkind: Workload\nmetadata: {name: w%03d, namespace: shop, labels: {app: w%03d}}\n", i, i)
		fmt.Fprintf(&b, "spec:\n  addresses: [10.0.%d.%d]\n  transparent: {}\n  inbound: [{name: http, port: %d, upstream: 127.0.0.1:80}]\n", i/250, i%250+1, 1024+i)
		fmt.Fprintf(&b, "---\napiVersion: pavise.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: w%03d, namespace: shop}\n", i)
		fmt.Fprintf(&b, "spec:\n  selector: {matchLabels: {app: w%03d}}\n  ingress: [{name: one, action: Allow, from: [{podSelector: {matchLabels: {app: w%03d}}}]}]\n", i, i-1)
	}
	set, problems := api.Parse("many.yaml", []byte(b.String()))
	if api.HasErrors(problems) {
		t.Fatal(problems)
	}
	l := &lab{set: set}
	if l.model, problems = policy.Compile(set); api.HasErrors(problems) {
		t.Fatal(problems)
	}
	l.at(noon)
	return l
}

// TestGraphOfMany finds a graph that is too large for a page, or of which a part cannot be reached.
func TestGraphOfMany(t *testing.T) {
	h := many(t, 300).handler()
	seen, edges := map[string]bool{}, map[string]bool{}
	queue := []string{"/graph"}
	for len(queue) > 0 {
		target := queue[0]
		queue = queue[1:]
		w := get(h, target)
		sound(t, target, w)
		if w.Code != 200 || w.Body.Len() > 256<<10 {
			t.Fatalf("%s: status %d, %d octets", target, w.Code, w.Body.Len())
		}
		doc, err := html.Parse(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		for n := range doc.Descendants() {
			to := attr(n, "href")
			if strings.HasPrefix(to, "/graph?") && !strings.Contains(to, "workload=") && !seen[to] {
				seen[to] = true
				queue = append(queue, to)
			}
			if strings.HasPrefix(to, "/explain?source=") {
				edges[to] = true
			}
		}
	}
	if len(edges) != 299 {
		t.Errorf("%d edges on %d pages", len(edges), len(seen)+1)
	}
	w := get(h, "/graph?workload=shop/w007")
	if body := w.Body.String(); strings.Count(body, "all</span>") != 4 { // in the key, anywhere, from w006 and to w008
		t.Errorf("around one: %d octets", len(body))
	}
}

// TestFlowLeadsToItsExplanation finds a form that is filled in otherwise than what was decided.
func TestFlowLeadsToItsExplanation(t *testing.T) {
	l := newLab(t)
	w := get(l.handler(), "/explain?id=request-4")
	body := w.Body.String()
	for _, want := range []string{
		`name="source" value="203.0.113.5"`, `name="listener" value="http"`, `name="method" value="GET"`, `name="destination" value="192.0.2.10:8080"`,
		"What was decided", "What the rules say now", "namespace:shop/web#no-admin",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("there is no %s", want)
		}
	}
}
