// Package envoytest runs a real Envoy for tests: it serves a model to it, sends it
// requests byte for byte, and collects what it decided.
package envoytest

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/envoy"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/dns"
	"pavise.dev/pavise/xds"
)

// Node is the name of the Envoy that a Shield runs.
const Node = "test"

// Patience bounds every wait: long enough for a busy machine, and a test that meets it
// has failed.
const Patience = 60 * time.Second

// Shield is an Envoy with a control plane.
type Shield struct {
	Server *xds.Server
	Admin  *envoy.Admin
	// Resolver answers the names of Hosts.
	Resolver netip.AddrPort
	// Addr is a loopback address of this test alone, to put listeners on.
	Addr netip.Addr

	options
	mu        sync.Mutex
	decisions map[string]decisions.Record // by request id
	all       []decisions.Record
	arrived   chan struct{}
}

// Option changes how a Shield is started.
type Option func(*options)

type options struct {
	hosts       map[string][]string
	hideReasons bool
	pushes      func(context.Context, string, string) xds.Push
}

// Pushes are told what becomes of what the Envoy is given.
func Pushes(f func(ctx context.Context, node, digest string) xds.Push) Option {
	return func(o *options) { o.pushes = f }
}

// HideReasons keeps from clients why they are denied.
func HideReasons(o *options) { o.hideReasons = true }

// Hosts makes names resolve, for this Envoy only; others do not exist.
func Hosts(h map[string]string) Option {
	return func(o *options) {
		o.hosts = map[string][]string{}
		for name, addrs := range h {
			o.hosts[name] = strings.Fields(addrs)
		}
	}
}

var addrs atomic.Uint32

// Loopback returns an address of 127.0.0.0/8 that no other test of this machine uses.
func Loopback() netip.Addr {
	pid := uint32(os.Getpid())                                                                //nolint:gosec // a process id
	return netip.AddrFrom4([4]byte{127, byte(64 + pid>>8&63), byte(pid), byte(addrs.Add(1))}) //nolint:gosec // bytes of it
}

// Start runs an Envoy until the test ends.
func Start(t testing.TB, opts ...Option) *Shield {
	t.Helper()
	var o options
	for _, f := range opts {
		f(&o)
	}
	path, err := envoy.Find("")
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir, whose name may be too long for a unix socket.
	dir, err := os.MkdirTemp("", "pavise-test-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	s := &Shield{options: o, Addr: Loopback(), decisions: map[string]decisions.Record{}, arrived: make(chan struct{})}
	names := &dns.Server{Lookup: lookup(o.hosts)}
	if s.Resolver, err = names.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	control, admin := filepath.Join(dir, "xds.sock"), filepath.Join(dir, "admin.sock")
	s.Server = xds.NewServer(xds.ServerConfig{Socket: control, Decisions: s.decided, Pushes: o.pushes, Logger: logger})
	s.Admin = envoy.NewAdmin(admin)
	bootstrap, err := xds.Bootstrap(xds.BootstrapConfig{Node: Node, ControlSocket: control, AdminSocket: admin})
	if err != nil {
		t.Fatal(err)
	}
	sup, err := envoy.NewSupervisor(envoy.Config{
		Path: path, Bootstrap: bootstrap, RunDir: dir, AdminSocket: admin,
		Concurrency: 1, LogLevel: "error", DrainTime: -1, Env: xds.Environment, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{s.Server.Run, sup.Run, names.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		_ = os.RemoveAll(dir)
	})
	return s
}

// lookup answers from a table.
func lookup(hosts map[string][]string) dns.Lookup {
	return func(_ context.Context, network, host string) ([]netip.Addr, error) {
		var out []netip.Addr
		for _, s := range hosts[host] {
			if a := netip.MustParseAddr(s); a.Is4() == (network == "ip4") {
				out = append(out, a)
			}
		}
		if hosts[host] == nil {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return out, nil
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

func (s *Shield) decided(d decisions.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.RequestID != "" {
		s.decisions[d.RequestID] = d
	}
	s.all = append(s.all, d)
	close(s.arrived)
	s.arrived = make(chan struct{})
}

// Apply gives the Envoy a model and waits until it enforces it.
func (s *Shield) Apply(t testing.TB, m *policy.Model) *xds.Resources {
	t.Helper()
	r, err := xds.Translate(m, m.Workloads, xds.Options{Resolver: s.Resolver, HideReasons: s.hideReasons})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := s.Server.Set(ctx, Node, r); err != nil {
		t.Fatal(err)
	}
	if err := s.Server.WaitInForce(ctx, Node); err != nil {
		t.Fatal(err)
	}
	for _, w := range m.Workloads {
		for _, l := range w.Listeners {
			s.waitListening(ctx, t, l.Address)
		}
	}
	return r
}

// waitListening waits for a listener to accept: Envoy acknowledges it earlier.
func (s *Shield) waitListening(ctx context.Context, t testing.TB, at netip.AddrPort) {
	t.Helper()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", at.String())
		if err == nil {
			_ = c.Close()
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("nothing listens at %s: %v", at, err)
		}
		time.Sleep(5 * time.Millisecond) // between two looks, not for order
	}
}

// Decision waits for what Envoy decided on the request of that id.
func (s *Shield) Decision(t testing.TB, id string) decisions.Record {
	t.Helper()
	return s.Await(t, "request "+id, func(d decisions.Record) bool { return d.RequestID == id })
}

// Await waits for the first decision, of all there were, that fits.
func (s *Shield) Await(t testing.TB, what string, fits func(decisions.Record) bool) decisions.Record {
	t.Helper()
	deadline := time.After(Patience)
	seen := 0
	for {
		s.mu.Lock()
		fresh, arrived := s.all[seen:], s.arrived
		seen = len(s.all)
		s.mu.Unlock()
		for _, d := range fresh {
			if fits(d) {
				return d
			}
		}
		select {
		case <-arrived:
		case <-deadline:
			t.Fatalf("Envoy reported no decision on %s", what)
		}
	}
}

// ByID returns the decision on a request if it has arrived.
func (s *Shield) ByID(id string) (decisions.Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.decisions[id]
	return d, ok
}

// Client sends HTTP/1.1 requests byte for byte over one connection after another. It is
// not safe for concurrent use.
type Client struct {
	t      testing.TB
	source netip.Addr
	to     netip.AddrPort
	conn   net.Conn
	reader *bufio.Reader
}

// NewClient sends to a listener from a source address.
func NewClient(t testing.TB, source netip.Addr, to netip.AddrPort) *Client {
	c := &Client{t: t, source: source, to: to}
	t.Cleanup(c.Close)
	return c
}

// Close drops the connection, if any.
func (c *Client) Close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// Response is the head of a response. Status 0 means that the connection was closed
// without one.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Send writes a request head as it is and reads one response. method is that of the
// request, for a response without a body.
func (c *Client) Send(method, raw string) Response {
	c.t.Helper()
	for attempt := 0; ; attempt++ {
		fresh := c.conn == nil
		if fresh {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: c.source.AsSlice()}}
			conn, err := d.DialContext(context.Background(), "tcp", c.to.String())
			if err != nil {
				c.t.Fatalf("dial %s from %s: %v", c.to, c.source, err)
			}
			c.conn, c.reader = conn, bufio.NewReader(conn)
		}
		_ = c.conn.SetDeadline(time.Now().Add(Patience))
		if _, err := c.conn.Write([]byte(raw)); err != nil {
			c.Close()
			if !fresh {
				continue // an idle connection was closed meanwhile
			}
			return Response{}
		}
		resp, err := http.ReadResponse(c.reader, &http.Request{Method: method})
		if err != nil {
			c.Close()
			if !fresh && attempt == 0 {
				continue
			}
			return Response{}
		}
		body := make([]byte, 4096)
		n := 0
		if method != "CONNECT" || resp.StatusCode != http.StatusOK {
			for n < len(body) {
				k, err := resp.Body.Read(body[n:])
				n += k
				if err != nil {
					break
				}
			}
		}
		_ = resp.Body.Close()
		if resp.Close || method == "CONNECT" {
			c.Close()
		}
		return Response{resp.StatusCode, resp.Header, string(body[:n])}
	}
}

// Upstream is an HTTP server that answers every request with 200 and says in headers
// what it saw.
func Upstream(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		ReadHeaderTimeout: Patience, Protocols: &p,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Saw-Target", r.RequestURI)
			w.Header().Set("X-Saw-Host", r.Host)
			w.Header().Set("X-Saw-Proto", r.Proto)
			for name, vs := range r.Header {
				w.Header().Set("X-Saw-"+name, strings.Join(vs, "|"))
			}
		}),
	}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return netip.MustParseAddrPort(l.Addr().String())
}

// Wire writes a request for an origin server or, absolute-form, for a proxy.
func Wire(r *policy.Request, id string, proxy bool) string {
	target := r.HTTP.Path
	if proxy {
		target = "http://" + r.HTTP.Authority + r.HTTP.Path
	}
	if r.HTTP.Method == "CONNECT" {
		target = r.HTTP.Authority
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nx-request-id: %s\r\n", r.HTTP.Method, target, r.HTTP.Authority, id)
	for _, h := range r.HTTP.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h.Name, h.Value)
	}
	b.WriteString("\r\n")
	return b.String()
}
