package hostile

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pavise.dev/pavise/xds/envoytest"
)

// upstream is the workload: it answers 200 to everything and remembers what it saw. It
// gives reasons of its own where x-forge asks for a status, takes up WebSockets, except at /plain, and echoes their bytes, and answers gRPC with what it was sent.
type upstream struct {
	addr netip.AddrPort

	mu     sync.Mutex
	all    []seen
	byID   map[string]seen
	active int
	quiet  *sync.Cond // no request is being read
}

// seen is a request as the workload saw it.
type seen struct {
	ID, Proto, Method, Target, Host, Body string
	Header, Trailer                       http.Header
	// Broken says that the body broke off.
	Broken bool
}

func newUpstream(t testing.TB) *upstream {
	t.Helper()
	l := listen(t, ":0") // on every address, so that what should not be reached could be
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	u := &upstream{addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), byID: map[string]seen{}}
	u.quiet = sync.NewCond(&u.mu)
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: u, Protocols: &p, ReadHeaderTimeout: envoytest.Patience}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return u
}

func listen(t testing.TB, at string) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.active++
	u.mu.Unlock()
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	s := seen{
		ID: r.Header.Get("x-request-id"), Proto: r.Proto, Method: r.Method, Target: r.RequestURI, Host: r.Host,
		Body: string(body), Header: r.Header.Clone(), Trailer: r.Trailer.Clone(), Broken: err != nil,
	}
	u.mu.Lock()
	u.active--
	u.quiet.Broadcast()
	u.all = append(u.all, s)
	u.byID[s.ID] = s
	u.mu.Unlock()
	if status, err := strconv.Atoi(r.Header.Get("x-forge")); err == nil {
		w.Header().Set("x-pavise-reason", "forged")
		w.WriteHeader(status)
		return
	}
	switch {
	case r.URL.Path != "/plain" && strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		echo(w)
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "grpc-status")
		_, _ = w.Write(body)
		w.Header().Set("grpc-status", "0")
	}
}

// echo accepts a WebSocket and sends back the bytes that come.
func echo(w http.ResponseWriter) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	_, _ = io.Copy(conn, buffered)
}

// idle waits until no request is being read.
func (u *upstream) idle(t testing.TB) {
	t.Helper()
	timer := time.AfterFunc(envoytest.Patience, u.quiet.Broadcast)
	defer timer.Stop()
	deadline := time.Now().Add(envoytest.Patience)
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.active > 0 {
		if !time.Now().Before(deadline) {
			t.Fatal("the workload still reads a request")
		}
		u.quiet.Wait()
	}
}

// request returns what was seen of the row with that id.
func (u *upstream) request(id string) (seen, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s, ok := u.byID[id]
	return s, ok
}

// strangers are requests without the id of a row: what was smuggled, or what was
// forwarded though it was refused.
func (u *upstream) strangers() []seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []seen
	for _, s := range u.all {
		if !strings.HasPrefix(s.ID, "row-") {
			out = append(out, s)
		}
	}
	return out
}

// echoServer is a workload of no protocol: it sends back what it gets, and counts connections.
type echoServer struct {
	addr netip.AddrPort
	n    atomic.Int64
	got  chan string // the first bytes of each connection
}

func newEcho(t testing.TB) *echoServer {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	e := &echoServer{addr: netip.MustParseAddrPort(l.Addr().String()), got: make(chan string, 1000)}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			e.n.Add(1)
			go func() {
				defer conn.Close()
				buf := make([]byte, 4096)
				for first := true; ; first = false {
					n, err := conn.Read(buf)
					if first {
						e.got <- string(buf[:n])
					}
					if _, werr := conn.Write(buf[:n]); err != nil || werr != nil {
						return
					}
				}
			}()
		}
	}()
	return e
}

func (e *echoServer) accepted() int64 { return e.n.Load() }
