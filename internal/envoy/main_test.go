package envoy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is far above what anything here takes; it bounds a failing test.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if dir := os.Getenv(superviseVariable); dir != "" {
		superviseUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

// eventually polls until check has no error; after patience that error fails t.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still not after %s: %v", what, patience, err)
		}
		time.Sleep(5 * time.Millisecond) // the step of the poll, not a wait for anything
	}
}

func envoyPath(t *testing.T) string {
	t.Helper()
	path, err := Find("")
	if err != nil {
		t.Fatalf("these tests drive a real Envoy; run make envoy: %v", err)
	}
	return path
}

// shortDir is a folder whose name leaves room for a socket's, which t.TempDir,
// with the name of the test in it, need not.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pavise") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// bootstrap has one listener on a port of the kernel's choice: "/" is answered
// by Envoy, "/upstream" by whoever listens at the port upstream.
func bootstrap(adminSocket string, upstream int) []byte {
	return fmt.Appendf(nil, `{
"admin": {"address": {"pipe": {"path": %q}}},
"static_resources": {
 "listeners": [{
  "name": "web",
  "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
  "filter_chains": [{"filters": [{
   "name": "http",
   "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "stat_prefix": "web",
    "http_filters": [{"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
     {"match": {"path": "/upstream"}, "route": {"cluster": "upstream", "timeout": "0s"}},
     {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "hello"}}}
    ]}]}
   }}]}]}],
 "clusters": [{
  "name": "upstream", "type": "STATIC",
  "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [
   {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": %d}}}}]}]}}]
}}`, adminSocket, upstream)
}

// running is a supervisor at work in a test.
type running struct {
	*Supervisor
	t      *testing.T
	cancel context.CancelFunc
	result chan error
	client *http.Client
}

// run supervises a real Envoy with test-sized patience; change may alter Config.
func run(t *testing.T, upstream int, change func(*Config)) *running {
	t.Helper()
	dir := shortDir(t)
	cfg := Config{
		Path:        envoyPath(t),
		Bootstrap:   bootstrap(filepath.Join(dir, "admin.sock"), upstream),
		RunDir:      dir,
		AdminSocket: filepath.Join(dir, "admin.sock"),
		Concurrency: 1,
		Backoff:     Backoff{Min: time.Millisecond, Max: 50 * time.Millisecond},
		Logger:      slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	s, err := NewSupervisor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{
		Supervisor: s, t: t, cancel: cancel, result: make(chan error, 1),
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience},
	}
	go func() { r.result <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := r.wait(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if pid := s.State().PID; pid != 0 {
			t.Errorf("State still has process %d after Run", pid)
		}
	})
	return r
}

// wait returns what Run returned; it may be called more than once.
func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.result:
		r.result <- err
		return err
	case <-time.After(patience):
		r.t.Fatalf("Run did not return within %s", patience)
		return nil
	}
}

// base waits until Envoy serves and returns http://HOST:PORT of its listener.
func (r *running) base() string {
	r.t.Helper()
	var base string
	eventually(r.t, "envoy is ready", func() error {
		if err := r.admin.Ready(context.Background()); err != nil {
			return err
		}
		body, err := r.admin.Get(context.Background(), "/listeners?format=json")
		if err != nil {
			return err
		}
		var listeners struct {
			Statuses []struct {
				Local struct {
					Socket struct {
						Address string `json:"address"`
						Port    int    `json:"port_value"`
					} `json:"socket_address"`
				} `json:"local_address"`
			} `json:"listener_statuses"`
		}
		if err := json.Unmarshal(body, &listeners); err != nil {
			return err
		}
		if len(listeners.Statuses) != 1 || listeners.Statuses[0].Local.Socket.Port == 0 {
			return fmt.Errorf("listeners: %s", body)
		}
		at := listeners.Statuses[0].Local.Socket
		base = fmt.Sprintf("http://%s:%d", at.Address, at.Port)
		return nil
	})
	return base
}

func (r *running) get(url string) (string, error) {
	resp, err := r.client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

// serves fails the test unless Envoy answers a request.
func (r *running) serves() {
	r.t.Helper()
	if body, err := r.get(r.base() + "/"); err != nil || body != "hello" {
		r.t.Fatalf("got %q, %v; want hello", body, err)
	}
}

// gone is nil when no process has the id pid.
func gone(pid int) error {
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("process %d is there; a signal to it: %w", pid, err)
	}
	return nil
}

func wantContains(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", words)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q lacks %q", err, word)
		}
	}
}
