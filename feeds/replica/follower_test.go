package replica

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/feeds/snapshot"
)

// TestFollow is the life of a copy: the whole, a delta, nothing, and a way of two deltas.
func TestFollow(t *testing.T) {
	for name, option := range map[string]func(*Config){
		"here":     func(*Config) {},
		"a worker": func(c *Config) { c.Worker = worker("work") },
	} {
		t.Run(name, func(t *testing.T) {
			x := newLab(t, option)
			first := x.publish(content{n: 3000})
			x.good(first)
			s := x.f.Status()
			if s.Wholes != 1 || s.Deltas != 0 || s.Octets != uint64(first.Size) || s.LastSuccess.IsZero() || s.Error != "" {
				t.Errorf("%+v", s)
			}
			second := x.publish(content{from: 30, n: 3000})
			delta := offered(t, x.store).deltas[0].size
			x.good(second)
			if s := x.f.Status(); s.Wholes != 1 || s.Deltas != 1 || s.Octets != uint64(first.Size+delta) {
				t.Errorf("%+v; the delta has %d octets", s, delta)
			}
			x.good(second)
			if s := x.f.Status(); s.NotModified != 1 || s.Octets != uint64(first.Size+delta) {
				t.Errorf("%+v", s)
			}
			// The delta from the second to the fourth is not there (yet): over the third it goes.
			x.publish(content{from: 60, n: 3000})
			kept := x.store.deltas
			fourth := x.publish(content{from: 90, n: 3000})
			build(t, filepath.Join(x.files, "third"), content{from: 60, n: 3000})
			x.remake(kept[0], filepath.Join(x.files, "third"))
			x.good(fourth)
			if s := x.f.Status(); s.Wholes != 1 || s.Deltas != 3 || s.Failures != 0 || len(s.Failed) != 0 {
				t.Errorf("%+v", s)
			}
			x.alone()
			if len(x.loaded) != 3 || x.loaded[2] != fourth.Digest.String() {
				t.Error(x.loaded)
			}
		})
	}
}

// remake puts a delta back that is not kept any more, and takes the direct one away.
func (x *lab) remake(d step, third string) {
	x.t.Helper()
	next, err := snapshot.Open(third)
	if err != nil {
		x.t.Fatal(err)
	}
	if d.size, err = x.store.writeDelta(d, next); err != nil {
		x.t.Fatal(err)
	}
	deltas := []step{d}
	for _, s := range x.store.deltas {
		if s.from != d.from {
			deltas = append(deltas, s)
		}
	}
	x.store.deltas = deltas
	if err := x.store.announce(); err != nil {
		x.t.Fatal(err)
	}
}

// TestRun is the whole over a unix socket: it is told of a change at once, though its
// interval is a minute, and a follower of the follower is, too.
func TestRun(t *testing.T) {
	x := newLab(t)
	x.publish(content{n: 1000})
	relay, err := OpenStore(StoreConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	h := NewHandler(HandlerConfig{Store: relay})
	last := make(chan snapshot.Digest, 4)
	ctx, cancel := context.WithCancel(t.Context())
	follow := func(c Config) chan error {
		f, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		return done
	}
	c := Config{Dir: t.TempDir(), URL: serve(t, "unix", Server(x.handler, nil)), Interval: time.Minute, Jitter: time.Millisecond, Loaded: func(path string, _ snapshot.Digest) {
		if err := relay.Publish(ctx, path); err != nil {
			t.Error(err)
		}
	}}
	one := follow(c)
	eventually(t, "the relay has it", func() bool { return relay.current.Load() != nil })
	two := follow(Config{Dir: t.TempDir(), URL: serve(t, "tcp", Server(h, nil)), Interval: time.Minute, Jitter: time.Millisecond, Loaded: func(_ string, d snapshot.Digest) { last <- d }})
	<-last
	eventually(t, "both wait", func() bool { return x.handler.Served().Waiting == 1 && h.Served().Waiting == 1 })
	start := time.Now()
	info := x.publish(content{n: 1001})
	if d := <-last; d != info.Digest {
		t.Error(d)
	}
	t.Logf("published to in force behind a relay: %v", time.Since(start))
	if s := h.Served(); s.Deltas != 1 || s.Snapshots != 1 {
		t.Errorf("%+v", s)
	}
	c.URL = "http://127.0.0.1:1"
	if err := <-follow(c); !errors.Is(err, ErrLocked) {
		t.Error("two followers in one folder:", err)
	}
	cancel()
	for _, done := range []chan error{one, two} {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestServerAway: what is on disk is in force at once, and stays.
func TestServerAway(t *testing.T) {
	x := newLab(t)
	info := x.publish(content{n: 500})
	x.good(info)
	x.lies(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	x.start()
	if len(x.loaded) != 2 {
		t.Fatal("what is on disk was not loaded")
	}
	x.holds(info)
	for range 3 {
		if err := x.round(); kindOf(err) != Connect {
			t.Fatal(err)
		}
	}
	x.holds(info)
	s := x.f.Status()
	if !s.LastSuccess.IsZero() || s.Failures != 3 || s.Failed[Connect] != 3 || s.Error == "" {
		t.Errorf("%+v", s)
	}
	x.lies(nil)
	x.good(info)
	if s := x.f.Status(); s.Failures != 0 || s.Error != "" || s.NotModified != 1 || s.Wholes != 0 {
		t.Errorf("%+v", s)
	}
}

// TestDamage: whatever becomes of the file, the next round mends it.
func TestDamage(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"deleted": os.Remove,
		"altered": func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte("harm"), 5000)
			return err
		},
		"cut short":          func(path string) error { return os.Truncate(path, 100) },
		"replaced by a page": func(path string) error { return os.WriteFile(path, []byte("<html>"), 0o600) },
		"replaced by another": func(path string) error {
			build(t, path, content{n: 77})
			return nil
		},
		"folder emptied": func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			x := newLab(t)
			info := x.publish(content{n: 3000})
			x.good(info)
			path := filepath.Join(x.c.Dir, FileName)
			if err := harm(path); err != nil {
				t.Fatal(err)
			}
			err := x.round()
			if name == "folder emptied" { // it is made again at the next start
				if kindOf(err) != Disk {
					t.Fatal(err)
				}
				x.start()
				err = x.round()
			}
			if err != nil {
				t.Fatal(err)
			}
			x.holds(info)
			if s := x.f.Status(); name != "folder emptied" && s.Failed[Damaged] != 1 || s.Error != "" {
				t.Errorf("%+v", s)
			}
			// The same while nobody looked.
			if harm(path) != nil {
				t.Fatal("harm")
			}
			x.start()
			x.good(info)
			// Touched is not damaged, and not fetched again.
			before := x.f.Status().Octets
			if err := os.Chmod(path, 0o640); err != nil {
				t.Fatal(err)
			}
			x.good(info)
			if s := x.f.Status(); s.Octets != before {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestResume: a download that breaks off goes on where it ended, also after a restart.
func TestResume(t *testing.T) {
	x := newLab(t)
	info := x.publish(content{n: 30_000})
	x.lies(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != currentPath {
			w = &cutting{ResponseWriter: w, left: 300_000}
		}
		x.handler.ServeHTTP(w, r)
	})
	rounds := 0
	for ; x.f == nil || x.f.have.file == nil; rounds++ {
		if rounds > 50 {
			t.Fatal("it never ends")
		}
		if rounds == 1 {
			x.start()
		}
		if err := x.round(); err != nil && kindOf(err) != Truncated {
			t.Fatal(err)
		}
	}
	x.holds(info)
	x.alone()
	want := (info.Size + 299_999) / 300_000
	if s := x.f.Status(); rounds != int(want) || s.Resumed != uint64(want-1) || s.Octets > uint64(info.Size) {
		t.Errorf("%d rounds for %d octets: %+v", rounds, info.Size, s)
	}
}

// cutting ends the connection after so many octets.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *cutting) Write(b []byte) (int, error) {
	if len(b) > c.left {
		_, _ = c.ResponseWriter.Write(b[:c.left])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(b)
	return c.ResponseWriter.Write(b)
}

// TestWhoMayRead: whoever Envoy is run as, whatever the umask is.
func TestWhoMayRead(t *testing.T) {
	x := newLab(t)
	x.good(x.publish(content{n: 100}))
	for path, want := range map[string]fs.FileMode{x.c.Dir: 0o755, filepath.Join(x.c.Dir, FileName): 0o644, filepath.Join(x.c.Dir, lockName): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	x.c.Mode = 0o600
	x.start()
	x.good(x.publish(content{n: 101}))
	if info, err := os.Stat(x.f.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

// TestAuthorize: a token goes with every request, and into no output.
func TestAuthorize(t *testing.T) {
	const canary = "canary-77ab"
	x := newLab(t)
	info := x.publish(content{n: 100})
	var said strings.Builder
	gate := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+canary {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		x.handler.ServeHTTP(w, r)
	}
	x.lies(gate)
	if err := x.round(); kindOf(err) != Status || !strings.Contains(err.Error(), "401") {
		t.Error(err)
	}
	x.c.Authorize = func(r *http.Request) error { r.Header.Set("Authorization", "Bearer "+canary); return nil }
	x.start()
	x.good(info)
	x.lies(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, r.Header.Get("Authorization"), http.StatusTeapot)
	})
	if err := x.round(); err != nil {
		said.WriteString(err.Error())
	}
	x.c.Authorize = func(*http.Request) error { return errors.New("the token file is empty") }
	x.start()
	if err := x.round(); kindOf(err) != Authorize || !strings.Contains(err.Error(), "token file") {
		t.Error(err)
	}
	if said.Len() == 0 || strings.Contains(said.String(), canary) {
		t.Errorf("%q", said.String())
	}
}

func TestTLS(t *testing.T) {
	x := newLab(t)
	info := x.publish(content{n: 100})
	s := httptest.NewUnstartedServer(x.handler)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	defer s.Close()
	x.c.URL = s.URL
	if err := x.round(); kindOf(err) != Connect || !strings.Contains(err.Error(), "not trusted") {
		t.Error(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	x.c.TLS = &tls.Config{RootCAs: pool}
	x.start()
	x.good(info)
}

func TestConfig(t *testing.T) {
	for _, c := range []struct{ url, says string }{
		{"https://cp.example:15014", ""},
		{"https://cp.example/some/where/", ""},
		{"unix:///run/pavise/feeds.sock", ""},
		{"http://[::1]:80", ""},
		{"ftp://cp.example", "begins with"},
		{"cp.example:15014", "begins with"},
		{"", "begins with"},
		{"https://", "no host"},
		{"unix://run/x", "unix:///path"},
		{"https://user:canary@cp.example", "Authorize"},
		{"https://cp.example?token=canary", "Authorize"},
		{"https://cp.example/%zz?canary", "cannot be read"},
	} {
		_, err := New(Config{URL: c.url, Dir: "/nowhere"})
		if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%s: %v", c.url, err)
		}
	}
	if _, err := New(Config{URL: "https://a"}); err == nil {
		t.Error("without a folder")
	}
	f, err := New(Config{URL: "https://CP.example./x/", Dir: "d", Interval: 10 * time.Second})
	if err != nil || f.c.Wait != 10*time.Second || f.c.Jitter != 2*time.Second || f.remote.base != "https://CP.example./x" || f.c.Never[0] != "cp.example" {
		t.Errorf("%+v %v", f, err)
	}
}
