package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	mostRedirects      = 5
	mostResponseHeader = 64 << 10
	mostRetries        = 2
)

// fetching is one fetch. One goroutine owns it; only the pin is shared, with those that
// net/http dials in.
type fetching struct {
	c      *Client
	ctx    context.Context //nolint:containedctx // of the one fetch
	cancel context.CancelCauseFunc
	src    *Source
	own    *url.URL // what to ask for
	of     string
	v      Validators // what to ask with; empty to ask unconditionally
	out    *sink
	res    Result

	roots  *x509.CertPool
	cert   []tls.Certificate
	routes map[string]*route

	mu     sync.Mutex
	pinned bool // the first connection is made, and leads to kind
	kind   reach
}

// prepare reads the TLS material.
func (f *fetching) prepare() error {
	f.routes = map[string]*route{}
	t := f.src.TLS
	if len(t.CA) > 0 {
		f.roots = x509.NewCertPool()
		if !f.roots.AppendCertsFromPEM(t.CA) {
			return failed(Config, false, "tls.ca holds no certificate in PEM")
		}
	}
	if len(t.Certificate) == 0 && t.Key.Empty() {
		return nil
	}
	if len(t.Certificate) == 0 || t.Key.Empty() {
		return failed(Config, false, "tls.certificate and tls.key go together, and one is missing")
	}
	pair, err := tls.X509KeyPair(t.Certificate, []byte(t.Key.Reveal()))
	if err != nil {
		return failed(Config, false, "tls.certificate and tls.key are no pair of a certificate and its key in PEM")
	}
	f.cert = []tls.Certificate{pair}
	return nil
}

// hangUp closes the connections.
func (f *fetching) hangUp() {
	for _, r := range f.routes {
		r.transport.CloseIdleConnections()
	}
}

// once fetches what comes in one answer.
func (f *fetching) once() error {
	a, err := f.get(f.own)
	if err != nil {
		return err
	}
	defer a.resp.Body.Close()
	f.note(a)
	if a.resp.StatusCode == http.StatusNotModified {
		f.res.NotModified = true
		f.res.Validators = f.v
		return nil
	}
	if err := f.body(a, f.out); err != nil {
		return err
	}
	now := f.c.now()
	f.res.Validators = Validators{
		Of: f.of, From: placeOf(a.from), Since: now,
		ETag: etag(a.resp.Header), LastModified: lastModified(a.resp.Header, now),
	}
	return nil
}

// note takes from the headers what the result tells.
func (f *fetching) note(a answer) {
	f.res.Pages++
	f.res.Final = visible(a.from)
	f.res.RetryAfter = retryAfter(a.resp.Header, f.c.now())
	f.res.ContentType = ""
	if t, _, err := mime.ParseMediaType(a.resp.Header.Get("Content-Type")); err == nil && len(t) <= 128 {
		f.res.ContentType = t
	}
}

// answer is a 200, or a 304 to what was asked conditionally.
type answer struct {
	resp *http.Response
	from *url.URL
}

// redirects are the answers whose Location is another place for the same (RFC 9110 15.4).
var redirects = map[int]bool{
	http.StatusMovedPermanently: true, http.StatusFound: true, http.StatusSeeOther: true,
	http.StatusTemporaryRedirect: true, http.StatusPermanentRedirect: true,
}

// get follows redirects. The body of the answer is the caller's to close.
func (f *fetching) get(u *url.URL) (answer, error) {
	for followed := 0; ; followed++ {
		resp, err := f.ask(u)
		if err != nil {
			return answer{}, err
		}
		switch code := resp.StatusCode; {
		case code == http.StatusOK, code == http.StatusNotModified && resp.Request.Header["If-None-Match"] != nil,
			code == http.StatusNotModified && resp.Request.Header["If-Modified-Since"] != nil:
			return answer{resp, u}, nil
		case code == http.StatusNotModified:
			_ = resp.Body.Close()
			return answer{}, &Error{Kind: Protocol, Status: code, Temporary: true, text: u.Host + " answered 304 Not Modified to a question without a condition"}
		case !redirects[code] || resp.Header.Get("Location") == "":
			_ = resp.Body.Close()
			return answer{}, statusError(u.Host, resp, f.c.now())
		}
		_ = resp.Body.Close()
		if followed == mostRedirects {
			return answer{}, failed(Redirect, false, "%s led through %d redirects and on; look at url", f.own.Host, mostRedirects)
		}
		if u, err = f.follow(u, resp); err != nil {
			return answer{}, err
		}
		f.c.o.Log.Debug("a feed is redirected", "feed", f.src, "to", visible(u))
	}
}

// follow says where a redirect leads, if it may.
func (f *fetching) follow(from *url.URL, resp *http.Response) (*url.URL, error) {
	no := func(format string, args ...any) (*url.URL, error) {
		e := failed(Redirect, false, format, args...)
		e.Status = resp.StatusCode
		return nil, e
	}
	to, err := url.Parse(resp.Header.Get("Location"))
	if err != nil {
		return no("%s redirects to something that is no URL", from.Host)
	}
	to = from.ResolveReference(to)
	to.Fragment, to.RawFragment = "", ""
	switch {
	case to.Scheme != "https" && to.Scheme != "http":
		return no("%s redirects to something other than https: and http:, which is not followed", from.Host)
	case to.Hostname() == "" || to.Opaque != "" || len(to.Host) > 300:
		return no("%s redirects to a URL without a proper host", from.Host)
	case from.Scheme == "https" && to.Scheme == "http":
		return no("%s redirects from https: to http:, which is not followed", from.Host)
	}
	// Credentials in a redirect are the server's idea of whom we should log in to.
	to.User = nil
	if f.isOwn(to) {
		to.User = f.own.User
	}
	return to, nil
}

// isOwn reports whether a URL is at the host and port that the operator wrote, or on
// its way from there to https on the usual ports. Only there do headers and the client
// certificate go.
func (f *fetching) isOwn(u *url.URL) bool {
	if !strings.EqualFold(u.Hostname(), f.own.Hostname()) {
		return false
	}
	if u.Scheme == f.own.Scheme {
		return port(u) == port(f.own)
	}
	return u.Scheme == "https" && port(u) == "443" && port(f.own) == "80"
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// ask sends one GET, again where the connection breaks before an answer.
func (f *fetching) ask(u *url.URL) (*http.Response, error) {
	r, err := f.route(u)
	if err != nil {
		return nil, err
	}
	req, err := retryablehttp.NewRequestWithContext(f.ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, failed(Redirect, false, "%s leads to a URL that cannot be asked for", f.own.Host)
	}
	h := req.Header
	h.Set("User-Agent", f.c.o.UserAgent)
	h.Set("Accept", "*/*")
	if f.src.Paging == TAXII {
		h.Set("Accept", "application/taxii+json;version=2.1")
	}
	h.Set("Accept-Encoding", "gzip, zstd, br")
	if f.isOwn(u) {
		seen := map[string]bool{} // what is given twice is sent twice, and the above only if not given
		for _, field := range f.src.Header {
			name := http.CanonicalHeaderKey(field.Name)
			if !seen[name] {
				h.Del(name)
			}
			seen[name] = true
			h.Add(name, field.Value.Reveal())
		}
	}
	if f.v.From != "" && f.v.From == placeOf(u) {
		if f.v.ETag != "" {
			h.Set("If-None-Match", f.v.ETag)
		}
		if f.v.LastModified != "" {
			h.Set("If-Modified-Since", f.v.LastModified)
		}
	}
	resp, err := r.client.Do(req)
	if err != nil {
		if resp != nil {
			_ = resp.Body.Close()
		}
		return nil, explain(f.ctx, u.Host, err)
	}
	return resp, nil
}
