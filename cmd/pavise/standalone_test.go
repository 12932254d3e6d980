package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/envoytest"
)

// process is a standalone Pavise on a folder of its own.
type process struct {
	t       *testing.T
	config  string
	runDir  string
	addr    netip.Addr
	s       *standalone
	journal *journal
	stop    func() error
}

const testWorkload = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop}
spec:
  addresses: [127.0.0.1]
  inbound: [{name: http, address: ADDR, port: 8080, upstream: "UPSTREAM"}]
---
`

func allow(path string) string {
	return fmt.Sprintf(`
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p, namespace: shop}
spec:
  ingress: [{name: path, action: Allow, http: [{paths: [{exact: %q}]}]}]
`, path)
}

func startProcess(t *testing.T) *process {
	t.Helper()
	// Not t.TempDir, whose name may be too long for a unix socket.
	dir, err := os.MkdirTemp("", "pavise-test-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, config: filepath.Join(dir, "config"), runDir: filepath.Join(dir, "run"), addr: envoytest.Loopback(), journal: newJournal()}
	if err := os.Mkdir(p.config, 0o700); err != nil {
		t.Fatal(err)
	}
	p.save("workload.yaml", strings.NewReplacer("ADDR", p.addr.String(), "UPSTREAM", envoytest.Upstream(t).String()).Replace(testWorkload))
	p.save("policy.yaml", allow("/one"))
	ctx, cancel := context.WithCancel(context.Background())
	p.s, err = newStandalone(ctx, standaloneOptions{
		config: p.config, runDir: p.runDir, state: filepath.Join(dir, "state"), concurrency: 1, decided: p.journal.add,
		log: slog.New(slog.NewTextHandler(logTo{t}, nil)),
	})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.s.run(ctx) }()
	p.stop = sync.OnceValue(func() error {
		cancel()
		err := <-done
		return errors.Join(err, os.RemoveAll(dir))
	})
	t.Cleanup(func() { _ = p.stop() })
	wait, stop := context.WithTimeout(ctx, envoytest.Patience)
	defer stop()
	if err := p.s.ready(wait); err != nil {
		t.Fatal(err)
	}
	return p
}

type logTo struct{ t *testing.T }

func (l logTo) Write(b []byte) (int, error) {
	l.t.Logf("%s", b)
	return len(b), nil
}

func (p *process) save(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.config, name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) get(path string) int {
	p.t.Helper()
	c := envoytest.NewClient(p.t, netip.MustParseAddr("127.0.0.1"), netip.AddrPortFrom(p.addr, 8080))
	defer c.Close()
	return c.Send("GET", "GET "+path+" HTTP/1.1\r\nHost: shop\r\n\r\n").Status
}

// eventually asks until the answer is yes.
func (p *process) eventually(what string, yes func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(envoytest.Patience); !yes(); {
		if time.Now().After(deadline) {
			p.t.Fatalf("never: %s", what)
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
}

func (p *process) status() standaloneStatus {
	p.t.Helper()
	var s standaloneStatus
	if err := admin.NewClient(adminSocket(p.runDir)).Status(p.t.Context(), &s); err != nil {
		p.t.Fatal(err)
	}
	return s
}

func TestStandalone(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(), goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreAnyFunction("net/http.(*Server).Serve"))
	p := startProcess(t)
	if got := p.get("/one"); got != 200 {
		t.Fatalf("an allowed request got %d", got)
	}
	if got := p.get("/two"); got != 403 {
		t.Fatalf("a denied request got %d", got)
	}

	t.Run("a saved file is in force", func(t *testing.T) {
		p.save("policy.yaml", allow("/two"))
		p.eventually("/two is allowed", func() bool { return p.get("/two") == 200 })
		if got := p.get("/one"); got != 403 {
			t.Errorf("the old policy still allows: %d", got)
		}
	})

	t.Run("a broken file keeps the last good and says so", func(t *testing.T) {
		p.save("policy.yaml", "kind: [")
		p.eventually("status says broken", func() bool { return p.status().Broken })
		s := p.status()
		if len(s.Problems) != 1 || !strings.HasSuffix(s.Problems[0].File, "policy.yaml") || !s.InForce {
			t.Errorf("status: %+v", s)
		}
		if got := p.get("/two"); got != 200 {
			t.Errorf("the last good policy is gone: %d", got)
		}
		p.save("policy.yaml", allow("/three"))
		p.eventually("/three is allowed", func() bool { return p.get("/three") == 200 })
		if p.status().Broken {
			t.Error("status still says broken")
		}
	})

	t.Run("an Envoy that dies comes back with the policy", func(t *testing.T) {
		before := p.status()
		if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		p.eventually("another Envoy is in force", func() bool {
			s := p.status()
			return s.PID != 0 && s.PID != before.PID && s.InForce
		})
		wait, stop := context.WithTimeout(t.Context(), envoytest.Patience)
		defer stop()
		if err := waitListening(wait, netip.AddrPortFrom(p.addr, 8080).String()); err != nil {
			t.Fatal(err)
		}
		if a, b := p.get("/three"), p.get("/two"); a != 200 || b != 403 {
			t.Errorf("after a restart: allowed %d, denied %d", a, b)
		}
	})

	t.Run("it counts, and knows whom flows are of", func(t *testing.T) {
		w := httptest.NewRecorder()
		p.s.Metrics().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
		for _, want := range []string{"\npavise_envoy_up 1\n", "\npavise_envoy_restarts_total 1\n", "\npavise_policies_in_force 1\n", "\npavise_flows "} {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("there is no %q in\n%s", want, w.Body)
			}
		}
		for f := range p.s.Flows().All(flows.Filter{Verdict: policy.Denied}) {
			if c := f.WorkloadContext; c == nil || c.Owner != "Workload/web" {
				t.Errorf("%+v of %+v", c, f.Key)
			}
		}
	})

	t.Run("its Envoy is its sidecar", func(t *testing.T) {
		list := p.s.Sidecars()
		if len(list) != 1 {
			t.Fatalf("sidecars: %+v", list)
		}
		s := list[0]
		if s.Node != node || s.Workload != "shop/web" || s.State != "in-force" || s.Wanted == "" || s.Acked != s.Wanted || s.Since.IsZero() || s.InForceAt.IsZero() {
			t.Errorf("sidecar: %+v", s)
		}
	})

	t.Run("explain asks the running process", func(t *testing.T) {
		e, err := admin.NewClient(adminSocket(p.runDir)).Explain(t.Context(), admin.Query{URL: "http://shop:8080/two"})
		if err != nil {
			t.Fatal(err)
		}
		if e.ReasonID != "default-deny:shop/p" || e.Verdict != policy.Denied || len(e.Trace) != 1 {
			t.Errorf("explanation: %+v", e)
		}
	})

	t.Run("decisions are reported", func(t *testing.T) {
		wait, stop := context.WithTimeout(t.Context(), envoytest.Patience)
		defer stop()
		d, err := p.journal.await(wait, func(d decisions.Record) bool { return d.Path == "/two" && d.Verdict == policy.Denied })
		if err != nil || d.Listener != "shop/web/http" || d.Status != 403 || d.Method != "GET" || d.Host != "shop" {
			t.Errorf("decision: %+v, %v", d, err)
		}
	})

	t.Run("it stops when asked to", func(t *testing.T) {
		pid := p.status().PID
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("Envoy %d is still there: %v", pid, err)
		}
	})
}

// TestBrokenAtStart: with nothing good to keep, it must not start.
func TestBrokenAtStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte("kind: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := newStandalone(t.Context(), standaloneOptions{config: dir, runDir: filepath.Join(t.TempDir(), "run"), log: slog.New(slog.DiscardHandler)})
	var e *exitError
	if !errors.As(err, &e) || e.code != exitProblem {
		t.Errorf("error %v", err)
	}
}

// TestRunDirOfSomebodyElse: a directory that others can write to may hold a socket of
// theirs.
func TestRunDirOfSomebodyElse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if err := privateDir("run-dir", dir); err != nil {
		t.Errorf("a new one: %v", err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := privateDir("run-dir", dir); err == nil || !strings.Contains(err.Error(), "mode 0700") {
		t.Errorf("one that all may write to: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if err := privateDir("run-dir", link); err == nil {
		t.Error("a link is taken")
	}
}
