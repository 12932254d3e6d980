package replica

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"pavise.dev/pavise/feeds/fetch"
	"pavise.dev/pavise/feeds/snapshot"
)

// helper names what a copy of the test binary does instead of testing.
const helper = "PAVISE_REPLICA_TEST_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helper) {
	case "":
		goleak.VerifyTestMain(m)
	case "work":
		os.Exit(Work(os.Stdin, os.Stdout))
	case "crash":
		panic("as a reader would that a file has broken")
	case "follow":
		followForEver()
	case "measure":
		measure()
	}
}

// worker is the command line of a worker, which is this binary.
func worker(task string) []string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return []string{"/usr/bin/env", helper + "=" + task, self}
}

// content is what a snapshot lists: n addresses and names, of which those below from are
// gone; and lists, if any.
type content struct {
	from, n int
	lists   []string
	action  string
	key     byte
}

func build(t testing.TB, path string, c content) snapshot.Info {
	t.Helper()
	feed := snapshot.Feed{Name: "bad", Action: "Deny", Direction: "Both", Loaded: true}
	if c.action != "" {
		feed.Action = c.action
	}
	b, err := snapshot.NewBuilder([]snapshot.Feed{feed}, snapshot.Key{c.key + 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := c.from; i < c.from+c.n; i++ {
		a := netip.AddrFrom4([4]byte{byte(64 + i>>22&31), byte(i >> 14), byte(i >> 6), byte(i << 2)})
		err = errors.Join(err,
			b.AddPrefix(0, netip.PrefixFrom(a, 32), uint32(i+1)),
			b.AddDomain(0, fmt.Appendf(nil, "host%x.bad%d.example", i*2654435761, i%97), snapshot.Self, uint32(i+1)))
	}
	for _, what := range c.lists {
		if a, perr := netip.ParseAddr(what); perr == nil {
			err = errors.Join(err, b.AddPrefix(0, netip.PrefixFrom(a, a.BitLen()), 7))
		} else {
			err = errors.Join(err, b.AddDomain(0, []byte(what), snapshot.Self|snapshot.Below, 7))
		}
	}
	info, serr := snapshot.Save(path, b)
	if err := errors.Join(err, serr); err != nil {
		t.Fatal(err)
	}
	return info
}

// lab is a store with a server, and a follower whose rounds are taken one by one.
type lab struct {
	t       *testing.T
	store   *Store
	handler *Handler
	url     string
	asked   atomic.Int64 // requests of any kind
	lie     atomic.Pointer[http.HandlerFunc]
	files   string // where snapshots are built
	c       Config
	f       *Follower
	lock    *os.File
	loaded  []string
}

func newLab(t *testing.T, options ...func(*Config)) *lab {
	t.Helper()
	x := &lab{t: t, files: t.TempDir()}
	var err error
	if x.store, err = OpenStore(StoreConfig{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	x.handler = NewHandler(HandlerConfig{Store: x.store})
	x.url = serve(t, "tcp", Server(x.handler, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x.asked.Add(1)
		if lie := x.lie.Load(); lie != nil {
			(*lie)(w, r)
			return
		}
		x.handler.ServeHTTP(w, r)
	})))
	x.c = Config{
		URL: x.url, Dir: filepath.Join(t.TempDir(), "feeds"), Wait: -1, Patience: 5 * time.Second,
		Interval: 20 * time.Millisecond, Backoff: fetch.Backoff{Min: time.Millisecond, Max: 20 * time.Millisecond},
		Loaded: func(path string, d snapshot.Digest) {
			if got := digest(t, path); got != d {
				t.Errorf("%s is loaded, and %s is there", d, got)
			}
			x.loaded = append(x.loaded, d.String())
		},
	}
	for _, o := range options {
		o(&x.c)
	}
	t.Cleanup(func() { x.stop(); x.store.Close() })
	return x
}

// serve returns the URL of a server that ends with the test.
func serve(t *testing.T, network string, s *http.Server) string {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error("shut down:", err)
		}
		<-done
	})
	if network == "unix" {
		return "unix://" + addr
	}
	return "http://" + l.Addr().String()
}

// publish makes and publishes a snapshot.
func (x *lab) publish(c content) snapshot.Info {
	x.t.Helper()
	path := filepath.Join(x.files, "snapshot")
	info := build(x.t, path, c)
	if err := x.store.Publish(x.t.Context(), path); err != nil {
		x.t.Fatal(err)
	}
	return info
}

// start makes a new follower, as after a restart.
func (x *lab) start() {
	x.t.Helper()
	x.stop()
	var err error
	if x.f, err = New(x.c); err != nil {
		x.t.Fatal(err)
	}
	if x.lock, err = x.f.enter(); err != nil {
		x.t.Fatal(err)
	}
	x.f.restore(x.t.Context())
}

func (x *lab) stop() {
	if x.f != nil {
		x.lock.Close()
		x.f.remote.close()
	}
}

// round takes one.
func (x *lab) round() error {
	x.t.Helper()
	if x.f == nil {
		x.start()
	}
	err := x.f.round(x.t.Context())
	x.f.report(err)
	return err
}

// good takes a round after which info is in force.
func (x *lab) good(info snapshot.Info) {
	x.t.Helper()
	if err := x.round(); err != nil {
		x.t.Fatal(err)
	}
	x.holds(info)
}

// holds checks that a snapshot is in force, and that nothing else is in the folder.
func (x *lab) holds(info snapshot.Info) {
	x.t.Helper()
	path := filepath.Join(x.c.Dir, FileName)
	if got := digest(x.t, path); got != info.Digest {
		x.t.Fatalf("%s is there, not %s", got, info.Digest)
	}
	if s := x.f.Status(); s.Digest != info.Digest.String() || s.Size != info.Size || s.Since.IsZero() {
		x.t.Fatalf("%+v", s)
	}
}

// alone checks that nothing is left beside the snapshot and the lock.
func (x *lab) alone() {
	x.t.Helper()
	list, err := os.ReadDir(x.c.Dir)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, e := range list {
		if e.Name() != FileName && e.Name() != lockName {
			x.t.Errorf("left: %s", e.Name())
		}
	}
}

// lies answers in the place of the server; nil ends that.
func (x *lab) lies(h http.HandlerFunc) {
	if h == nil {
		x.lie.Store(nil)
		return
	}
	x.lie.Store(&h)
}

// digest proves a file and returns what it is.
func digest(t testing.TB, path string) snapshot.Digest {
	t.Helper()
	s, err := snapshot.Open(path)
	if err == nil {
		err = s.VerifyDigest()
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.Digest()
}

// eventually waits for a condition of other goroutines.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("it did not come: " + what)
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
}
