package kube

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pavise.dev/pavise/test/cluster"
	"pavise.dev/pavise/xds"
)

// Addresses outside of the cluster, of documentation (RFC 5737). They are the test's own, on the
// link to the node.
const (
	outside = "203.0.113.7"
	listed  = "203.0.113.66" // by the feed
)

// lab is a cluster with Pavise's images in it, and a world outside of it.
type lab struct {
	c      *cluster.Cluster
	pavise string
	feed   *feed
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// built are the binary and the images, made once.
var built struct {
	sync.Once
	dir string
	err error
}

func build(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		//nolint:usetesting // it outlives the test that is first
		if built.dir, built.err = os.MkdirTemp("", "pavise-kube-"); built.err != nil {
			return
		}
		for _, args := range [][]string{
			{"run", "./deploy/image", "--out", filepath.Join(built.dir, "images")},
			{"build", "-o", filepath.Join(built.dir, "pavise"), "./cmd/pavise"},
		} {
			cmd := exec.Command("go", args...)
			cmd.Dir = "../.."
			if out, err := cmd.CombinedOutput(); err != nil {
				built.err = fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
				return
			}
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

// newLab starts a cluster that lasts until the test ends. What was in it is logged if the test
// failed. At most one o is given; the zero value is the default.
func newLab(t *testing.T, o ...cluster.Options) *lab {
	t.Helper()
	if err := errors.Join(cluster.Available(), cluster.NodeAvailable()); err != nil {
		t.Skip(err)
	}
	dir := build(t)
	c, err := cluster.Node(t.Context(), append(o, cluster.Options{})[0])
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{c: c, pavise: filepath.Join(dir, "pavise")}
	t.Cleanup(func() {
		if t.Failed() {
			l.dump(t)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"control-plane", "sidecar"} {
		if err := c.LoadImage(t.Context(), filepath.Join(dir, "images", name+".tar")); err != nil {
			t.Fatal(err)
		}
	}
	l.beyond(t)
	return l
}

// beyond is what is outside of the cluster: a server at two addresses, names for them, a feed.
func (l *lab) beyond(t *testing.T) {
	t.Helper()
	link := linkOf(t, l.c.HostIP())
	for _, address := range []string{outside, listed} {
		// They go with the link.
		if out, err := exec.Command("ip", "address", "add", address+"/32", "dev", link).CombinedOutput(); err != nil {
			t.Fatalf("ip address add %s: %v\n%s", address, err, out)
		}
		serve(t, net.JoinHostPort(address, "80"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "outside %s %s", r.Host, r.URL.Path)
		}))
	}
	l.feed = &feed{}
	l.feed.url = "http://" + serve(t, net.JoinHostPort(l.c.HostIP(), "0"), l.feed) + "/botnets.txt"
	zone := ". 1 IN SOA ns.invalid. admin.invalid. 1 60 60 60 1\n. 1 IN NS ns.invalid.\n"
	for _, name := range []string{"api.example", "other.example", "www.evil.example"} {
		zone += name + ". 1 IN A " + outside + "\n"
	}
	patch, err := json.Marshal(map[string]any{"data": map[string]string{"root": zone}})
	if err != nil {
		t.Fatal(err)
	}
	l.kubectl(t, "-n", "kube-system", "patch", "configmap", "coredns", "--type=merge", "-p", string(patch))
	l.kubectl(t, "-n", "kube-system", "rollout", "restart", "deployment/coredns")
	l.kubectl(t, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")
}

func linkOf(t *testing.T, address string) string {
	t.Helper()
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		addresses, err := l.Addrs()
		if err != nil {
			continue // one that went
		}
		for _, a := range addresses {
			if strings.HasPrefix(a.String(), address+"/") {
				return l.Name
			}
		}
	}
	t.Fatalf("no link has the address %s", address)
	return ""
}

func serve(t *testing.T, address string, h http.Handler) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return l.Addr().String()
}

// feed is a list of threats that tests change.
type feed struct {
	url string

	mu   sync.Mutex
	body string
}

func (f *feed) set(body string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.body = body
}

func (f *feed) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _ = w.Write([]byte(f.body))
}

// run runs the binary against the cluster.
func (l *lab) run(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.pavise, append(args, "--kubeconfig", l.c.Kubeconfig())...)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return b.String(), cmd.ProcessState.ExitCode()
}

func (l *lab) must(t *testing.T, args ...string) string {
	t.Helper()
	out, code := l.run(t, args...)
	if code != 0 {
		t.Fatalf("pavise %s ends with %d:\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (l *lab) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := l.c.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (l *lab) apply(t *testing.T, manifest string) {
	t.Helper()
	if err := l.c.Apply(t.Context(), manifest); err != nil {
		t.Fatal(err)
	}
}

// refused applies what the API server has to refuse with these words.
func (l *lab) refused(t *testing.T, manifest string, words ...string) {
	t.Helper()
	err := l.c.Apply(t.Context(), manifest)
	if err == nil {
		t.Errorf("it was taken:\n%s", manifest)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("refused with %v, which does not say %q", err, w)
		}
	}
}

// answer is one line of what the application's get prints.
type answer struct {
	Status  int
	Headers map[string]string
	Body    string
	Error   string
}

// reasonInBody is the one that the body of a denial says.
func reasonInBody(body string) string {
	line, _, _ := strings.Cut(body, "\n")
	return xds.ReasonIn(strings.TrimPrefix(line, "denied by Pavise: "))
}

// verdict is what became of a request in words: 200, 403 with its reason, or what came instead.
func (a answer) verdict() string {
	switch {
	case a.Status == http.StatusForbidden:
		// The client's own sidecar takes the header from what others answer, who could write
		// anything into it; the body passes.
		return "403 " + cmp.Or(xds.ReasonIn(a.Headers[xds.ReasonHeader]), reasonInBody(a.Body))
	case a.Status != 0:
		return fmt.Sprint(a.Status)
	case strings.Contains(a.Error, "no such host"):
		return "no such name"
	}
	return "broken off"
}

func (l *lab) ask(t *testing.T, pod, target string, flags ...string) answer {
	t.Helper()
	namespace, name, _ := strings.Cut(pod, "/")
	args := append(append([]string{"/app", "get", "-timeout", "5s"}, flags...), target)
	out, err := l.c.Exec(t.Context(), namespace, name, "app", args...)
	if err != nil {
		t.Fatalf("%s asks for %s: %v", pod, target, err)
	}
	var a answer
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatalf("%s asks for %s: %v: %s", pod, target, err, out)
	}
	return a
}

// row is a request and what has to become of it.
type row struct{ what, pod, target, want string }

// check asks until all is as it has to be at once: what was applied a moment ago takes a moment.
func (l *lab) check(t *testing.T, rows []row) {
	t.Helper()
	l.await(t, "every request is decided as it should be", func() (string, bool) {
		var wrong strings.Builder
		for _, r := range rows {
			a := l.ask(t, r.pod, r.target)
			if got := a.verdict(); !strings.HasPrefix(got, r.want) {
				fmt.Fprintf(&wrong, "%s: %s asks for %s: %s, want %s (%.200s %s)\n", r.what, r.pod, r.target, got, r.want, a.Body, a.Error)
			}
		}
		return wrong.String(), wrong.Len() == 0
	})
}

// patience is how long anything may take.
const patience = 60 * time.Second

// await asks again and again until it is so, and says what it was last if it never is.
func (l *lab) await(t *testing.T, what string, ask func() (say string, ok bool)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		say, ok := ask()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s; last: %s", what, patience, say)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// dump logs what there is to see after a failure.
func (l *lab) dump(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "pods", "-A", "-o", "wide"},
		{"get", "events", "-A", "--sort-by=.lastTimestamp"},
		{"get", "accesspolicies,clusteraccesspolicies,networksets,threatfeeds", "-A", "-o", "yaml"},
		{"-n", "pavise-system", "logs", "--prefix", "--tail=80", "-l", "app.kubernetes.io/component=control-plane"},
		{"-n", "shop", "logs", "--prefix", "--tail=40", "-c", "pavise-sidecar", "-l", "pavise.dev/revision"},
	} {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
		out, err := l.c.Kubectl(ctx, args...)
		cancel()
		t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
