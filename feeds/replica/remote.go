package replica

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// remote is the server that a Follower asks. It sends requests as they are: it follows no
// redirect, keeps no cookies, and asks for no compression.
type remote struct {
	base      string
	authorize func(*http.Request) error
	transport *http.Transport
}

func newRemote(c *Config, u *url.URL) (*remote, error) {
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the URL of the feeds has no user, query or fragment: a token is for Authorize")
	}
	dialer := &net.Dialer{Timeout: c.Patience}
	r := &remote{authorize: c.Authorize}
	r.transport = &http.Transport{
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    c.Patience,
		TLSClientConfig:        c.TLS.Clone(),
		DisableCompression:     true,
		MaxResponseHeaderBytes: 16 << 10,
		IdleConnTimeout:        90 * time.Second,
		MaxConnsPerHost:        2,
		Protocols:              new(http.Protocols),
	}
	r.transport.Protocols.SetHTTP1(true)
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return nil, fmt.Errorf("the URL of the feeds, %s, names no host", u)
		}
		r.base = u.Scheme + "://" + u.Host + strings.TrimSuffix(u.EscapedPath(), "/")
	case "unix":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return nil, fmt.Errorf("the URL of the feeds, %s, is to be unix:///path/of/the/socket", u)
		}
		r.base = "http://pavise"
		path := u.Path
		r.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
	default:
		return nil, fmt.Errorf("the URL of the feeds begins with https://, http:// or unix://, not %q", u.Scheme)
	}
	return r, nil
}

func (r *remote) close() { r.transport.CloseIdleConnections() }

// get sends one request and returns an answer of one of the given statuses.
func (r *remote) get(ctx context.Context, path string, head map[string]string, statuses ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+path, http.NoBody)
	if err != nil {
		return nil, failed(Protocol, "%w", err)
	}
	req.Header.Set("User-Agent", "Pavise (feeds follower)")
	for name, value := range head {
		req.Header.Set(name, value)
	}
	if r.authorize != nil {
		if err := r.authorize(req); err != nil {
			return nil, failed(Authorize, "what the server of the feeds asks for is not to be had: %w", err)
		}
	}
	resp, err := r.transport.RoundTrip(req)
	if err != nil {
		return nil, broken(ctx, Connect, "the server of the feeds cannot be asked", err)
	}
	if err := understood(resp, statuses); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// broken says why something was not read to its end: for a reason of ours that ended the
// context, or for that of the system.
func broken(ctx context.Context, kind Kind, what string, err error) error {
	if e := (*Error)(nil); errors.As(context.Cause(ctx), &e) {
		return e
	}
	if cert := (*tls.CertificateVerificationError)(nil); errors.As(err, &cert) {
		err = fmt.Errorf("it is not trusted: %w", cert.Err)
	}
	return failed(kind, "%s: %w", what, err)
}

// understood says why an answer is not one of those that make sense.
func understood(resp *http.Response, statuses []int) error {
	code := resp.StatusCode
	for _, s := range statuses {
		if s != code {
			continue
		}
		if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
			return failed(Protocol, "the answer is compressed, and nobody asked for that: something in between alters it")
		}
		return nil
	}
	words := strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code))
	switch {
	case code == http.StatusTooManyRequests || code >= 500:
		e := failed(Busy, "the server of the feeds answered %s", words)
		e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
		return e
	case code >= 300 && code < 400 && code != http.StatusNotModified:
		return failed(Redirect, "the server of the feeds answered %s: redirects are not followed; put into URL where it leads", words)
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return failed(Status, "the server of the feeds answered %s: it does not take who we say we are", words)
	case code == http.StatusNotFound:
		return failed(Status, "the server of the feeds answered %s: it is not kept any more, or URL is another's", words)
	}
	return failed(Status, "the server of the feeds answered %s, which makes no sense here", words)
}

// retryAfter reads Retry-After, seconds or a date (RFC 9110 10.2.3); 0 for what is neither.
func retryAfter(v string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(t.Sub(now), 0)
	}
	return 0
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
