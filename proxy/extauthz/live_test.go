package extauthz

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

const botsBody = "403 feed:bots denied by Pavise: feed:bots"

// TestEnvoyHTTP: what clients of a live Envoy get, and what its log says of it.
func TestEnvoyHTTP(t *testing.T) {
	s := serve(t, Config{Logger: logger(t)}, lists...)
	p := start(t, "", "direct.yaml", map[string]string{"PAVISE_ADDRESS": pipe(s.config.Socket), "UPSTREAM_PORT": web(t)})
	for _, c := range []struct{ source, host, want, log string }{
		{"127.66.0.9", "a.example", botsBody, "403 ext_authz_denied feed:bots"},
		{"127.67.0.9", "a.example", "200", "200 via_upstream feed:watched"},
		{"127.68.0.9", "evil.example", "200", "200 via_upstream -"},
	} {
		if got := p.get(c.source, c.host).String(); got != c.want {
			t.Errorf("%s asks for %s: %s, want %s", c.source, c.host, got, c.want)
		}
		p.logged(c.log)
	}
	// What a client writes does not move where it comes from, nor what is asked.
	for _, h := range []string{"X-Forwarded-For: 10.0.0.1", "Pavise-Direction: egress", "X-Bad: a\xffb", "X-Long: " + strings.Repeat("x", 58_000)} {
		if got := p.get("127.66.0.9", "a.example", h).String(); got != botsBody {
			t.Errorf("%.30s: %.100s", h, got)
		}
	}
	if got := s.last(); got.Source[:11] != "127.66.0.9:" || got.Direction != policy.Ingress || got.Path != "/path" || got.RequestID == "" || got.Time.IsZero() {
		t.Errorf("%+v", got)
	}
	if got := s.Stats(); got.Checks != 7 || got.Denied != 5 || got.Alerted != 1 || got.Failed != 0 || got.Unknown != 0 {
		t.Errorf("%+v", got)
	}
}

// TestEnvoyEgress: hosts, as an egress gateway or an explicit proxy is asked for them.
func TestEnvoyEgress(t *testing.T) {
	s := serve(t, Config{Direction: filter.Egress}, lists...)
	p := start(t, "", "direct.yaml", map[string]string{"PAVISE_ADDRESS": pipe(s.config.Socket), "UPSTREAM_PORT": web(t)})
	const malformed = "403 malformed-host denied by Pavise: malformed-host"
	for host, want := range map[string]string{
		"evil.example": botsBody, "a.EVIL.example.:80": botsBody, "127.77.0.1": botsBody,
		"seen.example": "200", "a.example": "200",
		"user@evil.example": malformed, "evil.example:": malformed, "0x7f.1": malformed, "evil.example,a.example": malformed,
	} {
		if got := p.get("127.66.0.9", host).String(); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
	if got := s.Stats(); got.Malformed != 4 {
		t.Errorf("%+v", got)
	}
}

// TestEnvoyNetwork: connections, by where they come from, where they go and which server
// they ask for.
func TestEnvoyNetwork(t *testing.T) {
	upstream := echo(t)
	in := serve(t, Config{}, lists...)
	p := start(t, "", "direct.yaml", map[string]string{"PAVISE_ADDRESS": pipe(in.config.Socket), "UPSTREAM_PORT": upstream})
	for source, want := range map[string]string{"127.66.0.9": "closed", "127.67.0.9": "open", "127.68.0.9": "open"} {
		if got := p.connect(source); got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
	if got := p.clientHello("127.66.0.9", "a\xff.example"); got != "closed" {
		t.Errorf("a server name that is no text: %s", got)
	}
	p.connect("127.66.0.9")
	p.logged("tcp feed:bots")

	// The listener's own address is the destination that Envoy knows of.
	out := serve(t, Config{Direction: filter.Egress}, lists...)
	p = start(t, "", "direct.yaml", map[string]string{"PAVISE_ADDRESS": pipe(out.config.Socket), "UPSTREAM_PORT": upstream})
	for name, want := range map[string]string{
		"evil.example": "closed", "A.Evil.example": "closed", "seen.example": "open", "a.example": "open", "a\xff.example": "closed",
	} {
		if got := p.clientHello("127.66.0.9", name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	if got := p.connect("127.66.0.9"); got != "open" {
		t.Errorf("without a server name: %s", got)
	}
	out.engine.Swap(load(t, "self Deny Egress 127.0.0.1/32"))
	if got := p.connect("127.66.0.9"); got != "closed" || out.last().Feed.Asked != "destination" {
		t.Errorf("to an address that is listed: %s, %+v", got, out.last())
	}
	if got := out.Stats(); got.Failed != 0 {
		t.Errorf("%+v", got)
	}
}

// TestSwapUnderLoad would catch a request that is let by, or refused, while one snapshot
// takes the place of another: both list the bots.
func TestSwapUnderLoad(t *testing.T) {
	s := serve(t, Config{}, lists...)
	p := start(t, "", "direct.yaml", map[string]string{"PAVISE_ADDRESS": pipe(s.config.Socket), "UPSTREAM_PORT": web(t)})
	var wg sync.WaitGroup
	var done atomic.Bool
	var n atomic.Int64
	for i, source := range []string{"127.66.0.1", "127.66.0.2", "127.68.0.1", "127.68.0.2"} {
		wg.Go(func() {
			want := botsBody
			if i >= 2 {
				want = "200"
			}
			for !done.Load() {
				if got := p.get(source, "a.example").String(); got != want {
					t.Errorf("%s: %s, want %s", source, got, want)
					return
				}
				n.Add(1)
			}
		})
	}
	swaps := 0
	for end := time.Now().Add(patience); (swaps < 50 || n.Load() < 500) && !t.Failed() && time.Now().Before(end); swaps++ {
		s.engine.Swap(load(t, "other Deny Egress x.example", lists[swaps%2], lists[(swaps+1)%2]))
	}
	done.Store(true)
	wg.Wait()
	t.Logf("%d requests, %d snapshots", n.Load(), swaps)
}

// TestSocket would catch a socket that somebody else can open, or that takes the place of
// a file.
func TestSocket(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o660, 0o666} {
		path := filepath.Join(shortDir(t), "authz.sock")
		s := serve(t, Config{Socket: path, SocketMode: mode}, lists...)
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != mode {
			t.Errorf("%v, want %v", info.Mode().Perm(), mode)
		}
		s.stop()
		if _, err := os.Stat(path); err == nil {
			t.Error("it is left behind")
		}
	}
	path := filepath.Join(shortDir(t), "authz.sock")
	must(t, os.WriteFile(path, nil, 0o600))
	s, err := New(Config{Engine: &filter.Engine{}, Socket: path})
	must(t, err)
	if err := s.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "is there and is no socket") {
		t.Errorf("%v", err)
	}
	// One that a killed process left behind is replaced.
	must(t, os.Remove(path))
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(t, err)
	must(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
	must(t, syscall.Close(fd))
	serve(t, Config{Socket: path})
	// It has its mode from the beginning: between the two it is nobody else's.
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	l, err := (&net.ListenConfig{Control: closed}).Listen(t.Context(), "unix", path+"2")
	must(t, err)
	defer l.Close()
	if info, err := os.Stat(path + "2"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
