package fetch

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"pavise.dev/pavise/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Everything here is on loopback, and Linux has all of 127.0.0.0/8. In the lab's world,
// these parts of it stand for other networks; the rest is loopback as everywhere.
const (
	aPublic    = "127.77.0.1"
	aPublic2   = "127.77.0.2"
	aPrivate   = "127.10.0.1"
	aPrivate2  = "127.10.0.2"
	aLinkLocal = "127.169.0.1"
	aMetadata  = "127.254.0.1"
	aLoopback  = "127.0.0.1"
)

func labClassify(a netip.Addr) reach {
	if a = a.Unmap(); a.Is4() && a.IsLoopback() {
		switch a.As4()[1] {
		case 77:
			return public
		case 10:
			return private
		case 169:
			return linkLocal
		case 254:
			return metadata
		}
	}
	return classify(a)
}

// canary is in every secret that the lab's fetches hold.
const canary = "canary7f3a"

// lab is a client, a DNS server and what both said. It checks all outputs for the canary.
type lab struct {
	t       *testing.T
	c       *Client
	mu      sync.Mutex
	names   map[string][]string // answers, one after the other, the last for ever; several addresses with commas
	asked   map[string]int
	outputs bytes.Buffer
}

func newLab(t *testing.T, options ...func(*Options)) *lab {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127.0.0.0/8")
	}
	l := &lab{t: t, names: map[string][]string{}, asked: map[string]int{}}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(l.answer)}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.ActivateAndServe() }()
	o := Options{
		Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "udp", pc.LocalAddr().String())
		}},
		Log: slog.New(slog.NewTextHandler(&locked{l: l}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Timeouts: Timeouts{
			Connect: 5 * time.Second, Handshake: 5 * time.Second, Header: 10 * time.Second,
			Window: 10 * time.Second, RetryWait: time.Millisecond,
		},
	}
	for _, f := range options {
		f(&o)
	}
	l.c = New(o)
	l.c.classify = labClassify
	t.Cleanup(func() {
		l.c.Close()
		_ = pc.Close()
		<-done
		if out := l.outputs.String(); strings.Contains(out, canary) {
			t.Errorf("a secret is in the outputs:\n%s", out)
		}
	})
	return l
}

type locked struct{ l *lab }

func (w *locked) Write(p []byte) (int, error) {
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	return w.l.outputs.Write(p)
}

func (l *lab) answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	name := strings.TrimSuffix(strings.ToLower(q.Question[0].Name), ".")
	l.mu.Lock()
	answers := l.names[name]
	if len(answers) == 0 {
		m.Rcode = dns.RcodeNameError
	} else if q.Question[0].Qtype == dns.TypeA {
		i := min(l.asked[name], len(answers)-1)
		l.asked[name]++
		for _, a := range strings.Split(answers[i], ",") {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET},
				A:   net.ParseIP(a),
			})
		}
	}
	l.mu.Unlock()
	_ = w.WriteMsg(m)
}

// name gives a host its addresses.
func (l *lab) name(host string, answers ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names[host] = answers
}

// limit bounds what is written, so that a test fails where a body would fill the memory.
type limit struct {
	bytes.Buffer
	most int
}

func (w *limit) Write(p []byte) (int, error) {
	if w.Len()+len(p) > w.most {
		return 0, errors.New("the test's own bound is reached")
	}
	return w.Buffer.Write(p)
}

// fetch puts secrets into every place that has them, fetches, and records what came out.
func (l *lab) fetch(src Source, v Validators) (Result, string, error) {
	l.t.Helper()
	if u, err := url.Parse(src.URL); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		u.User = url.UserPassword(canary+"user", canary+"password")
		q := u.Query()
		q.Set("apikey", canary+"query")
		u.RawQuery = q.Encode()
		src.URL = u.String()
		src.Header = append(src.Header, Header{"X-Api-Key", secret.New(canary + "header")})
	}
	if src.Timeout == 0 {
		src.Timeout = 20 * time.Second
	}
	w := &limit{most: 64 << 20}
	res, err := l.c.Fetch(l.t.Context(), src, v, w)
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.outputs, "%v %+v %#v %v %+v %s %#v\n", res, res, res, src, src, &src, src)
	for e := err; e != nil; e = errors.Unwrap(e) {
		fmt.Fprintf(&l.outputs, "%v %+v %#v\n", e, e, e)
	}
	slog.New(slog.NewJSONHandler(&l.outputs, nil)).Info("m", "err", err, "src", src, "res", res)
	for _, x := range []any{src, res} {
		b, _ := json.Marshal(x)
		l.outputs.Write(b)
	}
	if err != nil {
		l.t.Logf("says: %v", err)
	}
	return res, w.String(), err
}

// fails fetches and wants an error of a kind that says something.
func (l *lab) fails(src Source, kind Kind, says string) {
	l.t.Helper()
	_ = l.failure(src, kind, says)
}

// failure is fails, for who wants to know more.
func (l *lab) failure(src Source, kind Kind, says string) *Error {
	l.t.Helper()
	_, _, err := l.fetch(src, Validators{})
	e := (*Error)(nil)
	if !errors.As(err, &e) {
		l.t.Fatalf("no *Error: %v", err)
	}
	if e.Kind != kind || !strings.Contains(e.Error(), says) {
		l.t.Errorf("%s: %s\nwant %s: … %s …", e.Kind, e, kind, says)
	}
	return e
}

// gives fetches and wants a body.
func (l *lab) gives(src Source, body string) Result {
	l.t.Helper()
	res, got, err := l.fetch(src, Validators{})
	if err != nil {
		l.t.Fatal(err)
	}
	if got != body {
		l.t.Errorf("brought %.100q of %d octets, want %.100q", got, len(got), body)
	}
	return res
}

// serve answers HTTP at an address, and returns the URL there.
func serve(t *testing.T, ip string, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	listen(t, s, ip)
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

func listen(t *testing.T, s *httptest.Server, ip string) {
	t.Helper()
	_ = s.Listener.Close()
	ln, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s.Listener = ln
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
}

// raw answers below HTTP: it reads a request and leaves the rest to f. It ends with
// the test.
func raw(t *testing.T, ip string, f func(net.Conn, *http.Request)) string {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Add(1)
	go func() {
		defer running.Done()
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Add(1)
			go func() {
				defer running.Done()
				defer conn.Close()
				if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					f(conn, req)
				}
			}()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); running.Wait() })
	return "http://" + ln.Addr().String()
}

// hangUp waits until the other side closes.
func hangUp(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) }

// cut ends a connection with a reset.
func cut(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// portOf returns where a URL's server listens.
func portOf(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}
