//go:build cgo

package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"pavise.dev/pavise/feeds/snapshot"
)

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	// As snapshot.Save: another file in its place.
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// inForceAfter waits until what is saved is in force.
func (l *live) inForceAfter(save func() string) {
	l.t.Helper()
	l.inForce(save())
}

// TestLastGoodStands: what does not open, or is gone, replaces nothing, and is told.
func TestLastGoodStands(t *testing.T) {
	eachEnvoy(t, func(t *testing.T, path string) {
		l := start(t, path, options{feeds: with(t, deny("first", "Both", "bad.example"))})
		first := l.state().Digest
		if first == "" || l.state().PID != l.pid {
			t.Fatalf("at the start: %+v", l.state())
		}
		good := read(t, l.feeds)
		stands := func(what, why string) {
			t.Helper()
			l.wait(what+" is told", func() bool { return strings.Contains(l.state().Error, why) })
			if s := l.state(); s.Digest != first {
				t.Errorf("%s: in force is %s", what, s.Digest)
			}
			if got := l.get("127.0.0.1", at("127.0.0.1", l.http), "Host: bad.example").reason; got != "feed:first" {
				t.Errorf("%s: %q", what, got)
			}
			if got := l.get("127.0.0.1", at("127.0.0.1", l.http), "Host: a.example").status; got != 200 {
				t.Errorf("%s: %d", what, got)
			}
		}
		write(t, l.feeds, []byte(good[:len(good)-1]))
		stands("cut off", "not a snapshot that was written whole")
		if err := os.Remove(l.feeds); err != nil {
			t.Fatal(err)
		}
		stands("deleted", "no such file")
		if err := os.Mkdir(l.feeds, 0o700); err != nil {
			t.Fatal(err)
		}
		stands("a folder", "not a regular file")
		if err := os.Remove(l.feeds); err != nil {
			t.Fatal(err)
		}
		stands("deleted again", "no such file")
		if err := syscall.Mkfifo(l.feeds, 0o600); err != nil {
			t.Fatal(err)
		}
		stands("a pipe", "not a regular file")
		if err := os.Remove(l.feeds); err != nil {
			t.Fatal(err)
		}
		save(t, l.feeds, deny("a\r\nSet-Cookie: x", "Both", "bad.example"))
		stands("a feed whose name is a header", "visible ASCII")
		write(t, l.feeds, []byte(good))
		l.wait("the first is back", func() bool { s := l.state(); return s.Error == "" && s.Digest == first })
		l.inForceAfter(func() string { return save(t, l.feeds, deny("second", "Both", "other.example")) })
		if got := l.get("127.0.0.1", at("127.0.0.1", l.http), "Host: bad.example").status; got != 200 {
			t.Errorf("the second: %d", got)
		}
		if got := l.get("127.0.0.1", at("127.0.0.1", l.http), "Host: other.example").reason; got != "feed:second" {
			t.Errorf("the second: %q", got)
		}
		l.logged("the one before stays in force")
	})
}

// TestSwapUnderLoad replaces snapshots under requests: each is decided by one of them, none
// fails, and what is replaced is unmapped.
func TestSwapUnderLoad(t *testing.T) {
	l := start(t, anEnvoy(t), options{feeds: with(t, deny("v0", "Both", "bad.example"))})
	var stop atomic.Bool
	var wg sync.WaitGroup
	var asked atomic.Int64
	for i := range 4 {
		wg.Go(func() {
			c := http.Client{Timeout: patience, Transport: &http.Transport{}}
			defer c.CloseIdleConnections()
			for n := 0; !stop.Load(); n++ {
				host, want := "a.example", 200
				if (n+i)%3 == 0 {
					host, want = "bad.example", 403
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", l.http), http.NoBody)
				if err != nil {
					t.Error(err)
					return
				}
				req.Host = host
				resp, err := c.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != want {
					t.Errorf("%s: %d", host, resp.StatusCode)
					return
				}
				asked.Add(1)
			}
		})
	}
	for v := 1; v <= 8; v++ {
		l.inForceAfter(func() string {
			return save(t, l.feeds, deny(fmt.Sprint("v", v), "Both", "bad.example", fmt.Sprintf("x%d.example", v)))
		})
	}
	stop.Store(true)
	wg.Wait()
	if asked.Load() < 100 {
		t.Errorf("only %d requests", asked.Load())
	}
	// Go collects its mapping of the last but one at its own time.
	l.wait("old snapshots are unmapped", func() bool {
		return strings.Count(read(t, fmt.Sprintf("/proc/%d/maps", l.pid)), filepath.Base(l.feeds)+" (deleted)") <= 2
	})
}

// TestMemory: what a sidecar pays for itself; the snapshot is one for all on a machine.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a snapshot of two million entries")
	}
	private := func(l *live) (kib int) {
		for line := range strings.Lines(read(t, fmt.Sprintf("/proc/%d/smaps_rollup", l.pid))) {
			var n int
			if _, err := fmt.Sscanf(line, "Private_Dirty: %d kB", &n); err == nil {
				kib = n
			}
		}
		return kib
	}
	million := func(path string) {
		feeds := []snapshot.Feed{{Name: "f", Action: "Deny", Direction: "Both", Loaded: true}}
		b, err := snapshot.NewBuilder(feeds, snapshot.KeyOf(feeds))
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, 1))
		for i := range uint32(1_000_000) {
			a := netip.AddrFrom4([4]byte{byte(r.IntN(100) + 128), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
			err := b.AddPrefix(0, netip.PrefixFrom(a, 32), i+1)
			if err == nil {
				err = b.AddDomain(0, fmt.Appendf(nil, "n%d.x%d.example", r.Uint32(), i), snapshot.Self|snapshot.Below, i+1)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := snapshot.Save(path, b); err != nil {
			t.Fatal(err)
		}
	}
	without := start(t, anEnvoy(t), options{plain: true})
	base := private(without)
	l := start(t, anEnvoy(t), options{feeds: million})
	for range 50 {
		if got := l.get("127.0.0.1", at("127.0.0.1", l.http), "Host: bad.n1.example").status; got != 200 {
			t.Fatal(got)
		}
	}
	if kib := private(l) - base; kib > 12<<10 {
		t.Errorf("the module has %d KiB of its own, and 12 MiB are its limit", kib)
	} else {
		t.Logf("the module has %d KiB of its own, the rest of this Envoy %d", kib, base)
	}
}
