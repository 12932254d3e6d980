package docs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/envoy"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
	"pavise.dev/pavise/xds/envoytest"
)

const node = "docs"

// policies is a workload whose listener allows one path, at the address and in front of
// the upstream of a test.
func policies(addr netip.Addr, upstream netip.AddrPort, path string) string {
	return fmt.Sprintf(`
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app}
spec: {inbound: [{name: http, address: %s, port: 8080, upstream: "%s"}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p}
spec: {ingress: [{name: r, action: Allow, http: [{paths: [{exact: %s}]}]}]}
`, addr, upstream, path)
}

// until waits for something to become true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(envoytest.Patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// status asks for a path at port 8080; 0 is that nothing listens or answers.
func status(addr netip.Addr, path string) int {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(fmt.Sprintf("http://%s:8080%s", addr, path)) //nolint:noctx // the client has a timeout
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func refused(addr netip.Addr) bool {
	c, err := net.DialTimeout("tcp", netip.AddrPortFrom(addr, 8080).String(), time.Second)
	if err != nil {
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	_ = c.Close()
	return false
}

// process is a `pavise run` of a test.
type process struct {
	*exec.Cmd
	dir    string
	stdout bytes.Buffer
}

func startRun(t *testing.T, config string) *process {
	t.Helper()
	dir := filepath.Join(filepath.Dir(config), "run")
	p := &process{dir: dir, Cmd: exec.Command(filepath.Join(root, "bin", "pavise"), "run", "--config", config, "--run-dir", dir, "--concurrency", "1")}
	p.Stdout, p.Stderr = &p.stdout, &logWriter{t: t}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Signal(syscall.SIGTERM)
			_ = p.Wait()
		}
	})
	return p
}

// logWriter shows a log where the test fails.
type logWriter struct {
	mu sync.Mutex
	t  *testing.T
}

func (w *logWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// status is what `pavise status` says and its exit code.
func (p *process) status(t *testing.T) (s struct{ Broken, InForce bool }, exit int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(root, "bin", "pavise"), "status", "-o", "json", "--run-dir", p.dir)
	out, _ := cmd.Output()
	if cmd.ProcessState.ExitCode() < 2 {
		if err := json.Unmarshal(out, &s); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
	}
	return s, cmd.ProcessState.ExitCode()
}

// shortDir is a folder whose name, other than that of t.TempDir, is short enough for
// sockets in it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pavise-docs-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSocketsArePrivate looks at the modes of what a running process makes.
func TestSocketsArePrivate(t *testing.T) {
	config := filepath.Join(shortDir(t), "config")
	write(t, filepath.Join(config, "a.yaml"), policies(envoytest.Loopback(), envoytest.Upstream(t), "/"))
	p := startRun(t, config)
	until(t, "the policies are in force", func() bool { _, exit := p.status(t); return exit == 0 })
	if st, err := os.Stat(p.dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the run directory: %v, %v", st.Mode(), err)
	}
	for _, name := range []string{"pavise.sock", "xds.sock", "envoy.sock", "bootstrap.json"} {
		if st, err := os.Stat(filepath.Join(p.dir, name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// parts are a control plane and an Envoy that can be ended one without the other.
type parts struct {
	dir       string
	envoy     *envoy.Supervisor
	resources *xds.Resources
}

func newParts(t *testing.T, m *policy.Model) *parts {
	t.Helper()
	p := &parts{dir: shortDir(t)}
	path, err := envoy.Find("")
	if err != nil {
		t.Fatal(err)
	}
	if p.resources, err = xds.Translate(m, m.Workloads, xds.Options{Resolver: xds.DefaultResolver}); err != nil {
		t.Fatal(err)
	}
	adm := filepath.Join(p.dir, "envoy.sock")
	bootstrap, err := xds.Bootstrap(xds.BootstrapConfig{Node: node, ControlSocket: filepath.Join(p.dir, "xds.sock"), AdminSocket: adm})
	if err != nil {
		t.Fatal(err)
	}
	p.envoy, err = envoy.NewSupervisor(envoy.Config{
		Path: path, Bootstrap: bootstrap, RunDir: p.dir, AdminSocket: adm, Concurrency: 1, LogLevel: "off", DrainTime: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	background(t, p.envoy.Run)
	return p
}

// background runs something until the test ends, or until stop is called.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
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

// serve is a control plane for the Envoy; decided is told of what it decides.
func (p *parts) serve(t *testing.T, r *xds.Resources, decided func(decisions.Record)) (server *xds.Server, stop func()) {
	t.Helper()
	server = xds.NewServer(xds.ServerConfig{Socket: filepath.Join(p.dir, "xds.sock"), Decisions: decided})
	if err := server.Set(context.Background(), node, r); err != nil {
		t.Fatal(err)
	}
	return server, background(t, server.Run)
}

func (p *parts) admin(t *testing.T, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	b, err := envoy.NewAdmin(filepath.Join(p.dir, "envoy.sock")).Get(ctx, path)
	if err != nil {
		return ""
	}
	return string(b)
}

// TestWithoutControlPlane ends the control plane under an Envoy that serves, then the
// Envoy, and lets the control plane come back.
func TestWithoutControlPlane(t *testing.T) {
	addr := envoytest.Loopback()
	p := newParts(t, compile(t, policies(addr, envoytest.Upstream(t), "/a")))
	_, stop := p.serve(t, p.resources, nil)
	until(t, "the listener serves", func() bool { return status(addr, "/a") == 200 })
	stop()
	for range 50 {
		if a, b := status(addr, "/a"), status(addr, "/b"); a != 200 || b != 403 {
			t.Fatalf("without the control plane, and without anybody who takes the log, Envoy answers %d and %d", a, b)
		}
	}
	before := p.envoy.State()
	_ = syscall.Kill(before.PID, syscall.SIGKILL)
	until(t, "Envoy is started again", func() bool {
		s := p.envoy.State()
		return s.Restarts > before.Restarts && s.PID != 0 && strings.Contains(p.admin(t, "/stats?filter=connected_state"), "connected_state: 0")
	})
	if !refused(addr) {
		t.Error("an Envoy that never met its control plane listens")
	}
	decided := make(chan decisions.Record, 100)
	p.serve(t, p.resources, func(d decisions.Record) {
		select {
		case decided <- d:
		default:
		}
	})
	until(t, "the listener is back", func() bool { return status(addr, "/a") == 200 })
	select {
	case <-decided:
	case <-time.After(envoytest.Patience):
		t.Error("the log did not come back")
	}
}

// TestListenerWaitsForItsPolicy gives an Envoy a listener and keeps its policy back.
func TestListenerWaitsForItsPolicy(t *testing.T) {
	addr := envoytest.Loopback()
	p := newParts(t, compile(t, policies(addr, envoytest.Upstream(t), "/a")))
	part := *p.resources
	part.Extensions = nil
	server, _ := p.serve(t, &part, nil)
	until(t, "the listener has been taken over", func() bool {
		return strings.Contains(p.admin(t, "/stats?filter=listener_added"), "listener_added: 1")
	})
	if !refused(addr) {
		t.Error("the listener is open without its policy")
	}
	if err := server.Set(context.Background(), node, p.resources); err != nil {
		t.Fatal(err)
	}
	until(t, "the listener serves", func() bool { return status(addr, "/a") == 200 })
	if got := status(addr, "/b"); got != 403 {
		t.Errorf("the policy is not in force: %d", got)
	}
}

// TestFailingScriptDenies breaks the script that makes hosts and escapes canonical: what
// needs it is denied by name, what does not passes.
func TestFailingScriptDenies(t *testing.T) {
	addr := envoytest.Loopback()
	m := compile(t, strings.Replace(policies(addr, envoytest.Upstream(t), "/a"), "exact: /a", "prefix: /", 1))
	p := newParts(t, m)
	const name, script = "default/app/http", "local function canonical(headers)"
	text, err := protojson.Marshal(p.resources.Listeners[name])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(script)) {
		t.Fatal("the script is not where it was")
	}
	text = bytes.ReplaceAll(text, []byte(script), []byte(script+" error('broken')"))
	if err := protojson.Unmarshal(text, p.resources.Listeners[name]); err != nil {
		t.Fatal(err)
	}
	p.serve(t, p.resources, nil)
	until(t, "the listener serves", func() bool { return status(addr, "/a") == 200 })
	c := envoytest.NewClient(t, netip.MustParseAddr("127.0.0.1"), netip.AddrPortFrom(addr, 8080))
	for _, x := range []struct {
		host, path, reason string
		status             int
	}{
		{"a.test", "/a", "", 200},
		{"a.test", "/caf%C3%A9", "", 200},
		{"A.test", "/a", "malformed-host", 403},
		{"a.test", "/caf%c3%a9", "ambiguous-path", 403},
	} {
		got := c.Send("GET", fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", x.path, x.host))
		if got.Status != x.status || xds.ReasonIn(got.Header.Get(xds.ReasonHeader)) != x.reason {
			t.Errorf("%s at %s: %d %q", x.path, x.host, got.Status, xds.ReasonIn(got.Header.Get(xds.ReasonHeader)))
		}
	}
}

// TestMappedDestinationIsNotReached asks a proxy for an IPv4 address in its IPv6 form.
func TestMappedDestinationIsNotReached(t *testing.T) {
	s := envoytest.Start(t)
	upstream := envoytest.Upstream(t)
	s.Apply(t, compile(t, egress(s.Addr, "{name: no, action: Deny, to: [{cidrs: [127.0.0.0/8]}]}, {name: rest, action: Allow}")))
	for _, host := range []string{"127.0.0.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]"} {
		if got := ask(t, s.Addr, fmt.Sprintf("%s:%d", host, upstream.Port()), "mapped"); got.Status < 400 || got.Header.Get("X-Saw-Target") != "" {
			t.Errorf("%s was reached: %d", host, got.Status)
		}
	}
}

// egress is a workload with a proxy at port 8080 and rules.
func egress(addr netip.Addr, rules string) string {
	return fmt.Sprintf(`
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app}
spec: {outbound: [{name: proxy, address: %s, port: 8080}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p}
spec: {egress: [%s]}
`, addr, rules)
}

// ask sends a request for an absolute URL to the proxy.
func ask(t *testing.T, addr netip.Addr, authority, id string) envoytest.Response {
	t.Helper()
	c := envoytest.NewClient(t, netip.MustParseAddr("127.0.0.1"), netip.AddrPortFrom(addr, 8080))
	defer c.Close()
	return c.Send("GET", fmt.Sprintf("GET http://%s/ HTTP/1.1\r\nHost: %s\r\nX-Request-Id: %s\r\n\r\n", authority, authority, id))
}

// TestNameWithoutAddress asks a proxy for a name that no resolver has (RFC 6761).
func TestNameWithoutAddress(t *testing.T) {
	s := envoytest.Start(t)
	s.Apply(t, compile(t, egress(s.Addr, "{name: r, action: Allow, to: [{cidrs: [127.0.0.0/8]}]}")))
	if got := ask(t, s.Addr, "nowhere.invalid", "nowhere"); got.Status != 503 {
		t.Errorf("the client got %d", got.Status)
	}
	d := s.Decision(t, "nowhere")
	if d.Reason != string(policy.NotResolved) || !strings.HasPrefix(d.Detail, "dns_resolution_failure") || d.Destination != "" {
		t.Errorf("decision %+v", d)
	}
}

// TestHalfDoneUpdateDenies gives a proxy the destinations of one version of the rules and
// the policy of the next.
func TestHalfDoneUpdateDenies(t *testing.T) {
	addr, upstream := envoytest.Loopback(), envoytest.Upstream(t)
	before := compile(t, egress(addr, "{name: r, action: Allow, to: [{cidrs: [127.0.0.0/8]}]}"))
	after := compile(t, egress(addr, "{name: no, action: Deny, to: [{cidrs: [10.0.0.0/8]}]}, {name: r, action: Allow, to: [{cidrs: [127.0.0.0/8]}]}"))
	p := newParts(t, after)
	old, err := xds.Translate(before, before.Workloads, xds.Options{Resolver: xds.DefaultResolver})
	if err != nil {
		t.Fatal(err)
	}
	const name = "default/app/proxy/destination"
	mixed := *p.resources
	mixed.Extensions = maps.Clone(p.resources.Extensions)
	if mixed.Extensions[name] == nil {
		t.Fatal("the resource is not where it was")
	}
	mixed.Extensions[name] = old.Extensions[name]
	server, _ := p.serve(t, &mixed, nil)
	until(t, "the listener serves", func() bool { return !refused(addr) })
	if got := ask(t, addr, upstream.String(), "mixed"); got.Status != 403 || xds.ReasonIn(got.Header.Get(xds.ReasonHeader)) != string(policy.PolicyUpdating) {
		t.Errorf("between two versions the client got %d %q", got.Status, xds.ReasonIn(got.Header.Get(xds.ReasonHeader)))
	}
	if err := server.Set(context.Background(), node, p.resources); err != nil {
		t.Fatal(err)
	}
	until(t, "the update is done", func() bool { return ask(t, addr, upstream.String(), "done").Status == 200 })
}
