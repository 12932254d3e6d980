package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"syscall"
	"time"

	"pavise.dev/pavise/test/netlab"
)

// family is that of the addresses of a row. Rows are written with IPv4.
type family int

const (
	ipv4 family = 4
	ipv6 family = 6
)

func (f family) String() string { return fmt.Sprintf("IPv%d", int(f)) }

// host is an address outside.
func (f family) host(n int) netip.Addr { return f.of(fmt.Sprintf("203.0.113.%d", n)) }

// of is the address that stands for one of IPv4.
func (f family) of(v4 string) netip.Addr {
	if f == ipv6 {
		for from, to := range map[string]string{
			"203.0.113.": "2001:db8:113::", "198.51.100.": "2001:db8:100::",
			netlab.Pod4.String(): netlab.Pod6.String(), netlab.Outside4.String(): netlab.Outside6.String(), "127.0.0.1": "::1",
		} {
			if rest, ok := strings.CutPrefix(v4, from); ok {
				return netip.MustParseAddr(to + rest)
			}
		}
	}
	return netip.MustParseAddr(v4)
}

func (f family) resolver() netip.AddrPort {
	return netip.AddrPortFrom(f.of(netlab.Outside4.String()), 53)
}

var (
	written = regexp.MustCompile(`\b(?:203\.0\.113|198\.51\.100)\.\d+\b`)
	choice  = regexp.MustCompile(`\{([^|}]*)\|([^}]*)\}`)
)

// in is a text of a row for a family: addresses are those of the family, in brackets as in
// a URL, and of {A|B} it is the one or the other.
func (f family) in(text string) string {
	if f == ipv4 {
		return choice.ReplaceAllString(text, "$1")
	}
	text = choice.ReplaceAllString(text, "$2")
	return written.ReplaceAllStringFunc(text, func(v4 string) string { return "[" + f.of(v4).String() + "]" })
}

// firstPort is below those that the kernel chooses, and above those of servers.
const firstPort = 16000

// dial connects as a user, in a namespace.
func (w *world) dial(n *netlab.Namespace, u user, network string, to netip.AddrPort) (c net.Conn, err error) {
	return w.dialFrom(n, u, network, netip.Addr{}, to)
}

// dialFrom is dial from one of several addresses. Each connection has a port of its own: from
// one that is in use to another server, the redirect would have to translate it, and the log
// would show another one.
func (w *world) dialFrom(n *netlab.Namespace, u user, network string, from netip.Addr, to netip.AddrPort) (c net.Conn, err error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	if network == "tcp" {
		d.LocalAddr = &net.TCPAddr{IP: from.AsSlice(), Port: int(firstPort + w.ports.Add(1))}
	}
	err = n.As(u.uid, u.gid, func() error {
		c, err = d.Dial(network, to.String())
		return err
	})
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(limit))
	}
	return c, err
}

// met is what a client met.
type met struct {
	from string // its own address
	view string // what it saw, see try
}

// refused is the view of a client to whom nobody listens, and closed of one who is hung up on.
const (
	refused = "refused"
	closed  = "closed"
)

// try does what the first part of a row says at an address and returns what the client
// saw: a line of the server, a status and a reason, or why not.
//
//	GET HOST/PATH      a request; any method. Behind "with" may be a header
//	PROXY HOST/PATH    a request as one sends it to a proxy
//	H2 HOST/PATH       a request of HTTP/2 without TLS
//	TLS NAME           a server name
//	TCP                octets that are neither HTTP nor TLS
//	MUTE               nothing, as who waits for the server does
func (w *world) try(n *netlab.Namespace, u user, from netip.Addr, what string, to netip.AddrPort) met {
	c, err := w.dialFrom(n, u, "tcp", from, to)
	if err != nil {
		return met{view: failure(err)}
	}
	defer c.Close()
	m := met{from: plain(c.LocalAddr())}
	kind, rest, _ := strings.Cut(what, " ")
	switch kind {
	case "TLS":
		s := tls.Client(c, &tls.Config{ServerName: rest, RootCAs: w.ca.pool(), InsecureSkipVerify: rest == ""})
		m.view = line(s)
	case "TCP":
		_, _ = io.WriteString(c, "\x01\x02 a protocol that nobody knows\r\n")
		m.view = line(c)
	case "MUTE":
		m.view = line(c)
	case "H2":
		m.view = request2(c, rest)
	default:
		m.view = request(c, kind, rest)
	}
	return m
}

// line is what a server says.
func line(c net.Conn) string {
	b, err := io.ReadAll(io.LimitReader(c, 4096))
	if len(b) == 0 {
		return failure(err)
	}
	return strings.TrimSpace(string(b))
}

func failure(err error) string {
	switch ne := net.Error(nil); {
	case errors.Is(err, syscall.ECONNREFUSED):
		return refused
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return closed
	case errors.As(err, &ne) && ne.Timeout():
		return "nothing"
	}
	return err.Error()
}

// request sends one, octet for octet as it is written.
func request(c net.Conn, method, url string) string {
	url, header, _ := strings.Cut(url, " with ")
	if header != "" {
		header += "\r\n"
	}
	host, path, _ := strings.Cut(url, "/")
	target := "/" + path
	switch method {
	case http.MethodConnect:
		target = host
	case "PROXY":
		method, target, host = http.MethodGet, "http://"+url, "api.example"
	}
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", method, target, host, header)
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return failure(err)
	}
	return seen(resp)
}

// request2 sends one of HTTP/2, whose preface says at once what it is.
func request2(c net.Conn, url string) string {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &p, DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr, Timeout: limit}).Get("http://" + url)
	if err != nil {
		return failure(err)
	}
	return seen(resp)
}

func seen(resp *http.Response) string {
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return strings.TrimSpace(string(b))
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, resp.Header.Get("X-Pavise-Reason"))
}
