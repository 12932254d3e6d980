package fetch

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// route leads to one scheme, host and port, directly or through a proxy.
type route struct {
	client    *retryablehttp.Client
	transport *http.Transport
}

// route returns how to reach a URL's host; the pages of a feed share its connection.
func (f *fetching) route(u *url.URL) (*route, error) {
	key := u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port(u)
	if r := f.routes[key]; r != nil {
		return r, nil
	}
	own := f.isOwn(u)
	t := &http.Transport{
		DialContext:            f.dial(own),
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: f.roots},
		TLSHandshakeTimeout:    f.c.o.Timeouts.Handshake,
		ResponseHeaderTimeout:  f.c.o.Timeouts.Header,
		MaxResponseHeaderBytes: mostResponseHeader,
		DisableCompression:     true, // ours is bounded
		Protocols:              new(http.Protocols),
		MaxConnsPerHost:        1,
		IdleConnTimeout:        time.Minute,
	}
	// One GET gains nothing from HTTP/2, which is a second parser of what strangers send, and
	// loses the reason when a server ends the handshake late, as for a missing certificate.
	t.Protocols.SetHTTP1(true)
	if own {
		t.TLSClientConfig.Certificates = f.cert
		t.TLSClientConfig.ServerName = f.src.TLS.ServerName
	}
	r := &route{transport: t}
	if f.c.o.Proxy != nil {
		bare := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"}, Header: http.Header{}}
		proxy, err := f.c.o.Proxy(bare.WithContext(f.ctx))
		if err != nil {
			return nil, failed(Config, false, "the proxy for %s is not set properly", u.Host)
		}
		if proxy != nil {
			if err := f.literal(u, own); err != nil {
				return nil, err
			}
			t.Proxy = http.ProxyURL(proxy)
			t.DialContext = f.dialProxy
		}
	}
	r.client = &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport:     t,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		RetryMax:     mostRetries,
		CheckRetry:   f.again,
		Backoff:      f.pause,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
		Logger:       nil, // it would show URLs
	}
	f.routes[key] = r
	return r, nil
}

// again allows a retry where a connection broke before an answer. Whoever answers, even
// with 429 or 503, is asked again when the caller's schedule says so, and not before.
func (f *fetching) again(ctx context.Context, _ *http.Response, err error) (bool, error) {
	broke := err != nil && ctx.Err() == nil && reset(err)
	if broke {
		f.c.o.Log.Debug("the connection for a feed broke", "feed", f.src)
	}
	return broke, nil // Do returns err itself
}

func (f *fetching) pause(_, _ time.Duration, attempt int, _ *http.Response) time.Duration {
	most := f.c.o.Timeouts.RetryWait >> (mostRetries - min(attempt+1, mostRetries))
	return rand.N(most + 1) //nolint:gosec // to spread load, not to be unguessable
}

// dial connects to where the addresses of the host may be connected to. The check is
// made by the dialer, with the address it is about to connect to.
func (f *fetching) dial(own bool) func(context.Context, string, string) (net.Conn, error) {
	d := &net.Dialer{
		Timeout: f.c.o.Timeouts.Connect, Resolver: f.c.o.Resolver,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			return f.allow(address, own)
		},
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := d.DialContext(ctx, network, address)
		if err == nil && own {
			f.pin(conn)
		}
		return conn, err
	}
}

// dialProxy connects to the proxy that the operator configured.
func (f *fetching) dialProxy(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{
		Timeout: f.c.o.Timeouts.Connect, Resolver: f.c.o.Resolver,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if is := f.c.classify(ap.Addr()); is == metadata || is == never {
				return &refusal{ap.Addr(), is, false}
			}
			return nil
		},
	}
	return d.DialContext(ctx, network, address)
}

// pin remembers what kind of address the feed's own host has; see the package comment.
func (f *fetching) pin(conn net.Conn) {
	ap, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.pinned {
		f.pinned, f.kind = true, f.c.classify(ap.Addr())
	}
}

// allow says whether an address may be connected to.
func (f *fetching) allow(address string, own bool) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	is := f.c.classify(ap.Addr())
	f.mu.Lock()
	pinned, kind := f.pinned, f.kind
	f.mu.Unlock()
	switch {
	case is == public:
		return nil
	case is == metadata, is == never:
	case pinned && is == kind:
		return nil
	case own && !pinned && is == private:
		return nil
	case own && !pinned && written(f.own.Hostname()):
		return nil
	}
	return &refusal{ap.Addr().WithZone(""), is, own && !pinned}
}

// written reports whether a host in a URL says itself where it leads.
func written(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || localhost(host)
}

// literal checks what can be checked of a host that a proxy is going to look up.
func (f *fetching) literal(u *url.URL, own bool) error {
	host := u.Hostname()
	if localhost(host) {
		host = "127.0.0.1"
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return nil //nolint:nilerr // a name: the proxy's to look up
	}
	if err := f.allow(netip.AddrPortFrom(a, 0).String(), own); err != nil {
		return explain(f.ctx, u.Host, err)
	}
	return nil
}
