package e2e

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/test/netlab"
)

// TestLateClaim catches an application that keeps silent until Envoy takes it for one that
// waits for its server, and only then says a name or a Host that is denied.
func TestLateClaim(t *testing.T) {
	s := newSidecar(t, netlab.Options{})
	partner, err := s.resolve("a.partner.example", ipv4)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, first, later, at string }{
		{"a server name that a policy denies", "", "TLS front.evil.example", netip.AddrPortFrom(partner, 443).String()},
		{"a server name that a feed denies", "", "TLS www.bad.example", "203.0.113.68:443"},
		{"a Host that a feed denies", "", "GET / HTTP/1.1\r\nHost: bad.example\r\nConnection: close\r\n\r\n", "203.0.113.68:80"},
		{"the same in two parts", "GE", "T / HTTP/1.1\r\nHost: bad.example\r\nConnection: close\r\n\r\n", "203.0.113.68:80"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := s.dial(s.Pod, application, "tcp", netip.MustParseAddrPort(c.at))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			noted := s.mark()
			_, _ = conn.Write([]byte(c.first))
			// Beyond the second that Envoy waits, until it goes on by itself.
			within(3*time.Second, func() (string, bool) { return "", len(s.notes(noted)) > 0 })
			if name, ok := strings.CutPrefix(c.later, "TLS "); ok {
				_ = tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
			} else {
				_, _ = conn.Write([]byte(c.later))
			}
			line(conn)
			for _, n := range s.notes(noted) {
				if strings.Contains(n, "evil.example") || strings.Contains(n, "bad.example") {
					t.Errorf("it reached a server: %s", n)
				}
			}
		})
	}
}

// TestSilentClient catches a client that is let through because it says nothing, or too little
// to tell what it is.
func TestSilentClient(t *testing.T) {
	s := newSidecar(t, netlab.Options{})
	for _, first := range []string{"", "GE"} {
		conn, err := s.dial(s.Pod, application, "tcp", netip.MustParseAddrPort("203.0.113.68:80"))
		if err != nil {
			t.Fatal(err)
		}
		noted := s.mark()
		_, _ = conn.Write([]byte(first))
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := conn.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q and then nothing: %d octets came, %v", first, n, err)
		}
		_ = conn.Close()
		if seen := s.notes(noted); len(seen) > 0 {
			t.Errorf("%q and then nothing reached a server: %v", first, seen)
		}
	}
}
