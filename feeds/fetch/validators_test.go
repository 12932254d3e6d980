package fetch

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/internal/secret"
)

// conditional serves a list with validators, and answers 304 to them. It keeps the headers
// of the last request.
type conditional struct {
	etag, modified string
	always304      bool
	got            http.Header
}

func (c *conditional) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.got = r.Header.Clone()
	if c.etag != "" {
		w.Header()["ETag"] = []string{c.etag}
	}
	if c.modified != "" {
		w.Header().Set("Last-Modified", c.modified)
	}
	tag, date := r.Header.Get("If-None-Match"), r.Header.Get("If-Modified-Since")
	if c.always304 || tag != "" && tag == c.etag || tag == "" && date != "" && date == c.modified {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write([]byte(list))
}

// again passes validators through JSON, as a restart does.
func again(t *testing.T, v Validators) Validators {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), canary) {
		t.Errorf("a secret is in %s", b)
	}
	var out Validators
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestConditional(t *testing.T) {
	past := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)
	for name, c := range map[string]struct {
		etag, modified string
		sentTag        string
		sentDate       string
	}{
		"strong":                      {`"abc"`, "", `"abc"`, ""},
		"weak":                        {`W/"a,b!"`, "", `W/"a,b!"`, ""},
		"both":                        {`"abc"`, past, `"abc"`, past},
		"date":                        {"", past, "", past},
		"Last-Modified in the future": {"", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), "", ""},
		"no date":                     {"", "yesterday", "", ""},
		"ETag without quotes":         {"abc", "", "", ""},
		"an ETag that matches all":    {"*", "", "", ""},
		"ETag with control chars":     {"\"a\tb\"", "", "", ""},
		"ETag with a quote in it":     {`"a", "b"`, "", "", ""},
		"an ETag of 10 KiB":           {`"` + strings.Repeat("a", 10<<10) + `"`, "", "", ""},
		"nothing":                     {"", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			s := &conditional{etag: c.etag, modified: c.modified}
			u := serve(t, aPublic, s.ServeHTTP)
			first := l.gives(Source{URL: u}, list)
			res, body, err := l.fetch(Source{URL: u}, again(t, first.Validators))
			if err != nil {
				t.Fatal(err)
			}
			if got := s.got.Get("If-None-Match"); got != c.sentTag {
				t.Errorf("sent If-None-Match %q, want %q", got, c.sentTag)
			}
			if got := s.got.Get("If-Modified-Since"); got != c.sentDate {
				t.Errorf("sent If-Modified-Since %q, want %q", got, c.sentDate)
			}
			known := c.sentTag != "" || c.sentDate != ""
			if res.NotModified != known || (body == "") != known || (res.Digest == "") != known {
				t.Errorf("not modified is %t, with a body of %d and digest %q", res.NotModified, len(body), res.Digest)
			}
			if known && !again(t, res.Validators).Since.Equal(again(t, first.Validators).Since) {
				t.Error("a 304 made the body look younger")
			}
		})
	}
}

func TestValidatorsThatDoNotApply(t *testing.T) {
	l := newLab(t)
	s := &conditional{etag: `"abc"`}
	u := serve(t, aPublic, s.ServeHTTP)
	v := l.gives(Source{URL: u}, list).Validators
	for name, src := range map[string]Source{
		"another path":    {URL: u + "/other"},
		"another query":   {URL: u + "?a=b"},
		"another header":  {URL: u, Header: []Header{{"X-List", secret.New("b")}}},
		"another way":     {URL: u, Paging: CrowdSec},
		"asked to":        {URL: u, Force: true},
		"another fetch 2": {URL: u + "/"},
	} {
		if res, body, err := l.fetch(src, v); err != nil || res.NotModified || body != list || s.got.Get("If-None-Match") != "" {
			t.Errorf("%s: %v, %t, sent %q", name, err, res.NotModified, s.got.Get("If-None-Match"))
		}
	}
	if res, _, err := l.fetch(Source{URL: u}, v); err != nil || !res.NotModified {
		t.Errorf("the same: %v, %t", err, res.NotModified)
	}
}

func TestETagThatNeverChanges(t *testing.T) {
	l := newLab(t)
	s := &conditional{etag: `"1"`}
	u := serve(t, aPublic, s.ServeHTTP)
	v := l.gives(Source{URL: u}, list).Validators
	for hours, unmodified := range map[int]bool{1: true, 23: true, 25: false, -2: false} { // -2: the clock was set back
		l.c.now = func() time.Time { return time.Now().Add(time.Duration(hours) * time.Hour) }
		res, _, err := l.fetch(Source{URL: u}, v)
		if err != nil || res.NotModified != unmodified {
			t.Errorf("after %d hours: %v, %t", hours, err, res.NotModified)
		}
	}
}

func Test304AfterALostDisk(t *testing.T) {
	l := newLab(t)
	s := &conditional{etag: `"abc"`, always304: true}
	l.fails(Source{URL: serve(t, aPublic, s.ServeHTTP)}, Protocol, "without a condition")
}

func FuzzHeaders(f *testing.F) {
	for _, s := range []string{`W/"a"`, `"`, `""`, "W/", "120", "-1", "Sun, 06 Nov 1994 08:49:37 GMT", "\"\x00\"", "99999999999999999999"} {
		f.Add(s)
	}
	now := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		h := http.Header{"Etag": {s}, "Retry-After": {s}, "Last-Modified": {s}}
		if v := etag(h); v != "" {
			if v != s || len(v) > mostETag || strings.ContainsAny(v, "\r\n\x00\x7f\t ") || !strings.HasSuffix(v, `"`) {
				t.Errorf("%q was taken as %q", s, v)
			}
		}
		if d := retryAfter(h, now); d < 0 || d > MostRetryAfter {
			t.Errorf("%q is %s", s, d)
		}
		if v := lastModified(h, now); v != "" {
			if at, err := http.ParseTime(v); v != s || err != nil || at.After(now) || strings.ContainsAny(v, "\r\n") {
				t.Errorf("%q was taken as %q", s, v)
			}
		}
	})
}
