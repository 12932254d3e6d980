package fetch

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTAXII(t *testing.T) {
	l := newLab(t)
	var asked []string
	u := serve(t, aPublic, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		asked = append(asked, r.URL.Path+" "+q.Get("added_after")+" "+q.Get("next"))
		if r.Header.Get("Accept") != "application/taxii+json;version=2.1" || q.Get("apikey") == "" {
			w.WriteHeader(http.StatusNotAcceptable)
			return
		}
		w.Header().Set("Content-Type", "application/taxii+json;version=2.1")
		w.Header().Set("ETag", `"abc"`)
		switch q.Get("next") {
		case "":
			w.Header().Set("X-TAXII-Date-Added-Last", "2026-09-01T00:00:00.000001Z")
			_, _ = w.Write([]byte(`{"objects":[{"more":false,"next":"no","a":"}]\"{"}],"more":true,"next":"p\u0061ge & 2"}`))
		case "page & 2":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte(gzipped(`{"more":true, "next" : "3", "objects":[]}`)))
		case "3":
			w.Header().Set("X-TAXII-Date-Added-Last", "2026-09-02T00:00:00Z")
			_, _ = w.Write([]byte(`{}`))
		}
	})
	res := l.gives(Source{URL: u + "/api/collections/1/", Paging: TAXII, AddedAfter: "2026-08-01T00:00:00Z"},
		`{"objects":[{"more":false,"next":"no","a":"}]\"{"}],"more":true,"next":"p\u0061ge & 2"}`+"\n"+
			`{"more":true, "next" : "3", "objects":[]}`+"\n{}\n")
	if res.Pages != 3 || res.AddedLast != "2026-09-02T00:00:00Z" || res.ContentType != "application/taxii+json" || res.Validators != (Validators{}) {
		t.Errorf("%+v", res)
	}
	want := "/api/collections/1/objects/ 2026-08-01T00:00:00Z "
	if got := strings.Join(asked, "|"); got != want+"|"+want+"page & 2|"+want+"3" {
		t.Errorf("asked for %s", got)
	}
}

// TestTAXIIByTime: a server that says there is more, and only the time to go on from.
func TestTAXIIByTime(t *testing.T) {
	l := newLab(t)
	u := serve(t, aPublic, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("added_after") == "" {
			w.Header().Set("X-TAXII-Date-Added-Last", "2026-09-01T00:00:00Z")
			_, _ = w.Write([]byte(`{"more":true}`))
			return
		}
		_, _ = w.Write([]byte(`{"more":false}`))
	})
	l.gives(Source{URL: u + "/c/objects", Paging: TAXII}, "{\"more\":true}\n{\"more\":false}\n")
}

func TestTAXIIThatMisbehaves(t *testing.T) {
	l := newLab(t)
	for body, want := range map[string]struct {
		kind Kind
		says string
	}{
		`{"more":true,"next":"same"}`:                             {Protocol, "does not say where"},
		`{"more":true}`:                                           {Protocol, "does not say where"},
		`{"more":true,"next":"bad \x"}`:                           {Protocol, "does not say where"},
		`{"more":true,"next":"` + strings.Repeat("a", 9e3) + `"}`: {Protocol, "does not say where"},
		`<html>`:           {Protocol, "one JSON object"},
		`[{}]`:             {Protocol, "one JSON object"},
		`{"more":false}{}`: {Protocol, "one JSON object"},
		`{"objects":[`:     {Protocol, "one JSON object"},
		``:                 {Protocol, "one JSON object"},
	} {
		l.fails(Source{URL: serve(t, aPublic, says(200, body)), Paging: TAXII}, want.kind, want.says)
	}
	l.fails(Source{URL: serve(t, aPublic, says(406, "")), Paging: TAXII}, Status, "look at format")
	l.fails(Source{URL: "http://192.0.2.1", Paging: TAXII, AddedAfter: "yesterday"}, Config, "RFC 3339")
	// maxBytes is for all pages together.
	n := 0
	u := serve(t, aPublic, func(w http.ResponseWriter, _ *http.Request) {
		n++
		_, _ = fmt.Fprintf(w, `{"more":true,"next":"%d","objects":%q}`, n, strings.Repeat("a", 1000))
	})
	l.fails(Source{URL: u, Paging: TAXII, MaxBytes: 10_000}, OverLimit, "maxBytes")
	if n > 12 {
		t.Errorf("%d pages were asked for", n)
	}
}

// TestEnvelope compares with encoding/json, on any object in any spacing.
func TestEnvelope(t *testing.T) {
	scalar := rapid.OneOf(
		rapid.Just(any(nil)), rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Map(rapid.Int(), func(i int) any { return i }), rapid.Map(rapid.String(), func(s string) any { return s }),
	)
	key := rapid.OneOf(rapid.SampledFrom([]string{"more", "next", "objects"}), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(scalar, rapid.Map(rapid.SliceOf(scalar), func(s []any) any { return s }),
			rapid.Map(rapid.MapOf(key, scalar), func(m map[string]any) any { return m }))
		m := rapid.MapOf(key, value).Draw(t, "object")
		b, err := json.Marshal(m)
		if rapid.Bool().Draw(t, "indent") {
			b, err = json.MarshalIndent(m, "\r", "\t")
		}
		if err != nil {
			t.Skip(err)
		}
		cut := rapid.IntRange(0, len(b)).Draw(t, "cut")
		e := &envelope{}
		e.look(b[:cut])
		if cut < len(b) && e.complete() {
			t.Errorf("%s is complete after %d octets", b, cut)
		}
		e.look(b[cut:])
		var back map[string]any
		_ = json.Unmarshal(b, &back)
		more, _ := back["more"].(bool)
		next, _ := back["next"].(string)
		if !e.complete() || e.more != more || e.next != next {
			t.Errorf("%s: %t, more %t, next %q", b, e.complete(), e.more, e.next)
		}
	})
}

func TestCrowdSec(t *testing.T) {
	l := newLab(t)
	var asked string
	u := serve(t, aPublic, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RawQuery
		says(200, `{"new":[]}`)(w, r)
	})
	for query, want := range map[string]string{
		"": "apikey=" + canary + "query&startup=true", "?scopes=ip,range": "apikey=" + canary + "query&scopes=ip%2Crange&startup=true",
		"?startup=false": "apikey=" + canary + "query&startup=false",
	} {
		l.gives(Source{URL: u + "/v1/decisions/stream" + query, Paging: CrowdSec}, `{"new":[]}`)
		if asked != want {
			t.Errorf("%q: asked for %s", query, asked)
		}
	}
}

func TestBackoff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		durations := rapid.Int64Range(0, int64(100*time.Hour))
		lo, hi := time.Duration(durations.Draw(t, "min")), time.Duration(durations.Draw(t, "max"))
		asked := time.Duration(rapid.Int64Range(-1, int64(1000*time.Hour)).Draw(t, "retry-after"))
		failures := rapid.OneOf(rapid.IntRange(0, 20), rapid.Int()).Draw(t, "failures")
		wait := func(r float64) time.Duration {
			return Backoff{Min: lo, Max: hi, random: func() float64 { return r }}.Wait(failures, asked)
		}
		r := rapid.Float64Range(0, 0.999999).Draw(t, "random")
		got, least, most := wait(r), wait(0), wait(0.9999999)
		floor := min(max(asked, 0), MostRetryAfter)
		bottom, top := lo, hi
		if bottom == 0 {
			bottom = 10 * time.Second
		}
		if top == 0 {
			top = time.Hour
		}
		top = max(top, bottom)
		switch {
		case got < floor || got < bottom:
			t.Errorf("%s is too soon", got)
		case got > top && got > floor+floor/10:
			t.Errorf("%s is too late", got)
		case got < least && floor == 0, got > most && floor == 0:
			t.Errorf("%s is not between %s and %s", got, least, most)
		}
	})
	// The ceiling doubles: 20 s, 40 s, … and stops.
	b := Backoff{random: func() float64 { return 1 }}
	for failures, want := range map[int]time.Duration{
		0: 20 * time.Second, 1: 20 * time.Second, 2: 40 * time.Second, 5: 320 * time.Second, 9: time.Hour, 1 << 40: time.Hour,
	} {
		if got := b.Wait(failures, 0); got != want {
			t.Errorf("after %d failures: %s, want %s", failures, got, want)
		}
	}
	differ := map[time.Duration]bool{}
	for range 1000 {
		differ[Backoff{}.Wait(3, time.Hour)] = true
	}
	if len(differ) < 900 {
		t.Errorf("only %d different waits where all were told the same", len(differ))
	}
}
