package extauthz

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pavise.dev/pavise/internal/envoy"
)

// envoys are the binaries of all supported versions that are here, or the one that is named.
func envoys(t *testing.T) []string {
	t.Helper()
	if named := os.Getenv(envoy.PathVariable); named != "" {
		return []string{named}
	}
	cache, err := envoy.CacheDir()
	must(t, err)
	list, err := filepath.Glob(filepath.Join(cache, "envoy-*", "envoy"))
	must(t, err)
	if len(list) == 0 {
		t.Fatal("there is no Envoy: run make envoy")
	}
	return list
}

// sick answers as no server of ours does.
type sick struct {
	authv3.UnimplementedAuthorizationServer
	how atomic.Value // of string
}

func (s *sick) Check(ctx context.Context, _ *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	code := codes.Unavailable
	switch s.how.Load() {
	case "hangs":
		<-ctx.Done()
		return nil, ctx.Err()
	case "call fails":
		return nil, status.Error(code, "sick")
	case "says denied":
		code = codes.PermissionDenied
	}
	return &authv3.CheckResponse{Status: &statuspb.Status{Code: int32(code)}}, nil
}

// TestFailModes holds the table of docs/recipes/fail-modes.md, for each Envoy: what becomes
// of a request and of a connection while the server is away or sick.
func TestFailModes(t *testing.T) {
	for _, path := range envoys(t) {
		for _, open := range []string{"true", "false"} {
			t.Run(filepath.Base(filepath.Dir(path))+"/failure_mode_allow="+open, func(t *testing.T) {
				socket := filepath.Join(shortDir(t), "authz.sock")
				l, err := net.Listen("unix", socket)
				must(t, err)
				g, server := grpc.NewServer(), &sick{}
				authv3.RegisterAuthorizationServer(g, server)
				done := make(chan struct{})
				go func() {
					_ = g.Serve(l)
					close(done)
				}()
				t.Cleanup(func() {
					g.Stop()
					<-done
				})
				places := map[string]string{"PAVISE_ADDRESS": pipe(socket), "FAIL_OPEN": open, "TIMEOUT": "0.1s"}
				places["UPSTREAM_PORT"] = web(t)
				http := start(t, path, "direct.yaml", places)
				places["UPSTREAM_PORT"] = echo(t)
				tcp := start(t, path, "direct.yaml", places)
				for _, how := range []string{"says denied", "says unavailable", "call fails", "hangs", "away"} {
					server.how.Store(how)
					if how == "away" {
						g.Stop()
						<-done
					}
					request, connection := 403, "closed"
					// An answer that says anything but OK is a denial (Envoy issue 34705).
					if open == "true" && how != "says denied" && how != "says unavailable" {
						request, connection = 200, "open"
					}
					if got := http.get("127.0.0.1", "a.example").status; got != request {
						t.Errorf("%s: a request gets %d, want %d", how, got, request)
					}
					if got := tcp.connect("127.0.0.1"); got != connection {
						t.Errorf("%s: a connection is %s, want %s", how, got, connection)
					}
				}
			})
		}
	}
}
