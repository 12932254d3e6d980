package extauthz

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pavise.dev/pavise/internal/freeport"

	"go.uber.org/goleak"

	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/envoy"
	"pavise.dev/pavise/proxy/filter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// raceDetector says that the tests run under it.
var raceDetector bool

type decision = decisions.Record

// patience bounds every wait.
const patience = 60 * time.Second

// load makes a snapshot of feeds, each "NAME ACTION DIRECTION ENTRY…".
func load(t testing.TB, feeds ...string) *snapshot.Snapshot {
	t.Helper()
	list := make([]snapshot.Feed, len(feeds))
	for i, f := range feeds {
		w := strings.Fields(f)
		list[i] = snapshot.Feed{Name: w[0], Action: w[1], Direction: w[2], Loaded: true}
	}
	b, err := snapshot.NewBuilder(list, snapshot.KeyOf(list))
	must(t, err)
	for i, f := range feeds {
		for line, entry := range strings.Fields(f)[3:] {
			if p, perr := netip.ParsePrefix(entry); perr == nil {
				err = b.AddPrefix(i, p, uint32(line+1))
			} else {
				err = b.AddDomain(i, []byte(entry), snapshot.Self|snapshot.Below, uint32(line+1))
			}
			must(t, err)
		}
	}
	path := filepath.Join(t.TempDir(), "snapshot")
	_, err = snapshot.Save(path, b)
	must(t, err)
	s, err := snapshot.Open(path)
	must(t, err)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lists is what the tests' feeds list.
var lists = []string{
	"bots Deny Both 127.66.0.0/16 127.77.0.1/32 evil.example",
	"watched Alert Both 127.67.0.0/16 seen.example",
}

// shortDir is a folder whose name is short enough for sockets.
func shortDir(t testing.TB) string {
	t.Helper()
	// Not t.TempDir, whose name may be too long for a unix socket.
	dir, err := os.MkdirTemp("", "pavise-ea-") //nolint:usetesting // see above
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// serving is a server that runs until the test ends, or stop is called.
type serving struct {
	*Server
	engine *filter.Engine
	stop   func()

	mu      sync.Mutex
	records []decisions.Record
}

func serve(t testing.TB, c Config, feeds ...string) *serving {
	t.Helper()
	s := &serving{engine: c.Engine}
	if c.Engine == nil {
		s.engine = &filter.Engine{}
		c.Engine = s.engine
	}
	if len(feeds) > 0 {
		s.engine.Swap(load(t, feeds...))
	}
	c.Decisions = func(r decisions.Record) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.records = append(s.records, r)
	}
	if c.Socket == "" && c.Address == "" {
		c.Socket = filepath.Join(shortDir(t), "authz.sock")
	}
	var err error
	s.Server, err = New(c)
	must(t, err)
	must(t, s.Listen(t.Context()))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// last is the latest decision.
func (s *serving) last() decisions.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.records) == 0 {
		return decisions.Record{}
	}
	return s.records[len(s.records)-1]
}

// proxy is a live Envoy.
type proxy struct {
	t         testing.TB
	http, tcp string
	accessLog string
}

// start runs an Envoy with a file of testdata in which places are filled in. path names
// the Envoy; empty is the one that other tests run.
func start(t testing.TB, path, file string, places map[string]string) *proxy {
	t.Helper()
	if path == "" {
		var err error
		path, err = envoy.Find("")
		must(t, err)
	}
	dir := shortDir(t)
	p := &proxy{t: t, accessLog: filepath.Join(dir, "access.log")}
	httpPort, tcpPort := freePort(t), freePort(t)
	p.http, p.tcp = "127.0.0.1:"+httpPort, "127.0.0.1:"+tcpPort
	all := map[string]string{
		"ADMIN_SOCKET": filepath.Join(dir, "admin.sock"), "ACCESS_LOG": p.accessLog,
		"HTTP_PORT": httpPort, "TCP_PORT": tcpPort, "TRUSTED_HOPS": "0", "FAIL_OPEN": "false", "TIMEOUT": "10s",
		"PAVISE_TRANSPORT": "", "CONTEXT": "{}",
	}
	for k, v := range places {
		all[k] = v
	}
	text, err := os.ReadFile(filepath.Join("testdata", file))
	must(t, err)
	config := string(text)
	for k, v := range all {
		config = strings.ReplaceAll(config, k, v)
	}
	name := filepath.Join(dir, "envoy.yaml")
	must(t, os.WriteFile(name, []byte(config), 0o600))
	var said strings.Builder
	cmd := exec.Command(path, "-c", name, "--disable-hot-restart", "--concurrency", "1", "-l", "error", "--file-flush-interval-msec", "20")
	cmd.Stdout, cmd.Stderr = &said, &said
	must(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	admin := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", all["ADMIN_SOCKET"])
		},
	}}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // between two looks
		select {
		case <-ended:
			t.Fatalf("Envoy ended: %s", said.String())
		default:
		}
		if resp, err := admin.Get("http://admin/ready"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return p
			}
		}
		if time.Now().After(end) {
			t.Fatal("Envoy is not ready")
		}
	}
}

func freePort(t testing.TB) string {
	ports, err := freeport.Find("127.0.0.1", 1)
	must(t, err)
	return strconv.Itoa(ports[0])
}

func pipe(path string) string { return fmt.Sprintf("{pipe: {path: %s}}", path) }

func socketAddress(a net.Addr) string {
	ap := netip.MustParseAddrPort(a.String())
	return fmt.Sprintf("{socket_address: {address: %s, port_value: %d}}", ap.Addr(), ap.Port())
}

// answer is what a client gets.
type answer struct {
	status       int
	reason, body string
}

func (a answer) String() string {
	if a.reason == "" && a.status == 200 {
		return "200"
	}
	return strings.TrimSuffix(fmt.Sprintf("%d %s %s", a.status, a.reason, strings.TrimSpace(a.body)), " ")
}

// send puts a request as it is to the HTTP listener, from an address of 127.0.0.0/8.
func (p *proxy) send(source, raw string) answer {
	p.t.Helper()
	conn := p.dial(source, p.http)
	defer conn.Close()
	_, err := io.WriteString(conn, raw)
	must(p.t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(p.t, err)
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get(ReasonHeader), string(body)}
}

// get asks for a host.
func (p *proxy) get(source, host string, headers ...string) answer {
	p.t.Helper()
	lines := append([]string{"GET /path?secret=1 HTTP/1.1", "Host: " + host}, headers...)
	return p.send(source, strings.Join(lines, "\r\n")+"\r\n\r\n")
}

func (p *proxy) dial(source, to string) net.Conn {
	p.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: patience}
	conn, err := d.Dial("tcp", to)
	must(p.t, err)
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// connect says what becomes of a connection to the TCP listener: open or closed. The
// upstream says what it hears.
func (p *proxy) connect(source string) string { return p.say(source, "hello\n") }

// clientHello says what becomes of one with a server name.
func (p *proxy) clientHello(source, name string) string { return p.say(source, hello(name)) }

func (p *proxy) say(source, first string) string {
	p.t.Helper()
	conn := p.dial(source, p.tcp)
	defer conn.Close()
	_, _ = io.WriteString(conn, first)
	b := make([]byte, 6)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != first[:6] {
		return "closed"
	}
	return "open"
}

// hello is a ClientHello with a server name.
func hello(name string) string {
	ours, theirs := net.Pipe()
	go func() {
		_ = tls.Client(ours, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
	}()
	head := make([]byte, 5)
	_, _ = io.ReadFull(theirs, head)
	body := make([]byte, int(head[3])<<8|int(head[4]))
	_, _ = io.ReadFull(theirs, body)
	_ = theirs.Close()
	return string(head) + string(body)
}

// web is an HTTP upstream.
func web(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

// echo is a TCP upstream that says what it hears.
func echo(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(patience))
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

// logger writes to the test.
func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, nil))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

// logged waits for a line of Envoy's access log.
func (p *proxy) logged(line string) {
	p.t.Helper()
	var all []byte
	for end := time.Now().Add(patience / 4); time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // between two looks
		var err error
		if all, err = os.ReadFile(p.accessLog); err == nil && strings.Contains("\n"+string(all), "\n"+line+"\n") {
			return
		}
	}
	p.t.Errorf("Envoy did not log %q but\n%s", line, all)
}
