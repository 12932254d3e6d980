package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"pavise.dev/pavise/internal/envoy"
	"pavise.dev/pavise/test/programs"
)

// limit bounds every wait; a test that meets it has failed.
const limit = 15 * time.Second

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if p, err := build(); err == nil && p.dir != "" {
			_ = os.RemoveAll(p.dir)
		}
		os.Exit(code)
	}))
}

// tested is what is tested, in a folder that any user may read.
type tested struct{ dir, pavise, module, envoy string }

// needed is set by the first test that is not skipped; without it nothing is built.
var needed bool

// build makes the programs once.
var build = sync.OnceValues(func() (p tested, err error) {
	if !needed {
		return p, nil
	}
	if p.dir, err = os.MkdirTemp("", "pavise-e2e-"); err != nil {
		return p, err
	}
	if err := os.Chmod(p.dir, 0o755); err != nil {
		return p, err
	}
	made, err := programs.Build(p.dir)
	if err != nil {
		return p, err
	}
	p.pavise, p.module, p.envoy = made.Pavise, made.Module, filepath.Join(p.dir, "envoy")
	found, err := envoy.Find("")
	if err != nil {
		return p, err
	}
	return p, share(found, p.envoy)
})

// share has a file where others may read it: the cache is in a home that they may not enter.
func share(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// built is the programs, or the test is skipped.
func built(t *testing.T) tested {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces and other users need root")
	}
	for _, tool := range []string{"gcc", "ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: gcc builds the module, ip and nft prepare and read the namespaces", tool)
		}
	}
	needed = true
	p, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// await asks again and again until the answer is true; say is what was last seen.
func await(t testing.TB, what string, holds func() (say string, ok bool)) {
	t.Helper()
	if say, ok := within(limit, holds); !ok {
		t.Fatalf("%s: not within %s; last: %s", what, limit, say)
	}
}

// within is await with a bound of its own.
func within(most time.Duration, holds func() (say string, ok bool)) (string, bool) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(most)
	for {
		say, ok := holds()
		if ok || time.Now().After(end) {
			return say, ok
		}
		<-tick.C
	}
}
