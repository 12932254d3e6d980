package e2e

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/proxy/redirect"
	"pavise.dev/pavise/test/netlab"
)

// node is the workload that stands in the pod.
const node = "shop/app"

const control = "10.77.0.1:15012"

// controlPlane runs outside, as root.
type controlPlane struct {
	*process
	w           *world
	config, run string // its folders
}

// folder is one that any user may enter, with a short name: sockets lie in it.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pv") //nolint:usetesting // t.TempDir is below a folder that nobody else may enter
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// controlPlane starts one with the policies and the feeds of the tests, or again with what
// was left.
func (w *world) controlPlane() *controlPlane {
	w.t.Helper()
	dir := filepath.Join(w.dir, "control")
	c := &controlPlane{w: w, config: filepath.Join(dir, "config"), run: filepath.Join(dir, "run")}
	if _, err := os.Stat(dir); err != nil {
		if err := os.MkdirAll(c.config, 0o755); err != nil {
			w.t.Fatal(err)
		}
		w.ca.write(w.t, dir, "cp", w.ca.sign(w.t, ""), root)
		c.write("deny.txt", denyList)
		c.write("alert.txt", alertList)
		c.write("policies.yaml", cmp.Or(w.config, policies))
	}
	c.process = start(w.t, w.Outside, root, nil, w.pavise, "control-plane", "--config", c.config,
		"--listen", control, "--listen-feeds", "10.77.0.1:15013",
		"--tls-cert", filepath.Join(dir, "cp.pem"), "--tls-key", filepath.Join(dir, "cp.key"), "--client-ca", filepath.Join(dir, "ca.pem"),
		"--run-dir", c.run, "--state", filepath.Join(dir, "state"))
	await(w.t, "the control plane serves", func() (string, bool) {
		if c.ended(0) {
			w.t.Fatalf("the control plane has ended: %v", c.err)
		}
		return c.log.String(), strings.Contains(c.log.String(), "msg=serving")
	})
	return c
}

// awaitFeeds waits until a snapshot with so many entries, as in "ipv4=4 ipv6=4 names=2", is
// published, and returns its digest.
func (c *controlPlane) awaitFeeds(entries string) (digest string) {
	c.w.t.Helper()
	inForce := regexp.MustCompile(`msg="feeds in force".* snapshot=(\S+) ` + entries + ` `)
	await(c.w.t, "the feeds are published", func() (string, bool) {
		log := c.log.String()
		if m := inForce.FindStringSubmatch(log); m != nil {
			digest = m[1]
		}
		return log, digest != "" && strings.Contains(log, `msg="snapshot published" from=feeds snapshot=`+digest)
	})
	return digest
}

// write replaces a file of its folder in one step.
func (c *controlPlane) write(name, text string) {
	c.w.t.Helper()
	replace(c.w.t, filepath.Join(c.config, name), text)
}

func replace(t *testing.T, path, text string) {
	t.Helper()
	next := filepath.Join(filepath.Dir(path), ".next")
	err := os.WriteFile(next, []byte(text), 0o644)
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// agent runs in the pod, as the user that is exempt.
type agent struct {
	*process
	*journal
	w          *world
	run, state string
}

// agentOptions change how an agent is started.
type agentOptions struct {
	certOf string   // the node in its certificate; default node
	binary string   // default the world's
	args   []string // more of them
	bare   bool     // without feeds
}

// agent starts one, with what an earlier one left on disk.
func (w *world) agent(o agentOptions) *agent {
	w.t.Helper()
	dir := filepath.Join(w.dir, "agent")
	if err := os.MkdirAll(dir, 0o755); err == nil {
		err = os.Chown(dir, int(agentUser.uid), int(agentUser.gid))
		if err != nil {
			w.t.Fatal(err)
		}
	}
	if o.certOf == "" {
		o.certOf = node
	}
	if o.binary == "" {
		o.binary = w.pavise
	}
	w.ca.write(w.t, dir, "node", w.ca.sign(w.t, o.certOf), agentUser)
	a := &agent{w: w, journal: newJournal(), run: filepath.Join(dir, "run"), state: filepath.Join(dir, "state")}
	args := []string{
		"agent", "--node", node, "--control-plane", control,
		"--ca", filepath.Join(dir, "ca.pem"), "--cert", filepath.Join(dir, "node.pem"), "--key", filepath.Join(dir, "node.key"),
		"--run-dir", a.run, "--state", a.state, "--dns-upstream", netlab.Outside4.String(),
		"--envoy", w.envoy, "--concurrency", "1", "--decisions", "all",
	}
	if !o.bare {
		args = append(args, "--feeds-url", "https://10.77.0.1:15013")
	}
	a.process = start(w.t, w.Pod, agentUser, a.journal, o.binary, append(args, o.args...)...)
	return a
}

// forget stops it and removes what it has on disk, so that the next has to ask.
func (a *agent) forget() {
	a.w.t.Helper()
	a.stop()
	if err := os.RemoveAll(filepath.Dir(a.state)); err != nil {
		a.w.t.Fatal(err)
	}
}

// status is what it says of itself.
type status struct {
	Policies struct {
		Source    string `json:"source"`
		Connected bool   `json:"connected"`
		Ready     bool   `json:"ready"`
		LastError string `json:"lastError"`
		NACK      *struct {
			Message string `json:"message"`
		} `json:"nack"`
	} `json:"policies"`
	Feeds struct {
		Digest string `json:"digest"`
		Error  string `json:"error"`
	} `json:"feeds"`
	FeedsInForce struct {
		Digest string `json:"digest"`
		Error  string `json:"error"`
		PID    int    `json:"pid"`
	} `json:"feedsInForce"`
	PID      int `json:"pid"`
	Restarts int `json:"restarts"`
}

func (a *agent) status() (s status, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err = admin.NewClient(filepath.Join(a.run, "pavise.sock")).Status(ctx, &s)
	return s, err
}

// awaitStatus waits until its status is as it should be.
func (a *agent) awaitStatus(what string, holds func(*status) bool) (s status) {
	a.w.t.Helper()
	await(a.w.t, what, func() (string, bool) {
		var err error
		if s, err = a.status(); err != nil {
			return err.Error(), false
		}
		return fmt.Sprintf("%+v", s), holds(&s)
	})
	return s
}

// awaitFeeds waits until the module in Envoy and the resolver decide by a snapshot.
func (a *agent) awaitFeeds(digest string) {
	a.w.t.Helper()
	a.awaitStatus("the feeds are in force", func(s *status) bool {
		return s.FeedsInForce.Digest == digest && s.FeedsInForce.PID == s.PID && s.Feeds.Digest == digest
	})
}

// ready asks from outside, as a kubelet does.
func (a *agent) ready() (bool, string) {
	code, body, err := a.w.get("http://10.77.0.2:15021/healthz/ready")
	return err == nil && code == http.StatusOK, fmt.Sprintf("%d %s", code, body)
}

func (a *agent) awaitReady() {
	a.w.t.Helper()
	await(a.w.t, "the agent is ready", func() (string, bool) {
		if a.ended(0) {
			a.w.t.Fatalf("the agent has ended: %v", a.err)
		}
		ok, say := a.ready()
		return say, ok
	})
}

// metric asks for a value from outside, as a scraper does; empty for none.
func (a *agent) metric(name string) string {
	a.w.t.Helper()
	_, page, err := a.w.get("http://10.77.0.2:15020/metrics")
	if err != nil {
		a.w.t.Fatal(err)
	}
	for l := range strings.Lines(page) {
		if value, ok := strings.CutPrefix(l, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// redirect sets the rules of the pod.
func (w *world) redirect(args ...string) {
	w.t.Helper()
	var out []byte
	err := w.Pod.Do(func() (err error) {
		out, err = exec.Command(w.pavise, append([]string{"redirect", "set"}, args...)...).CombinedOutput()
		return err
	})
	if err != nil {
		if strings.Contains(string(out), redirect.ErrUnsupported.Error()) {
			w.t.Skipf("the redirect is not possible here: %s", out)
		}
		w.t.Fatalf("redirect set: %v: %s", err, out)
	}
}

// dropped is how many packets met a rule that counts.
func (w *world) dropped(chain, rule string) (n int) {
	w.t.Helper()
	var out []byte
	err := w.Pod.Do(func() (err error) {
		out, err = exec.Command("nft", "list", "chain", "inet", "pavise", chain).CombinedOutput()
		return err
	})
	if err != nil {
		w.t.Fatalf("nft: %v: %s", err, out)
	}
	for l := range strings.Lines(string(out)) {
		if _, rest, ok := strings.Cut(l, "counter packets "); ok && strings.Contains(l, fmt.Sprintf("comment %q", rule)) {
			_, _ = fmt.Sscan(rest, &n)
		}
	}
	return n
}

// sidecar is a world with all of it, ready.
type sidecar struct {
	*world
	control *controlPlane
	agent   *agent
}

func newSidecar(t *testing.T, o netlab.Options) *sidecar {
	t.Helper()
	w := newWorld(t, o)
	w.redirect()
	s := &sidecar{world: w, control: w.controlPlane()}
	digest := s.control.awaitFeeds(allFeeds) // before it has all of them it publishes what it has
	s.agent = w.agent(agentOptions{})
	s.agent.awaitReady()
	s.agent.awaitFeeds(digest)
	return s
}
