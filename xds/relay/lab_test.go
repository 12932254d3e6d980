package relay_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"go.uber.org/goleak"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/envoy"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
	"pavise.dev/pavise/xds/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	node = "shop/app"
	// patience bounds every wait: long enough for a busy machine.
	patience = 60 * time.Second
)

// shortDir is a folder whose name, other than that of t.TempDir, is short enough for
// sockets in it.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pavise-relay-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// background runs something until the test ends, or until stop is called.
func background(t testing.TB, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// until asks again and again until something is true.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// logs keeps what was logged, and shows it where the test fails.
type logs struct {
	t  testing.TB
	mu sync.Mutex
	b  bytes.Buffer
}

func newLogs(t testing.TB) *logs {
	l := &logs{t: t}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.text())
		}
	})
	return l
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// relayed is a relay of a test.
type relayed struct {
	*relay.Relay
	config relay.Config
	log    *logs
	stop   func()
}

// newRelay makes a relay in a folder, with short waits; change may be nil.
func newRelay(t testing.TB, dir string, change func(*relay.Config)) *relayed {
	t.Helper()
	r := &relayed{log: newLogs(t)}
	r.config = relay.Config{
		Target: "unix:" + filepath.Join(dir, "plane.sock"), Node: node,
		Socket: filepath.Join(dir, "relay.sock"), Dir: filepath.Join(dir, "state"),
		FallbackAfter: time.Second, MinBackoff: 20 * time.Millisecond, MaxBackoff: 200 * time.Millisecond,
		Logger: r.log.logger(),
	}
	if change != nil {
		change(&r.config)
	}
	var err error
	if r.Relay, err = relay.New(r.config); err != nil {
		t.Fatal(err)
	}
	r.stop = background(t, r.Run)
	return r
}

// await waits for a status that fits.
func (r *relayed) await(t testing.TB, what string, ok func(relay.Status) bool) relay.Status {
	t.Helper()
	late := time.After(patience)
	for {
		changed := r.Changed()
		st := r.Status()
		if ok(st) {
			return st
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("waited in vain until %s; the status is %+v", what, st)
		}
	}
}

func inForce(st relay.Status) bool { return st.InForce }

// plane is a control plane behind TLS, or behind the unix socket of its server only. It
// can be ended and begun again at the same place.
type plane struct {
	*xds.Server
	stop func()
}

// startPlane begins a control plane that gives one Envoy its resources. With TLS, addr is
// where it listens.
func startPlane(t testing.TB, dir string, r *xds.Resources, l net.Listener) *plane {
	t.Helper()
	socket := filepath.Join(dir, "plane.sock")
	p := &plane{Server: xds.NewServer(xds.ServerConfig{Socket: socket, Logger: newLogs(t).logger()})}
	if r != nil {
		if err := p.Set(t.Context(), node, r); err != nil {
			t.Fatal(err)
		}
	}
	stopServer := background(t, p.Run)
	p.stop = stopServer
	if l != nil {
		stopProxy := pass(t, l, socket)
		p.stop = func() { stopProxy(); stopServer() }
	}
	until(t, "the control plane listens", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return p
}

// pass hands connections on to a unix socket, until it is stopped; it then cuts them.
func pass(t testing.TB, l net.Listener, socket string) (stop func()) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	closed := false
	keep := func(c net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		if closed {
			_ = c.Close()
			return false
		}
		open[c] = true
		return true
	}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if !keep(c) {
				continue
			}
			wg.Go(func() {
				defer c.Close()
				u, err := net.Dial("unix", socket)
				if err != nil || !keep(u) {
					return
				}
				defer u.Close()
				wg.Go(func() { _, _ = io.Copy(u, c); _ = u.Close() })
				_, _ = io.Copy(c, u)
			})
		}
	})
	stop = sync.OnceFunc(func() {
		_ = l.Close()
		mu.Lock()
		closed = true
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	t.Cleanup(stop)
	return stop
}

var addrs atomic.Uint32

// loopback is a loopback address of this test alone.
func loopback() netip.Addr {
	pid := uint32(os.Getpid())
	return netip.AddrFrom4([4]byte{127, byte(128 + pid>>8&63), byte(pid), byte(addrs.Add(1))})
}

// upstream answers every request with 200.
func upstream(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return netip.MustParseAddrPort(l.Addr().String())
}

// resources of a workload whose listener, at port 8080 of an address, allows one path.
func resources(t testing.TB, addr netip.Addr, up netip.AddrPort, path string) *xds.Resources {
	t.Helper()
	set, problems := api.Parse("test.yaml", fmt.Appendf(nil, `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app, namespace: shop}
spec: {inbound: [{name: http, address: %s, port: 8080, upstream: "%s"}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p, namespace: shop}
spec: {ingress: [{name: r, action: Allow, http: [{paths: [{exact: %q}]}]}]}
`, addr, up, path))
	m, more := policy.Compile(set)
	if all := slices.Concat(problems, more); api.HasErrors(all) {
		t.Fatal(all)
	}
	r, err := xds.Translate(m, m.Workloads, xds.Options{Resolver: xds.DefaultResolver})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ask asks for a path at port 8080; 0 is that nothing listens or answers.
func ask(addr netip.Addr, path string) int {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(fmt.Sprintf("http://%s:8080%s", addr, path))
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// decides waits until what is allowed passes, and checks that nothing else does.
func decides(t testing.TB, addr netip.Addr, allowed string) {
	t.Helper()
	until(t, "Envoy allows "+allowed, func() bool { return ask(addr, allowed) == 200 })
	if got := ask(addr, "/other"); got != 403 {
		t.Errorf("what is not allowed got %d", got)
	}
}

// proxy is an Envoy in a folder of its own, which asks at a socket.
type proxy struct {
	admin *envoy.Admin
	up    *envoy.Supervisor
	stop  func()
}

func startEnvoy(t testing.TB, socket string) *proxy {
	t.Helper()
	dir := shortDir(t)
	path, err := envoy.Find("")
	if err != nil {
		t.Fatal(err)
	}
	adm := filepath.Join(dir, "admin.sock")
	bootstrap, err := xds.Bootstrap(xds.BootstrapConfig{Node: node, ControlSocket: socket, AdminSocket: adm})
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{admin: envoy.NewAdmin(adm)}
	p.up, err = envoy.NewSupervisor(envoy.Config{
		Path: path, Bootstrap: bootstrap, RunDir: dir, AdminSocket: adm,
		Concurrency: 1, LogLevel: "error", DrainTime: -1, Env: xds.Environment, Logger: newLogs(t).logger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	p.stop = background(t, p.up.Run)
	return p
}

func (p *proxy) get(path string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	b, err := p.admin.Get(ctx, path)
	if err != nil {
		return ""
	}
	return string(b)
}

// updates counts what Envoy was given since its start.
func (p *proxy) updates(t testing.TB) map[string]string {
	t.Helper()
	out := map[string]string{}
	until(t, "Envoy tells its counters", func() bool {
		for line := range strings.Lines(p.get("/stats?filter=update_success|update_rejected|config_reload$")) {
			if k, v, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
				out[k] = v
			}
		}
		return len(out) > 0
	})
	return out
}

// collected are access logs.
type collected struct {
	mu  sync.Mutex
	all []*accesslogv3.StreamAccessLogsMessage
}

func (c *collected) add(m *accesslogv3.StreamAccessLogsMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, m)
}

// find reports whether a request for a path was logged, and whether all messages said of
// which listener they were.
func (c *collected) find(path string) (found, named bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	named = true
	for _, m := range c.all {
		named = named && m.GetIdentifier().GetLogName() == "shop/app/http"
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			found = found || e.GetRequest().GetPath() == path
		}
	}
	return found, named
}
