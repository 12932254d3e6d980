package page

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// follower reads a followed page as it comes.
type follower struct {
	t     *testing.T
	lines *bufio.Scanner
	all   strings.Builder
	stop  context.CancelFunc
}

func newFollower(t *testing.T, srv *httptest.Server, query string) *follower {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(stop)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/follow"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	f := &follower{t: t, lines: bufio.NewScanner(resp.Body), stop: stop}
	f.lines.Buffer(nil, 1<<20)
	return f
}

// until reads to a line that has a text in it.
func (f *follower) until(text string) {
	f.t.Helper()
	for f.lines.Scan() {
		f.all.WriteString(f.lines.Text() + "\n")
		if strings.Contains(f.lines.Text(), text) {
			return
		}
	}
	f.t.Fatalf("there is no %q: %v", text, f.lines.Err())
}

func (l *lab) serve(t *testing.T) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(l.handler())
	// As the server of the endpoint has it, only shorter: it is over before the first row.
	srv.Config.WriteTimeout = time.Nanosecond
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

// TestFollow finds rows that wait for others, that are not of the filter, or not escaped, and a
// deadline of the server that ends the page.
func TestFollow(t *testing.T) {
	l := newLab(t)
	l.at(time.Now())
	f := newFollower(t, l.serve(t), "?verdict=deny")
	f.until("<tbody>")
	for i := range 3 {
		l.add(decisions.Record{Source: "203.0.113.9:1", Method: "GET", Host: "allowed.example", Path: "/", Verdict: policy.Allowed, Reason: "default-allow"})
		l.add(decisions.Record{
			Source: "203.0.113.9:1", Method: "GET", Host: "x" + strings.Repeat("y", i) + ".example" + script, Path: "/", Verdict: policy.Denied, Reason: "default-deny",
		})
		f.until("x" + strings.Repeat("y", i) + ".example")
	}
	if page := f.all.String(); strings.Contains(page, "allowed.example") || strings.Contains(page, "<script") {
		t.Errorf("it has what it should not: %s", page)
	}
	f.stop()
}

// TestFollowEnds finds a page that grows without bound, or that is broken where it ends.
func TestFollowEnds(t *testing.T) {
	l := newLab(t)
	l.at(time.Now())
	f := newFollower(t, l.serve(t), "")
	f.until("<tbody>")
	for range mostFollowed {
		l.add(decisions.Record{Source: "203.0.113.9:1", Method: "GET", Host: "a.example", Path: "/", Verdict: policy.Denied, Reason: "default-deny"})
		f.until("a.example")
	}
	f.until("The page is full.")
	f.until("</html>")
	inspect(t, "/follow", f.all.String())
}

// TestFollowersAreBounded finds one more follower than the store takes.
func TestFollowersAreBounded(t *testing.T) {
	l := newLab(t)
	l.at(time.Now())
	srv := l.serve(t)
	for range 32 {
		newFollower(t, srv, "").until("<tbody>")
	}
	w := get(l.handler(), "/follow")
	sound(t, "/follow", w)
	if !strings.Contains(w.Body.String(), "cannot be followed now") {
		t.Errorf("it is followed all the same: %s", w.Body)
	}
}
