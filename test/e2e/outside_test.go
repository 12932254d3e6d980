package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pavise.dev/pavise/test/netlab"
)

// world is a pod, and an outside with servers at every address of documentation (RFC 5737,
// RFC 3849): HTTP at port 80, TLS at 443, and at others a server that speaks first. Each
// says where it was reached, and all that reaches one is noted.
type world struct {
	*netlab.Lab
	tested
	t   *testing.T
	ca  *authority
	dir string // of what runs here
	// families that there are.
	families []family
	// config is what the folder of the control plane begins with; default policies.
	config string

	ports atomic.Int32 // used by clients

	mu   sync.Mutex
	seen []string // what reached a server
	dns  *upstream
}

// speakFirst are the ports of servers that speak first: mail, a database, and one that
// nobody knows, 15001 to see who comes by its number.
var speakFirst = []int{25, 3306, 4443, 4444, 15001}

func newWorld(t *testing.T, o netlab.Options) *world {
	t.Helper()
	p := built(t)
	w := &world{Lab: netlab.New(t, o), tested: p, t: t, ca: newAuthority(t), dir: folder(t), families: []family{ipv4, ipv6}}
	if o.NoIPv6 {
		w.families = w.families[:1]
	}
	for _, args := range []string{
		"route add local 203.0.113.0/24 dev lo", "route add local 198.51.100.0/24 dev lo", "route add local 2001:db8::/32 dev lo",
		// Those that clients come from; a route is not enough for IPv6.
		"addr add 2001:db8:100::7/128 dev lo nodad", "addr add 2001:db8:100::66/128 dev lo nodad", "addr add 2001:db8:100::67/128 dev lo nodad",
	} {
		if o.NoIPv6 && strings.Contains(args, ":") {
			continue
		}
		var out []byte
		err := w.Outside.Do(func() (err error) {
			out, err = exec.Command("ip", strings.Fields(args)...).CombinedOutput()
			return err
		})
		if err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	w.serveHTTP(w.Outside, root, "outside", 80)
	cert := w.ca.sign(t, "", "*.example", "*.partner.example", "*.evil.example")
	w.serve(w.Outside, root, 443, func(c net.Conn, at string) {
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
		if s.Handshake() == nil {
			w.note("TLS %s at %s", s.ConnectionState().ServerName, at)
			fmt.Fprintf(s, "outside %s %s\n", at, s.ConnectionState().ServerName)
			_ = s.Close()
		}
	})
	for _, port := range speakFirst {
		w.serve(w.Outside, root, port, func(c net.Conn, at string) { fmt.Fprintf(c, "outside %s\n", at) })
	}
	w.dns = w.serveDNS()
	w.serveHTTP(w.Pod, application, "app", 8080)
	for _, port := range []int{9090, 9091} {
		w.serve(w.Pod, application, port, func(c net.Conn, at string) { fmt.Fprintf(c, "app %s\n", at) })
	}
	return w
}

// note is what reached a server.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, fmt.Sprintf(format, args...))
}

// notes are what reached a server behind a mark.
func (w *world) notes(from int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.seen[from:]...)
}

func (w *world) mark() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen)
}

func (w *world) listen(n *netlab.Namespace, u user, port int) net.Listener {
	w.t.Helper()
	var l net.Listener
	err := n.As(u.uid, u.gid, func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf("[::]:%d", port))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return noting{l, w}
}

// noting notes what it accepts.
type noting struct {
	net.Listener
	w *world
}

func (l noting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.w.note("connection at %s", plain(c.LocalAddr()))
	}
	return c, err
}

// plain is an address as it is written in rows: without IPv4 in IPv6.
func plain(a net.Addr) string {
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port()).String()
}

// serve has connections to a port answered.
func (w *world) serve(n *netlab.Namespace, u user, port int, answer func(c net.Conn, at string)) {
	w.t.Helper()
	l := w.listen(n, u, port)
	var running sync.WaitGroup
	w.t.Cleanup(func() { _ = l.Close(); running.Wait() })
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				_ = c.SetDeadline(time.Now().Add(limit))
				answer(c, plain(c.LocalAddr()))
				// To close while there is something unread would reset the connection, and what
				// was answered could be lost.
				if half, ok := c.(*net.TCPConn); ok {
					_ = half.CloseWrite()
					_, _ = io.Copy(io.Discard, io.LimitReader(c, 1<<20))
				}
				_ = c.Close()
			})
		}
	})
}

// serveHTTP answers requests with who was asked where for what.
func (w *world) serveHTTP(n *netlab.Namespace, u user, name string, port int) {
	w.t.Helper()
	l := w.listen(n, u, port)
	var both http.Protocols
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	srv := &http.Server{ReadHeaderTimeout: limit, Protocols: &both, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		at := plain(r.Context().Value(http.LocalAddrContextKey).(net.Addr))
		w.note("%s %s%s at %s", r.Method, r.Host, r.URL.Path, at)
		fmt.Fprintf(rw, "%s %s %s %s%s\n", name, at, r.Method, r.Host, r.URL.Path)
	})}
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Serve(l) })
	w.t.Cleanup(func() { _ = srv.Close(); running.Wait() })
}

// get asks for a page from outside, without waiting for long.
func (w *world) get(url string) (status int, body string, err error) {
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, _, to string) (c net.Conn, err error) {
		err = w.Outside.Do(func() error { c, err = net.DialTimeout("tcp", to, time.Second); return err })
		return c, err
	}}
	resp, err := (&http.Client{Transport: tr, Timeout: 2 * time.Second}).Get(url)
	if err != nil {
		return 0, err.Error(), err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, strings.TrimSpace(string(b)), err
}
