package envoy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeAdmin serves handler on a unix socket, for what a real Envoy does not do.
func fakeAdmin(t *testing.T, handler http.HandlerFunc) *Admin {
	t.Helper()
	socket := filepath.Join(shortDir(t), "admin.sock")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(server.Close)
	return NewAdmin(socket)
}

func TestAdminOfRealEnvoy(t *testing.T) {
	r := run(t, 1, nil)
	r.base()
	a := NewAdmin(r.cfg.AdminSocket)
	if err := a.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	body, err := a.Get(t.Context(), "/server_info")
	if err != nil || !strings.Contains(string(body), `"state": "LIVE"`) {
		t.Errorf("server_info: %s, %v", body, err)
	}
	if _, err := a.Post(t.Context(), "/healthcheck/fail"); err != nil {
		t.Error(err)
	}
	wantContains(t, a.Ready(t.Context()), "503", "DRAINING")
	_, err = a.Get(t.Context(), "/shield")
	wantContains(t, err, "GET /shield", "404")
	_, err = a.Get(t.Context(), "/healthcheck/ok")
	wantContains(t, err, "405")
}

func TestAdminBounds(t *testing.T) {
	a := fakeAdmin(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ten":
			_, _ = io.WriteString(w, strings.Repeat("x", 10))
		case "/eleven":
			_, _ = io.WriteString(w, strings.Repeat("x", 11))
		case "/cut":
			w.Header().Set("Content-Length", "9")
			_, _ = io.WriteString(w, "x")
		case "/stuck":
			<-r.Context().Done()
		}
	})
	a.limit = 10
	if body, err := a.Get(t.Context(), "/ten"); err != nil || len(body) != 10 {
		t.Errorf("ten bytes: got %d, %v", len(body), err)
	}
	if _, err := a.Get(t.Context(), "/eleven"); !errors.Is(err, ErrAnswerTooLarge) {
		t.Errorf("eleven bytes: %v", err)
	}
	if _, err := a.Get(t.Context(), "/cut"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut body: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := a.Get(ctx, "/stuck"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	_, err := a.Get(t.Context(), "stats")
	wantContains(t, err, "slash")
}
