//go:build cgo

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pavise.dev/pavise/internal/freeport"

	"go.yaml.in/yaml/v3"

	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/internal/envoy"
	"pavise.dev/pavise/proxy/filter"
)

// patience bounds every wait.
const patience = 60 * time.Second

// library builds the module, once for each set of tags, and returns the folder it is in.
func library(t testing.TB, tags string) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("building the module needs gcc: ", err)
	}
	built.Lock()
	defer built.Unlock()
	if dir := built.dirs[tags]; dir != "" {
		return dir
	}
	dir := filepath.Join(built.root, fmt.Sprint(len(built.dirs)))
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-tags", tags, "-o", filepath.Join(dir, "libpavise.so"), ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	built.dirs[tags] = dir
	return dir
}

var built = struct {
	sync.Mutex
	root string
	dirs map[string]string
}{dirs: map[string]string{}}

func TestMain(m *testing.M) {
	var err error
	if built.root, err = os.MkdirTemp("", "pavise-module-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(built.root)
	os.Exit(code)
}

// eachEnvoy runs a test with every Envoy that is supported, or with that which PAVISE_ENVOY
// names.
func eachEnvoy(t *testing.T, f func(t *testing.T, path string)) {
	t.Helper()
	if named, err := envoy.Find(""); os.Getenv(envoy.PathVariable) != "" {
		if err != nil {
			t.Fatal(err)
		}
		f(t, named)
		return
	}
	cache, err := envoy.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"1.40.0", "1.39.3", "1.38.3"} {
		t.Run(version, func(t *testing.T) {
			path := filepath.Join(cache, "envoy-"+version, "envoy")
			if _, err := os.Stat(path); err != nil && version != envoy.PinnedVersion {
				t.Skip("make envoy-all fetches it: ", err)
			}
			f(t, path)
		})
	}
}

// anEnvoy is the default one, for what does not depend on the version.
func anEnvoy(t testing.TB) string {
	t.Helper()
	path, err := envoy.Find("")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// options of a live Envoy.
type options struct {
	tags  string // of the build
	fail  string // onFailure, else closed
	more  string // listeners
	unset bool   // leave PAVISE_FEEDS out
	plain bool   // leave the module out
	edit  func(text string) string
	feeds func(path string)
}

// live is an Envoy with the module.
type live struct {
	t        testing.TB
	dir      string
	feeds    string // the snapshot
	addr     string
	v6       netip.AddrPort
	http     uint16 // at every address
	tcp      uint16
	upstream *counting
	pid      int
	log      *bytes.Buffer
	ids      atomic.Uint64
}

var addrs atomic.Uint32

// freePort is one that nobody has just now.
func freePort(t testing.TB, at string) uint16 {
	t.Helper()
	ports, err := freeport.Find(at, 1)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(ports[0])
}

// configure writes the bootstrap of an Envoy.
func configure(t testing.TB, o options) *live {
	t.Helper()
	dir, err := os.MkdirTemp("", "pavise-") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	pid := os.Getpid()
	l := &live{
		t: t, dir: dir, feeds: filepath.Join(dir, "feeds.snapshot"),
		addr: fmt.Sprintf("127.%d.%d.%d", 64+pid>>8&63, pid&255, addrs.Add(1)),
		http: freePort(t, "0.0.0.0"), tcp: freePort(t, "0.0.0.0"), upstream: newCounting(t), log: &bytes.Buffer{},
	}
	l.v6 = netip.AddrPortFrom(netip.IPv6Loopback(), freePort(t, "::1"))
	if o.fail == "" {
		o.fail = "closed"
	}
	text, err := os.ReadFile("testdata/envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("@MORE@", o.more)
	all := strings.NewReplacer("@DIR@", dir, "@ADDR@", l.addr, "@V6PORT@", fmt.Sprint(l.v6.Port()), "@HTTPPORT@", fmt.Sprint(l.http),
		"@TCPPORT@", fmt.Sprint(l.tcp), "@FAIL@", o.fail, "@UPSTREAM@", fmt.Sprint(l.upstream.port))
	text = []byte(all.Replace(fill.Replace(string(text))))
	if o.edit != nil {
		text = []byte(o.edit(string(text)))
	}
	if o.plain {
		text = without(t, text)
	}
	if err := os.WriteFile(filepath.Join(dir, "envoy.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if o.feeds != nil {
		o.feeds(l.feeds)
	}
	return l
}

// without takes the module's filters out of a configuration.
func without(t testing.TB, text []byte) []byte {
	t.Helper()
	var all any
	if err := yaml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	var strip func(v any) any
	strip = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for k := range v {
				v[k] = strip(v[k])
			}
		case []any:
			kept := []any{}
			for _, e := range v {
				if m, ok := e.(map[string]any); ok && m["name"] == "feeds" {
					continue
				}
				kept = append(kept, strip(e))
			}
			return kept
		}
		return v
	}
	out, err := yaml.Marshal(strip(all))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (l *live) command(path string, o options, args ...string) *exec.Cmd {
	cmd := exec.Command(path, append([]string{"-c", filepath.Join(l.dir, "envoy.yaml"), "-l", "warning", "--disable-hot-restart"}, args...)...)
	cmd.Env = append(os.Environ(), "ENVOY_DYNAMIC_MODULES_SEARCH_PATH="+library(l.t, o.tags))
	if !o.unset {
		cmd.Env = append(cmd.Env, "PAVISE_FEEDS="+l.feeds)
	}
	return cmd
}

// start runs an Envoy until the test ends, which has to end well.
func start(t testing.TB, path string, o options) *live {
	t.Helper()
	l := configure(t, o)
	cmd := l.command(path, o, "--concurrency", "2", "--file-flush-interval-msec", "20")
	log, err := os.Create(filepath.Join(l.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.pid = cmd.Process.Pid
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err = <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			err = fmt.Errorf("it did not end: %w", <-ended)
		}
		_ = log.Close()
		if err != nil || t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Errorf("Envoy: %v\n%s", err, b)
		}
	})
	l.wait("it is live", func() bool {
		select {
		case err := <-ended:
			ended <- err
			b, _ := os.ReadFile(log.Name())
			t.Fatalf("Envoy ended: %v\n%s", err, b)
		default:
		}
		return strings.Contains(l.admin("/ready"), "LIVE")
	})
	return l
}

// wait looks until something is so.
func (l *live) wait(what string, so func() bool) {
	l.t.Helper()
	for end := time.Now().Add(patience); !so(); {
		if time.Now().After(end) {
			l.t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(5 * time.Millisecond) // between two looks, not for order
	}
}

func (l *live) admin(path string) string {
	c := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(l.dir, "admin.sock"))
		},
	}}
	resp, err := c.Get("http://admin" + path)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// stat reads a counter of Envoy.
func (l *live) stat(name string) int {
	for line := range strings.Lines(l.admin("/stats")) {
		var n int
		if rest, ok := strings.CutPrefix(line, "dynamicmodulescustom."+name+": "); ok {
			if _, err := fmt.Sscan(rest, &n); err != nil {
				l.t.Fatal(err)
			}
			return n
		}
	}
	return -1
}

// state reads what the module says is in force.
func (l *live) state() filter.InForce {
	s, err := filter.ReadInForce(l.feeds)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return filter.InForce{Error: err.Error()}
	}
	return s
}

// inForce waits until a snapshot is.
func (l *live) inForce(digest string) {
	l.t.Helper()
	l.wait("in force is "+digest, func() bool { s := l.state(); return s.Digest == digest && s.Error == "" })
}

// logged waits for a line of the log.
func (l *live) logged(part string) {
	l.t.Helper()
	l.wait(fmt.Sprintf("the log says %q", part), func() bool {
		b, _ := os.ReadFile(filepath.Join(l.dir, "log"))
		return bytes.Contains(b, []byte(part))
	})
}

// entry is a line of the access log.
type entry struct {
	ID, Details, Source, Destination string
	Code                             int
	Feeds                            map[string]string
}

// accessed waits for a line of the access log.
func (l *live) accessed(what string, is func(e entry) bool) entry {
	l.t.Helper()
	var found entry
	l.wait("the access log has "+what, func() bool {
		b, _ := os.ReadFile(filepath.Join(l.dir, "access.log"))
		for line := range bytes.Lines(b) {
			var e entry
			if json.Unmarshal(line, &e) == nil && is(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// reply is what a client of HTTP got: 0 if the connection was closed.
type reply struct {
	status int
	reason string
	body   string
	entry  entry
}

// get sends one request from an address. lines are headers.
func (l *live) get(from string, to netip.AddrPort, lines ...string) reply {
	l.t.Helper()
	id := fmt.Sprint("request-", l.ids.Add(1))
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	c, err := d.DialContext(context.Background(), "tcp", to.String())
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nX-Id: %s\r\n%s\r\nConnection: close\r\n\r\n", id, strings.Join(lines, "\r\n"))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return reply{}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	e := l.accessed(id, func(e entry) bool { return e.ID == id })
	return reply{resp.StatusCode, resp.Header.Get("X-Pavise-Reason"), string(b), e}
}

// say is a reply in words: what became of it, and what the metadata says of it.
func (r reply) say() string {
	text := fmt.Sprint(r.status)
	if r.reason != "" {
		text += " " + r.reason
	}
	for _, key := range slices.Sorted(maps.Keys(r.entry.Feeds)) {
		text += " " + key + "=" + r.entry.Feeds[key]
	}
	return text
}

// counting is an upstream that counts the connections that it accepts, and closes them
// once something was read.
type counting struct {
	port     uint16
	accepted atomic.Int64
}

func newCounting(t testing.TB) *counting {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	u := &counting{port: netip.MustParseAddrPort(l.Addr().String()).Port()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			u.accepted.Add(1)
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				if _, err := c.Read(make([]byte, 512)); err == nil {
					_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nupstream"))
				}
			}()
		}
	}()
	return u
}

// feed is a feed of a test and what it lists, in the words of users: -NAME takes a name
// back.
type feed struct {
	snapshot.Feed
	list []string
}

func deny(name, direction string, list ...string) feed {
	return feed{snapshot.Feed{Name: name, Action: "Deny", Direction: direction, Loaded: true}, list}
}

func alert(name, direction string, list ...string) feed {
	return feed{snapshot.Feed{Name: name, Action: "Alert", Direction: direction, Loaded: true}, list}
}

// save writes a snapshot of feeds and returns its digest.
func save(t testing.TB, path string, feeds ...feed) string {
	t.Helper()
	var list []snapshot.Feed
	for _, f := range feeds {
		list = append(list, f.Feed)
	}
	b, err := snapshot.NewBuilder(list, snapshot.KeyOf(list))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range feeds {
		for k, e := range f.list {
			line := uint32(k + 1)
			if p, perr := netip.ParsePrefix(e); perr == nil {
				err = b.AddPrefix(i, p, line)
			} else if name, ok := strings.CutPrefix(e, "-"); ok {
				err = b.AddException(i, []byte(name), line)
			} else {
				err = b.AddDomain(i, []byte(e), snapshot.Self|snapshot.Below, line)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	info, err := snapshot.Save(path, b)
	if err != nil {
		t.Fatal(err)
	}
	return info.Digest.String()
}

// with is the feeds of options.
func with(t testing.TB, feeds ...feed) func(string) {
	return func(path string) { save(t, path, feeds...) }
}
