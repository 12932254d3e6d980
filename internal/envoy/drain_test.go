package envoy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slowUpstream tells arrived of each request and answers when release is closed.
func slowUpstream(t *testing.T) (port int, arrived, release chan struct{}) {
	t.Helper()
	arrived, release = make(chan struct{}, 1), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		fmt.Fprint(w, "worth the wait")
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().(*net.TCPAddr).Port, arrived, release
}

func TestDrainLetsARequestFinish(t *testing.T) {
	port, arrived, release := slowUpstream(t)
	r := run(t, port, func(cfg *Config) { cfg.DrainTime = patience })
	base := r.base()

	type answer struct {
		body string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		body, err := r.get(base + "/upstream")
		answered <- answer{body, err}
	}()
	<-arrived

	r.cancel()
	eventually(t, "envoy drains", func() error {
		err := r.admin.Ready(t.Context())
		if err == nil || !strings.Contains(err.Error(), "DRAINING") {
			return fmt.Errorf("ready: %w", err)
		}
		return nil
	})
	if st := r.State(); !st.Draining || st.PID == 0 {
		t.Errorf("state while draining: %+v", st)
	}

	close(release)
	if got := <-answered; got.err != nil || got.body != "worth the wait" {
		t.Errorf("got %q, %v", got.body, got.err)
	}
	left := time.Now()
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	// Nobody was left, so the rest of DrainTime must not be waited for.
	if took := time.Since(left); took > patience/2 {
		t.Errorf("the end took %s after the last request", took)
	}
}

func TestDrainIsBounded(t *testing.T) {
	port, arrived, release := slowUpstream(t)
	defer close(release)
	r := run(t, port, func(cfg *Config) { cfg.DrainTime = 300 * time.Millisecond })
	base := r.base()
	failed := make(chan error, 1)
	go func() {
		_, err := r.get(base + "/upstream")
		failed <- err
	}()
	<-arrived

	asked := time.Now()
	r.cancel()
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(asked); took < 300*time.Millisecond || took > 10*time.Second {
		t.Errorf("took %s, DrainTime is 300ms", took)
	}
	if err := <-failed; err == nil {
		t.Error("a request that never ended had an answer")
	}
}

// An answer given while draining sends its client away.
func TestDrainSendsClientsAway(t *testing.T) {
	r := run(t, 1, func(cfg *Config) { cfg.DrainTime = patience })
	base := r.base()
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	ask := func() *http.Response {
		t.Helper()
		if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if ask().Close {
		t.Fatal("sent away before the drain")
	}
	r.cancel()
	eventually(t, "the drain has begun", func() error {
		if r.admin.Ready(t.Context()) == nil {
			return errors.New("still ready")
		}
		return nil
	})
	// /healthcheck/fail is what makes Envoy draining, /drain_listeners comes
	// right after it: either sends us away.
	if !ask().Close {
		t.Error("not sent away while draining")
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.wait(); err != nil { // nobody is left
		t.Fatal(err)
	}
}

func TestDrainIsSkippedWithoutAdmin(t *testing.T) {
	r := run(t, 1, func(cfg *Config) { cfg.DrainTime = time.Hour })
	r.base()
	pid := r.State().PID
	// As in an Envoy that hangs before it opens its admin endpoint.
	if err := syscall.Unlink(r.cfg.AdminSocket); err != nil {
		t.Fatal(err)
	}
	r.cancel()
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	if err := gone(pid); err != nil {
		t.Error(err)
	}
}

func TestCountConnections(t *testing.T) {
	for _, row := range []struct {
		stats string
		want  int
		err   string
	}{
		{"", 0, ""},
		{"listener.0.0.0.0_80.downstream_cx_active: 2\nlistener.0.0.0.0_80.worker_0.downstream_cx_active: 2\n", 2, ""},
		{"listener.admin.downstream_cx_active: 1\nlistener.admin.main_thread.downstream_cx_active: 1\n", 0, ""},
		{"listener.[__1]_80.downstream_cx_active: 3\nlistener.a.downstream_cx_active: 4", 7, ""},
		{"listener.a.downstream_cx_active: many", -1, "not a number"},
		{strings.Repeat("x", 1<<17), -1, "too long"},
	} {
		got, err := countConnections([]byte(row.stats))
		if got != row.want {
			t.Errorf("%.60q: got %d, want %d", row.stats, got, row.want)
		}
		if row.err != "" {
			wantContains(t, err, row.err)
		} else if err != nil {
			t.Errorf("%.60q: %v", row.stats, err)
		}
	}
}
