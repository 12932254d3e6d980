package replica

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/feeds/fetch"
	"pavise.dev/pavise/feeds/snapshot"
)

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

// followForEver is the process that is killed: it follows with no pause.
func followForEver() {
	c := Config{
		URL: os.Getenv("PAVISE_TEST_URL"), Dir: os.Getenv("PAVISE_TEST_DIR"),
		Interval: time.Millisecond, Jitter: time.Millisecond, Wait: -1,
		Backoff: fetch.Backoff{Min: time.Millisecond, Max: 2 * time.Millisecond},
		Loaded:  func(string, snapshot.Digest) { fmt.Print("!") },
	}
	if os.Getenv("PAVISE_TEST_WORKER") != "" {
		c.Worker = worker("work")
	}
	f, err := New(c)
	if err == nil {
		err = f.Run(context.Background())
	}
	fmt.Println(err)
	os.Exit(1)
}

// TestKilledWhileFollowing kills a follower of two versions in turn at random moments:
// what is left is one of the two, whole, and the next takes up from it.
func TestKilledWhileFollowing(t *testing.T) {
	for name, kills := range map[string]int{"here": 30, "worker": 10} {
		if testing.Short() {
			kills = 3
		}
		t.Run(name, func(t *testing.T) {
			x := newLab(t)
			ctx, cancel := contextOf(t)
			publishing := make(chan struct{})
			versions := map[snapshot.Digest]bool{}
			var paths [2]string
			for i := range paths {
				paths[i] = filepath.Join(x.files, fmt.Sprint(i))
				// One version in four is far enough from the other for the whole.
				versions[build(t, paths[i], content{from: i * 40, n: 4000}).Digest] = true
			}
			if err := x.store.Publish(ctx, paths[0]); err != nil {
				t.Fatal(err)
			}
			go func() {
				defer close(publishing)
				for i := 1; ctx.Err() == nil; i++ {
					if err := x.store.Publish(ctx, paths[i%2]); err != nil {
						t.Error(err)
					}
				}
			}()
			defer func() { cancel(); <-publishing }()
			left, seen := 0, map[snapshot.Digest]int{}
			for i := range kills {
				if i%4 == 3 {
					_ = os.Remove(filepath.Join(x.c.Dir, FileName))
				}
				self, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				cmd := exec.CommandContext(t.Context(), self)
				cmd.Env = append(os.Environ(), helper+"=follow", "PAVISE_TEST_URL="+x.url, "PAVISE_TEST_DIR="+x.c.Dir)
				if name == "worker" {
					cmd.Env = append(cmd.Env, "PAVISE_TEST_WORKER=1")
				}
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if b := make([]byte, 1); true { // it has something in force
					if _, err := io.ReadFull(out, b); err != nil || b[0] != '!' {
						rest, _ := io.ReadAll(out)
						t.Fatalf("%s%s %v", b, rest, err)
					}
				}
				time.Sleep(time.Duration(rand.IntN(60_000)) * time.Microsecond) // the moment to kill it
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				d := digest(t, filepath.Join(x.c.Dir, FileName))
				if !versions[d] {
					t.Fatalf("after kill %d: %s is neither", i, d)
				}
				seen[d]++
				if list, _ := filepath.Glob(filepath.Join(x.c.Dir, ".*")); len(list) > 0 {
					left++
				}
			}
			t.Logf("%v; %d of %d kills in the middle of a file", seen, left, kills)
			// Whoever comes next is rid of what they left.
			eventually(t, "it follows again", func() bool { return x.round() == nil && x.f.have.digest == x.store.current.Load().digest })
			list, err := os.ReadDir(x.c.Dir)
			for _, e := range list {
				if strings.HasPrefix(e.Name(), ".pavise-") {
					t.Error("left:", e.Name(), err)
				}
			}
		})
	}
}
