package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// line is the probe in a few words.
func (p *probe) line() string {
	from := cmp.Or(p.From, "127.0.0.1")
	if p.TCP != "" {
		return fmt.Sprintf("%s → tcp %s", from, p.TCP)
	}
	s := fmt.Sprintf("%s → %s %s", from, cmp.Or(p.Method, "GET"), strings.TrimPrefix(p.URL, "http://127.0.0.1:18080"))
	if p.Host != "" {
		s += " at " + p.Host
	}
	for _, k := range sortedKeys(p.Headers) {
		s += fmt.Sprintf(" [%s: %s]", k, p.Headers[k])
	}
	return s
}

// send sends the probe, byte for byte as it is written, and returns what Envoy decided.
func (p *probe) send(ctx context.Context, id string, j *journal) (decisions.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	to, target := p.TCP, p.URL
	host := p.Host
	switch {
	case p.TCP != "":
	case p.Proxy != 0:
		to = fmt.Sprintf("127.0.0.1:%d", p.Proxy)
		host = cmp.Or(host, authority(p.URL))
	default:
		to = authority(p.URL)
		host = cmp.Or(host, to)
		target = strings.TrimPrefix(p.URL, "http://"+to)
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(cmp.Or(p.From, "127.0.0.1"))}}
	conn, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return decisions.Record{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(demoPatience))
	source := conn.LocalAddr().String()
	method := cmp.Or(p.Method, "GET")
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nX-Request-Id: %s\r\nConnection: close\r\n", method, cmp.Or(target, "/"), cmp.Or(host, "database"), id)
	for _, k := range sortedKeys(p.Headers) {
		fmt.Fprintf(&b, "%s: %s\r\n", k, p.Headers[k])
	}
	if method == http.MethodPost {
		b.WriteString("Content-Length: 0\r\n")
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(conn, b.String()); err != nil && p.TCP == "" {
		return decisions.Record{}, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil && p.TCP == "" {
		return decisions.Record{}, fmt.Errorf("no response: %w", err)
	}
	if err == nil {
		_ = resp.Body.Close()
	}
	_ = conn.Close()
	dec, err := j.await(ctx, func(d decisions.Record) bool {
		return d.RequestID == id || p.TCP != "" && d.Source == source
	})
	if err == nil && p.TCP == "" && (dec.Verdict == policy.Denied) != (resp.StatusCode == http.StatusForbidden) {
		return dec, fmt.Errorf("status %d does not go with the verdict", resp.StatusCode)
	}
	return dec, err
}

func authority(url string) string {
	rest := strings.TrimPrefix(url, "http://")
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		rest = rest[:i]
	}
	return rest
}

// journal keeps decisions for those who wait for one.
type journal struct {
	mu      sync.Mutex
	all     []decisions.Record
	arrived chan struct{}
}

// maxJournal bounds what a demo that goes on for days keeps.
const maxJournal = 10_000

func newJournal() *journal { return &journal{arrived: make(chan struct{})} }

func (j *journal) add(d decisions.Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.all) < maxJournal {
		j.all = append(j.all, d)
	}
	close(j.arrived)
	j.arrived = make(chan struct{})
}

func (j *journal) await(ctx context.Context, fits func(decisions.Record) bool) (decisions.Record, error) {
	for seen := 0; ; {
		j.mu.Lock()
		fresh, arrived := j.all[seen:], j.arrived
		seen = len(j.all)
		j.mu.Unlock()
		for _, d := range fresh {
			if fits(d) {
				return d, nil
			}
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return decisions.Record{}, errors.New("Envoy reported no decision") //nolint:staticcheck // a name
		}
	}
}

// waitListening waits until something accepts at an address.
func waitListening(ctx context.Context, address string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("nothing listens at %s: %w", address, err)
		}
	}
}

// demoUpstream is the workload that is shielded: it answers everything, at every
// upstream address of the model.
func demoUpstream(ctx context.Context, s *standalone) (stop func(), err error) {
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Protocols: &p, ReadHeaderTimeout: demoPatience,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			fmt.Fprintf(w, "the upstream saw %s %q at %q\n", r.Method, r.RequestURI, r.Host) //nolint:gosec // plain text, and quoted
		}),
	}
	m, _ := s.Current()
	seen := map[string]bool{}
	for _, w := range m.Workloads {
		for _, l := range w.Listeners {
			at := l.Upstream.String()
			if !l.Upstream.IsValid() || seen[at] {
				continue
			}
			seen[at] = true
			ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at)
			if err != nil {
				_ = srv.Close()
				return nil, fmt.Errorf("the demo's upstream: %w", err)
			}
			go func() { _ = srv.Serve(ln) }()
		}
	}
	return func() { _ = srv.Close() }, nil
}
