package page

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/feeds"
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
	if got := names(newLab(t)); got != "Overview Workloads Explain Flows Live Anomalies Feeds Lookup Sidecars" {
		t.Error(got)
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
