package feeds

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/fetch"
	"pavise.dev/pavise/feeds/guard"
	"pavise.dev/pavise/feeds/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server answers with what was put into it last.
type server struct {
	*httptest.Server
	handler atomic.Value // http.HandlerFunc
	asked   atomic.Int64
}

func newServer(t *testing.T) *server {
	s := &server{}
	s.serve(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "nothing yet", http.StatusNotFound) })
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		s.handler.Load().(http.HandlerFunc)(w, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *server) serve(h http.HandlerFunc) { s.handler.Store(h) }

func (s *server) text(body string) {
	s.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(body))
	})
}

// fixture is a Manager with a clock that the test moves.
type fixture struct {
	*Manager
	t   *testing.T
	dir string
	now time.Time
	own []guard.Place
}

func newFixture(t *testing.T, dir string, own ...guard.Place) *fixture {
	t.Helper()
	x := &fixture{t: t, dir: dir, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), own: own}
	x.open()
	t.Cleanup(func() { x.Close() })
	return x
}

func (x *fixture) open() {
	x.t.Helper()
	client := fetch.New(fetch.Options{Timeouts: fetch.Timeouts{Header: 5 * time.Second, Window: time.Second, RetryWait: time.Millisecond}})
	x.t.Cleanup(client.Close)
	m, err := Open(Config{Dir: x.dir, Client: client, now: func() time.Time { return x.now }})
	if err != nil {
		x.t.Fatal(err)
	}
	x.Manager = m
}

// reopen is a restart.
func (x *fixture) reopen(list ...Feed) {
	x.t.Helper()
	if err := x.Close(); err != nil {
		x.t.Fatal(err)
	}
	x.open()
	x.set(list...)
}

func (x *fixture) set(list ...Feed) {
	x.t.Helper()
	if err := x.Set(list, x.own); err != nil {
		x.t.Fatal(err)
	}
}

// refresh fetches one feed, compiles, and returns its status.
func (x *fixture) refresh(name string) Status {
	x.t.Helper()
	st, err := x.Refresh(x.t.Context(), name, false)
	if err != nil {
		x.t.Fatal(err)
	}
	x.compile()
	return st
}

func (x *fixture) compile() {
	x.t.Helper()
	if err := x.Compile(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
}

// lists says which of some subjects are listed in what is in force.
func (x *fixture) lists(subjects ...string) []string {
	x.t.Helper()
	var out []string
	for _, s := range subjects {
		a, err := Lookup(x.Snapshot(), x.dir, s)
		if err != nil {
			x.t.Fatal(err)
		}
		if len(a.Hits) > 0 {
			out = append(out, s)
		}
	}
	return out
}

func feedAt(url string) Feed {
	return Feed{Name: "bad", Spec: api.ThreatFeedSpec{URL: url, Refresh: api.FeedRefresh{
		Interval: &metav1.Duration{Duration: time.Hour}, Jitter: &metav1.Duration{}, Timeout: &metav1.Duration{Duration: 30 * time.Second},
	}}}
}

func equal(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("listed: %q, want %q", got, want)
	}
}

func TestRefreshFromURLToVerdict(t *testing.T) {
	s := newServer(t)
	s.text("# a list\n192.0.2.7\n198.51.100.0/24 ; SBL1\nEvil.Example\n")
	x := newFixture(t, t.TempDir())
	x.set(feedAt(s.URL + "/list"))
	st := x.refresh("bad")
	if st.State != api.FeedCurrent || st.Entries != 3 || st.Error != "" {
		t.Fatalf("%+v", st)
	}
	equal(t, x.lists("192.0.2.7", "192.0.2.8", "198.51.100.9", "https://www.evil.example:8443/x?y", "evil.example.", "good.example"),
		[]string{"192.0.2.7", "198.51.100.9", "https://www.evil.example:8443/x?y", "evil.example."})
	a, err := Lookup(x.Snapshot(), x.dir, "198.51.100.9")
	if err != nil || len(a.Hits) != 1 {
		t.Fatal(a, err)
	}
	if h := a.Hits[0]; h.Feed != "bad" || h.Line != 3 || h.Entry != "198.51.100.0/24" || !h.Exact || !h.Since.Equal(x.now) {
		t.Errorf("%+v", h)
	}
}

// TestSinceAndChanges: the second refresh adds one entry and removes one.
func TestSinceAndChanges(t *testing.T) {
	s := newServer(t)
	x := newFixture(t, t.TempDir())
	x.set(feedAt(s.URL))
	s.text("192.0.2.1\n192.0.2.2\nold.example\n")
	x.refresh("bad")
	first := x.now
	x.now = x.now.Add(time.Hour)
	s.text("192.0.2.2\n192.0.2.3\nold.example\n")
	st := x.refresh("bad")
	if st.Added != 1 || st.Removed != 1 {
		t.Errorf("added %d, removed %d", st.Added, st.Removed)
	}
	c, err := LastChange(x.dir, "bad")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, c.AddedEntries, []string{"192.0.2.3"})
	equal(t, c.RemovedEntries, []string{"192.0.2.1"})
	for what, want := range map[string]time.Time{"192.0.2.2": first, "192.0.2.3": x.now, "a.old.example": first} {
		a, err := Lookup(x.Snapshot(), x.dir, what)
		if err != nil || len(a.Hits) != 1 {
			t.Fatal(what, a, err)
		}
		if h := a.Hits[0]; !h.Since.Equal(want) || !h.Exact {
			t.Errorf("%s: since %v (exact: %v), want %v", what, h.Since, h.Exact, want)
		}
	}
	equal(t, x.lists("192.0.2.1"), nil)
}

func TestValidatorsSurviveARestart(t *testing.T) {
	s := newServer(t)
	var conditional atomic.Int64
	s.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		if r.Header.Get("If-None-Match") == `"v1"` {
			conditional.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = io.WriteString(w, "192.0.2.1\n")
	})
	f := feedAt(s.URL)
	x := newFixture(t, t.TempDir())
	x.now = time.Now() // the client has its own clock
	x.set(f)
	x.refresh("bad")
	x.reopen(f)
	equal(t, x.lists("192.0.2.1"), []string{"192.0.2.1"}) // before any fetch
	if st := x.refresh("bad"); st.State != api.FeedCurrent || conditional.Load() != 1 {
		t.Fatalf("%d conditional requests; %+v", conditional.Load(), st)
	}
	t.Run("304 after a lost disk", func(t *testing.T) {
		bodies, err := filepath.Glob(filepath.Join(x.dir, "feeds", "bad", bodyPrefix+"*"))
		if err != nil || len(bodies) != 1 {
			t.Fatal(bodies, err)
		}
		if err := os.Remove(bodies[0]); err != nil {
			t.Fatal(err)
		}
		x.reopen(f)
		if st := x.refresh("bad"); st.State != api.FeedCurrent || conditional.Load() != 1 {
			t.Fatalf("%d conditional requests; %+v", conditional.Load(), st)
		}
		equal(t, x.lists("192.0.2.1"), []string{"192.0.2.1"})
	})
	t.Run("a body that was altered on disk", func(t *testing.T) {
		bodies, _ := filepath.Glob(filepath.Join(x.dir, "feeds", "bad", bodyPrefix+"*"))
		if err := os.WriteFile(bodies[0], []byte("192.0.2.2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		x.reopen(f)
		x.compile()
		if st := x.Status()[0]; !strings.Contains(st.Error, "not the one that was fetched") {
			t.Errorf("%+v", st)
		}
		equal(t, x.lists("192.0.2.2"), nil)
		x.refresh("bad")
		equal(t, x.lists("192.0.2.1", "192.0.2.2"), []string{"192.0.2.1"})
	})
}

func TestExceptWins(t *testing.T) {
	s := newServer(t)
	s.text("192.0.2.0/24\n198.51.100.7\nevil.example\nfine.evil.example\nvery.bad.test\n")
	f, other := feedAt(s.URL), feedAt(s.URL)
	other.Name = "other"
	f.Spec.Except = api.FeedExcept{CIDRs: []string{"192.0.2.128/25", "198.51.100.0/24"}, Domains: []string{"fine.evil.example", "bad.test"}}
	x := newFixture(t, t.TempDir())
	x.set(f)
	x.refresh("bad")
	ask := []string{"192.0.2.1", "192.0.2.200", "198.51.100.7", "x.evil.example", "fine.evil.example", "a.fine.evil.example", "very.bad.test"}
	equal(t, x.lists(ask...), []string{"192.0.2.1", "x.evil.example"})
	// It is an exception of one feed, and says nothing of another.
	x.set(f, other)
	x.refresh("other")
	equal(t, x.lists(ask...), ask)
}

func TestSuspendAndExpiry(t *testing.T) {
	s := newServer(t)
	s.text("192.0.2.1\n")
	f := feedAt(s.URL)
	f.Spec.ExpireAfter = &metav1.Duration{Duration: 24 * time.Hour}
	x := newFixture(t, t.TempDir())
	x.set(f)
	x.refresh("bad")
	s.serve(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusServiceUnavailable) })
	x.now = x.now.Add(23 * time.Hour)
	if st := x.refresh("bad"); st.State != api.FeedFailed || st.Entries != 1 {
		t.Errorf("%+v", st)
	}
	equal(t, x.lists("192.0.2.1"), []string{"192.0.2.1"})
	x.now = x.now.Add(2 * time.Hour)
	x.compile()
	if st := x.Status()[0]; st.State != api.FeedExpired || st.Entries != 0 {
		t.Errorf("%+v", st)
	}
	equal(t, x.lists("192.0.2.1"), nil)
	s.text("192.0.2.1\n")
	x.refresh("bad")
	equal(t, x.lists("192.0.2.1"), []string{"192.0.2.1"})
	f.Spec.Suspend = true
	x.set(f)
	x.compile()
	equal(t, x.lists("192.0.2.1"), nil)
	if _, err := x.Refresh(t.Context(), "bad", false); err == nil {
		t.Error("a suspended feed was fetched")
	}
	f.Spec.Suspend = false
	x.set(f)
	x.compile()
	equal(t, x.lists("192.0.2.1"), []string{"192.0.2.1"})
}

// TestBackInForce: a feed whose time was up is back in force as soon as its server confirms
// what it had, though nothing changed.
func TestBackInForce(t *testing.T) {
	s := newServer(t)
	s.text("192.0.2.1\n")
	f := feedAt(s.URL)
	f.Spec.ExpireAfter = &metav1.Duration{Duration: time.Hour}
	x := newFixture(t, t.TempDir())
	x.set(f)
	x.refresh("bad")
	x.now = x.now.Add(2 * time.Hour)
	x.compile()
	equal(t, x.lists("192.0.2.1"), nil)
	for len(x.wake) > 0 {
		<-x.wake
	}
	if _, err := x.Refresh(t.Context(), "bad", false); err != nil {
		t.Fatal(err)
	}
	if len(x.wake) == 0 {
		t.Error("nobody was told to compile")
	}
}

// TestAnotherURLIsAnotherFeed: what was fetched from one does not stand for the other.
func TestAnotherURLIsAnotherFeed(t *testing.T) {
	s := newServer(t)
	s.text("192.0.2.1\n")
	x := newFixture(t, t.TempDir())
	x.set(feedAt(s.URL + "/a"))
	x.refresh("bad")
	x.set(feedAt(s.URL + "/b"))
	x.compile()
	equal(t, x.lists("192.0.2.1"), nil)
	if st := x.Status()[0]; st.State != api.FeedPending {
		t.Errorf("%+v", st)
	}
}

func TestOnlyOneManager(t *testing.T) {
	x := newFixture(t, t.TempDir())
	_, err := Open(Config{Dir: x.dir})
	if err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatal(err)
	}
}

// TestRun: feeds are fetched without being asked, one that is added later too, and one
// that fails is asked again.
func TestRun(t *testing.T) {
	s := newServer(t)
	s.text("192.0.2.1\n")
	x := newFixture(t, t.TempDir())
	x.now = time.Now()
	f := feedAt(s.URL)
	f.Spec.Refresh.Interval.Duration = 10 * time.Millisecond
	x.set(f)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- x.Run(ctx) }()
	await := func(what string, ok func() bool) {
		t.Helper()
		limit := time.Now().Add(10 * time.Second)
		for !ok() {
			if time.Now().After(limit) {
				t.Fatalf("in vain: %s; %+v", what, x.Status())
			}
			time.Sleep(time.Millisecond) // nothing tells of a snapshot but the pointer
		}
	}
	has := func(a string) func() bool {
		return func() bool { s := x.Snapshot(); return s != nil && s.ContainsAddr(netip.MustParseAddr(a)) }
	}
	await("the first", has("192.0.2.1"))
	second := newServer(t)
	second.text("192.0.2.2\n")
	g := feedAt(second.URL)
	g.Name = "second"
	x.set(f, g)
	await("the second", has("192.0.2.2"))
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotOnDiskCannotBeUsed: it is made again from the bodies.
func TestSnapshotOnDiskCannotBeUsed(t *testing.T) {
	s := newServer(t)
	s.text("192.0.2.1\n")
	x := newFixture(t, t.TempDir())
	f := feedAt(s.URL)
	x.set(f)
	x.refresh("bad")
	path := filepath.Join(x.dir, snapshotName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	// Not in place: the file is mapped, and readers of the old one keep it.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b[:len(b)-100], 0o600); err != nil {
		t.Fatal(err)
	}
	equal(t, x.lists("192.0.2.1"), []string{"192.0.2.1"})
	x.reopen(f)
	if x.Snapshot() != nil {
		t.Error("a snapshot that was cut short is in force")
	}
	x.compile()
	equal(t, x.lists("192.0.2.1"), []string{"192.0.2.1"})
	if _, err := snapshot.Open(path); err != nil {
		t.Error(err)
	}
}
