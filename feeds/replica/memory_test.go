package replica

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/feeds/snapshot"
)

// raceDetector is set where this was built with it.
var raceDetector bool

// measured is what a process says that followed and left off.
type measured struct {
	Base, Whole, Delta, After int64 // octets of its own (RssAnon), at most
	Error                     string
	State                     State
}

// measure is the process whose memory is measured: it takes a whole, then says so, and then
// what comes.
func measure() {
	var m measured
	err := func() error {
		loaded := make(chan struct{}, 4)
		c := Config{
			URL: os.Getenv("PAVISE_TEST_URL"), Dir: os.Getenv("PAVISE_TEST_DIR"), Interval: 50 * time.Millisecond, Wait: -1,
			Loaded: func(string, snapshot.Digest) { loaded <- struct{}{} },
		}
		if os.Getenv("PAVISE_TEST_WORKER") != "" {
			c.Worker = worker("work")
			if n, err := strconv.ParseInt(os.Getenv("PAVISE_TEST_WORKER"), 10, 64); err == nil {
				c.WorkerMemory = n
			}
		}
		f, err := New(c)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		peak := make(chan chan int64)
		go watchMemory(peak)
		ask := func() int64 { c := make(chan int64); peak <- c; return <-c }
		m.Base = ask()
		go func() { _ = f.Run(ctx) }()
		<-loaded
		m.Whole = ask()
		fmt.Println("whole")
		<-loaded
		m.Delta = ask()
		time.Sleep(200 * time.Millisecond) // for what is freed after it, of which only the log tells
		_ = ask()
		time.Sleep(20 * time.Millisecond)
		m.After = ask()
		m.State = f.Status()
		return nil
	}()
	if err != nil {
		m.Error = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(m)
	os.Exit(0)
}

// watchMemory answers with the most there was since it was last asked.
func watchMemory(ask chan chan int64) {
	most := int64(0)
	for tick := time.NewTicker(time.Millisecond); ; {
		b, _ := os.ReadFile("/proc/self/status")
		_, rest, _ := strings.Cut(string(b), "RssAnon:")
		var kib int64
		_, _ = fmt.Sscan(rest, &kib)
		most = max(most, kib<<10)
		select {
		case c := <-ask:
			c <- most
			most = 0
		case <-tick.C:
		}
	}
}

// TestMemory: what a follower holds while it takes a whole and a delta does not depend on
// the size of the snapshot, if a worker does the work; the worker keeps to its bound, and
// what takes more is fetched whole (a delta bomb).
func TestMemory(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("makes a large snapshot, and the race detector takes some times the memory")
	}
	const mib = 1 << 20
	for _, c := range []struct {
		name   string
		worker string
		first  content
		next   content
		most   int64 // of the follower
		deltas uint64
	}{
		{"here", "", content{n: 300_000}, content{from: 3000, n: 300_000}, 64 * mib, 1},
		{"worker", "default", content{n: 300_000}, content{from: 3000, n: 300_000}, 24 * mib, 1},
		// A sequence of addresses costs a delta next to nothing, and whoever applies it as much as
		// any other.
		{"bomb", strconv.Itoa(32 * mib), content{n: 10}, content{n: -1}, 24 * mib, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if n, err := strconv.Atoi(os.Getenv("PAVISE_TEST_SIZE")); err == nil && c.next.n > 0 {
				c.first.n, c.next.n, c.next.from, c.most = n, n, n/100, 1<<40
			}
			x := newLab(t)
			first := x.publish(c.first)
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), self)
			cmd.Env = append(os.Environ(), helper+"=measure", "PAVISE_TEST_URL="+x.url, "PAVISE_TEST_DIR="+x.c.Dir, "PAVISE_TEST_WORKER="+c.worker)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var word string
			if _, err := fmt.Fscanln(out, &word); err != nil || word != "whole" {
				t.Fatal(word, err)
			}
			var next snapshot.Info
			if c.next.n < 0 {
				next = x.bomb()
			} else {
				next = x.publish(c.next)
			}
			var m measured
			if err := json.NewDecoder(out).Decode(&m); err != nil || m.Error != "" {
				t.Fatal(m.Error, err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			delta := int64(0)
			if d := offered(t, x.store).deltas; len(d) > 0 {
				delta = d[0].size
			}
			mb := func(n int64) string { return fmt.Sprintf("%.2f MB", float64(n)/1e6) }
			t.Logf("snapshots of %s and %s, a delta of %s; of its own: %s at the start, %s for the whole, %s for the delta, %s after it",
				mb(first.Size), mb(next.Size), mb(delta), mb(m.Base), mb(m.Whole), mb(m.Delta), mb(m.After))
			if m.Whole > c.most || m.Delta > c.most || m.After > 24*mib {
				t.Errorf("more than %s", mb(c.most))
			}
			if m.State.Deltas != c.deltas || m.State.Wholes != 2-c.deltas || m.State.Digest != next.Digest.String() {
				t.Errorf("%+v", m.State)
			}
			if c.name == "bomb" && m.State.Failed[Worker] != 1 {
				t.Errorf("%+v", m.State)
			}
		})
	}
}

// bomb publishes a snapshot whose delta from a small one is tiny and takes much memory.
func (x *lab) bomb() snapshot.Info {
	x.t.Helper()
	path := x.files + "/bomb"
	b, err := snapshot.NewBuilder([]snapshot.Feed{{Name: "bad", Action: "Deny", Direction: "Both"}}, snapshot.Key{1})
	if err != nil {
		x.t.Fatal(err)
	}
	for i := range uint32(2_500_000) {
		a := netip.AddrFrom4([4]byte{64 + byte(i>>24), byte(i >> 16), byte(i >> 8), byte(i)})
		if err := b.AddPrefix(0, netip.PrefixFrom(a, 32), i+1); err != nil {
			x.t.Fatal(err)
		}
	}
	info, err := snapshot.Save(path, b)
	if err == nil {
		err = x.store.Publish(x.t.Context(), path)
	}
	if err != nil {
		x.t.Fatal(err)
	}
	return info
}
