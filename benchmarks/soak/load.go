package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// tally counts answers: as expected, another than expected, none.
type tally struct{ right, wrong, failed atomic.Int64 }

var errWrong = errors.New("another answer than expected")

func (t *tally) add(what string, err error) {
	switch {
	case err == nil:
		t.right.Add(1)
	case errors.Is(err, errWrong):
		if t.wrong.Add(1) < 20 {
			fmt.Fprintln(os.Stderr, "soak:", what, err)
		}
	default:
		if t.failed.Add(1) < 20 {
			fmt.Fprintln(os.Stderr, "soak:", what, err)
		}
	}
}

// load sends every kind of traffic at the rate.
func (l *lab) load(ctx context.Context, g *errgroup.Group, t *tally) {
	kept := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	fresh := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	proxy := &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", proxyPort)}
	out := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{Proxy: http.ProxyURL(proxy), MaxIdleConnsPerHost: 16}}
	for what, ask := range map[string]func(context.Context) error{
		"an allowed request":          func(ctx context.Context) error { return expect(ctx, kept, at(httpPort, "/ok/"+random()), 200, "") },
		"a denied request":            func(ctx context.Context) error { return expect(ctx, kept, at(httpPort, "/no"), 403, "") },
		"a request of its own":        func(ctx context.Context) error { return expect(ctx, fresh, at(httpPort, "/ok"), 200, "") },
		"a listed name":               func(ctx context.Context) error { return expect(ctx, out, "http://"+l.listed()+"/", 403, "feed:bad") },
		"a listed address":            func(ctx context.Context) error { return expect(ctx, out, "http://198.18.0.7/", 403, "feed:bad") },
		"a name that is not listed":   func(ctx context.Context) error { return expect(ctx, out, "http://fine-"+random()+".example/", 403, "") },
		"a connection":                echo,
		"a question for a listed one": func(ctx context.Context) error { return question(ctx, l.listed(), dns.RcodeNameError) },
		"a question, kept": func(ctx context.Context) error {
			return question(ctx, fmt.Sprintf("kept-%d.example", rand.IntN(1000)), dns.RcodeSuccess)
		},
		"a question, new": func(ctx context.Context) error { return question(ctx, "new-"+random()+".example", dns.RcodeSuccess) },
	} {
		g.Go(func() error {
			repeat(ctx, l.rate, func() { t.add(what, ask(ctx)) })
			return nil
		})
	}
}

// atOnce bounds what of one kind is under way: on a busy machine more would come together,
// and what Envoy keeps for as many connections would look like growth.
const atOnce = 4

// repeat calls do at a rate a second, until the context ends.
func repeat(ctx context.Context, rate int, do func()) {
	var g errgroup.Group
	g.SetLimit(atOnce)
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			_ = g.Wait() // do returns no error
			return
		case <-tick.C:
			if ctx.Err() == nil {
				g.TryGo(func() error { do(); return nil })
			}
		}
	}
}

func at(port int, path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", port, path) }

func random() string { return fmt.Sprintf("%08x", rand.Uint32()) }

func (l *lab) listed() string { return fmt.Sprintf("www.bad-%d.example", rand.IntN(l.names)) }

// expect sends a request; an empty reason is any.
func expect(ctx context.Context, c *http.Client, target string, status int, reason string) error {
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if got := resp.Header.Get("x-pavise-reason"); resp.StatusCode != status || reason != "" && got != reason {
		return fmt.Errorf("%s: %d %q: %w", target, resp.StatusCode, got, errWrong)
	}
	return nil
}

// echo opens a connection of its own.
func echo(ctx context.Context) error {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.WithoutCancel(ctx), "tcp", fmt.Sprintf("127.0.0.1:%d", tcpPort))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("hello\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && line != "hello\n" {
		err = errWrong
	}
	return err
}

func question(ctx context.Context, name string, rcode int) error {
	m := new(dns.Msg).SetQuestion(name+".", dns.TypeA)
	c := dns.Client{Timeout: 5 * time.Second}
	r, _, err := c.ExchangeContext(context.WithoutCancel(ctx), m, fmt.Sprintf("127.0.0.1:%d", dnsPort))
	if err != nil {
		return err
	}
	if r.Rcode != rcode {
		return fmt.Errorf("%s: %s: %w", name, dns.RcodeToString[r.Rcode], errWrong)
	}
	return nil
}
