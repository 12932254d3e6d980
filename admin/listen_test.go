package admin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const goodToken = "0123456789abcdef0123456789abcdef"

var quiet = slog.New(slog.DiscardHandler)

func tokenAt(t *testing.T, token string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// served serves at a real listener and returns its address. loopback false treats it as one that
// others can reach.
func served(t *testing.T, s Source, o Options, loopback bool) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if o.Log == nil {
		o.Log = quiet
	}
	srv, err := listenOn(l, s, o, loopback)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func client(t *testing.T, c *tls.Config) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

func fetched(t *testing.T, c *http.Client, req *http.Request) (status int, body string, h http.Header) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), resp.Header
}

// TestNoRouteWithoutCredentials walks the table, and paths that are not in it.
func TestNoRouteWithoutCredentials(t *testing.T) {
	ca := newAuthority(t)
	for scheme, c := range map[string]struct{ server, client *tls.Config }{
		"http": {}, "https": {ca.server(t), &tls.Config{RootCAs: ca.pool}},
	} {
		t.Run(scheme, func(t *testing.T) { noRouteWithoutCredentials(t, scheme, c.server, c.client) })
	}
}

func noRouteWithoutCredentials(t *testing.T, scheme string, server, asking *tls.Config) {
	l := newLab(t)
	pages := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a page")) })
	address := served(t, l, Options{TLS: server, TokenFile: tokenAt(t, goodToken), Profile: true, Pages: pages}, false)
	all := routes()
	for _, path := range []string{"/", "/api", "/api/v1/", "/api/v1/nothing", "/debug/pprof/", "/debug/pprof/cmdline", "/favicon.ico", "//api/v1/status", "/api/v1/../v1/status"} {
		all = append(all, route{method: "GET", path: path})
	}
	c := client(t, asking)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, r := range all {
		for _, method := range []string{r.method, "GET", "POST", "HEAD", "OPTIONS", "DELETE"} {
			req := example(&r, l)
			req.URL.Scheme, req.URL.Host, req.Host, req.Method, req.RequestURI = scheme, address, "", method, ""
			status, body, h := fetched(t, c, req)
			if status != http.StatusUnauthorized || h.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s %s without credentials: %d %s", method, r.path, status, body)
			}
			if h.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s %s: no security headers", method, r.path)
			}
		}
		if r.path == "/api/v1/follow" || r.summary == "" {
			continue
		}
		req := example(&r, l)
		req.URL.Scheme, req.URL.Host, req.Host, req.RequestURI = scheme, address, "", ""
		req.Header.Set("Authorization", "Bearer "+goodToken)
		if status, body, _ := fetched(t, c, req); status != http.StatusOK {
			t.Errorf("%s %s with the token: %d %s", r.method, r.path, status, body)
		}
	}
}

// TestRefusesToStart: off loopback without anything that says who may ask, and with a token that
// can be guessed; the error says what to do, and not what the token is.
func TestRefusesToStart(t *testing.T) {
	for name, c := range map[string]struct {
		o        Options
		loopback bool
		want     string
	}{
		"nothing":           {Options{}, false, "--admin-token-file"},
		"TLS without names": {Options{TLS: &tls.Config{}}, false, "--admin-token-file"},
		"unverified":        {Options{TLS: &tls.Config{ClientAuth: tls.RequireAnyClientCert}}, false, "client certificates"},
		"a short token":     {Options{TokenFile: tokenAt(t, goodToken[1:])}, false, "32"},
		"two words":         {Options{TokenFile: tokenAt(t, goodToken+" "+goodToken)}, false, "one word"},
		"an empty file":     {Options{TokenFile: tokenAt(t, "")}, true, "32"},
		"a long token":      {Options{TokenFile: tokenAt(t, strings.Repeat("a", maxToken+1))}, true, "4096"},
		"no file":           {Options{TokenFile: filepath.Join(t.TempDir(), "none")}, true, "no such file"},
	} {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c.o.Log = quiet
		_, err = listenOn(l, &bare{}, c.o, c.loopback)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), goodToken[1:]) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := l.Accept(); err == nil {
			t.Errorf("%s: it still listens", name)
		}
	}
	// By the address itself: all of them is not loopback.
	if _, err := Listen(t.Context(), ":0", &bare{}, Options{Log: quiet}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("all addresses: %v", err)
	}
	for _, address := range []string{"127.0.0.1:0", "localhost:0"} {
		s, err := Listen(t.Context(), address, &bare{}, Options{Log: quiet})
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		_ = s.listener.Close()
	}
}

// TestPagesFromElsewhere: a name that somebody made to lead here (DNS rebinding), and what a
// browser sends for another origin, are refused, with and without a client certificate.
func TestPagesFromElsewhere(t *testing.T) {
	ca := newAuthority(t)
	plain := served(t, newLab(t), Options{Names: []string{"Pavise.Internal"}}, true)
	mutual := served(t, newLab(t), Options{TLS: ca.server(t), Names: []string{"pavise.internal"}}, false)
	with := ca.client(t)
	token := served(t, newLab(t), Options{TokenFile: tokenAt(t, goodToken)}, false)
	for _, c := range []struct {
		name, host, header, value string
		want                      int
	}{
		{"by address", "", "", "", 200},
		{"another loopback address", "127.0.0.2:80", "", "", 200},
		{"IPv6", "[::1]:15000", "", "", 200},
		{"localhost", "LOCALHOST:15000", "", "", 200},
		{"its name", "pavise.internal", "", "", 200},
		{"its name and port", "pavise.internal:15016", "", "", 200},
		{"DNS rebinding", "evil.example", "", "", 403},
		{"DNS rebinding with a port", "evil.example:15000", "", "", 403},
		{"a name that ends so", "evil.localhost", "", "", 403},
		{"a name that looks like an address", "127.0.0.1.nip.io", "", "", 403},
		{"an odd spelling of an address", "0x7f.1", "", "", 403},
		{"same origin", "", "Origin", "same", 200},
		{"another origin", "", "Origin", "https://evil.example", 403},
		{"no origin to speak of", "", "Origin", "null", 403},
		{"another port", "", "Origin", "http://127.0.0.1:1", 403},
		{"typed by hand", "", "Sec-Fetch-Site", "none", 200},
		{"from itself", "", "Sec-Fetch-Site", "same-origin", 200},
		{"from elsewhere", "", "Sec-Fetch-Site", "cross-site", 403},
		{"from another port", "", "Sec-Fetch-Site", "same-site", 403},
	} {
		for address, tlsConfig := range map[string]*tls.Config{plain: nil, mutual: with, token: nil} {
			scheme := "http"
			if tlsConfig != nil {
				scheme = "https"
			}
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+"://"+address+"/api/v1/status", http.NoBody)
			want := c.want
			if address == token {
				// A page from elsewhere has no token, and a program has no origin.
				req.Header.Set("Authorization", "Bearer "+goodToken)
				want = 200
			}
			req.Host = c.host
			if c.value == "same" {
				req.Header.Set(c.header, scheme+"://"+address)
			} else if c.header != "" {
				req.Header.Set(c.header, c.value)
			}
			if status, body, _ := fetched(t, client(t, tlsConfig), req); status != want {
				t.Errorf("%s at %s: %d %s, want %d", c.name, scheme, status, body, want)
			}
		}
	}
}

// TestClientCertificates: one of a trusted authority is let in, none and one of another are not.
func TestClientCertificates(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	address := served(t, newLab(t), Options{TLS: ca.server(t)}, false)
	get := func(c *tls.Config) (int, error) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/api/v1/status", http.NoBody)
		resp, err := client(t, c).Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}
	if status, err := get(ca.client(t)); err != nil || status != http.StatusOK {
		t.Errorf("with a certificate: %d %v", status, err)
	}
	stranger := other.client(t)
	stranger.RootCAs = ca.pool
	if status, err := get(stranger); err == nil {
		t.Errorf("with that of another authority: %d", status)
	}
	if status, err := get(&tls.Config{RootCAs: ca.pool}); err != nil || status != http.StatusUnauthorized {
		t.Errorf("without one: %d %v", status, err)
	}
}

// TestTokenIsReadAgain: a new token is in use at once, the old one no more; a file that cannot be
// used lets nobody in.
func TestTokenIsReadAgain(t *testing.T) {
	path := tokenAt(t, goodToken)
	tf, err := openToken(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	next := strings.ToUpper(goodToken)
	if !tf.is(goodToken) || tf.is(next) || tf.is("") {
		t.Error("the first token")
	}
	replace := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	replace(next)
	if tf.is(goodToken) || !tf.is(next) {
		t.Error("the second token")
	}
	replace("short")
	if tf.is(next) || tf.is("short") || tf.is("") {
		t.Error("a file that cannot be used lets somebody in")
	}
	replace(goodToken)
	if !tf.is(goodToken) {
		t.Error("a file that was mended")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if tf.is(goodToken) || tf.is("") {
		t.Error("a file that is gone lets somebody in")
	}
}

// TestWrongTokensAreBounded: beyond the bound even the right one is not compared, for that
// address alone, and not for long.
func TestWrongTokensAreBounded(t *testing.T) {
	now := time.Unix(1, 0)
	var tr tries
	tr.now = func() time.Time { return now }
	one, other := prefixOf("192.0.2.1:1"), prefixOf("192.0.2.2:1")
	compared := 0
	wrong := func(from netip.Prefix) bool {
		_, limited := tr.attempt(from, func() bool { compared++; return false })
		return limited
	}
	right := func(from netip.Prefix) bool {
		ok, _ := tr.attempt(from, func() bool { return true })
		return ok
	}
	for range 1000 {
		wrong(one)
	}
	if compared != mostTries {
		t.Errorf("%d wrong tokens were compared", compared)
	}
	if right(one) || !right(other) {
		t.Error("the bound is not that of one address")
	}
	now = now.Add(triesEvery)
	for range 1000 {
		if !right(one) {
			t.Fatal("right tokens are counted")
		}
	}
	for range 100 {
		wrong(one)
	}
	if compared != mostTries+1 {
		t.Errorf("%d wrong tokens were compared after a second", compared)
	}
	// Those of one IPv6 network are one; and no number of addresses takes more memory.
	if prefixOf("[2001:db8::1]:1") != prefixOf("[2001:db8::ffff:1]:1") || prefixOf("[::ffff:192.0.2.1]:1") != one {
		t.Error("networks")
	}
	for i := range 10 * mostTriers {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		wrong(netip.PrefixFrom(a, 32))
	}
	if len(tr.by) > mostTriers {
		t.Errorf("%d addresses are remembered", len(tr.by))
	}
}

// TestWrongTokensOverTheWire: 401 first, then 429, and the log has no token.
func TestWrongTokensOverTheWire(t *testing.T) {
	var log strings.Builder
	address := served(t, newLab(t), Options{TokenFile: tokenAt(t, goodToken), Log: slog.New(slog.NewTextHandler(&log, nil))}, false)
	c := client(t, nil)
	var last int
	for range mostTries + 5 {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/api/v1/status", http.NoBody)
		req.Header.Set("Authorization", "Bearer "+canary)
		status, body, _ := fetched(t, c, req)
		if last = status; strings.Contains(body, canary) || status != http.StatusUnauthorized && status != http.StatusTooManyRequests {
			t.Fatalf("%d %s", status, body)
		}
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("in the end %d", last)
	}
	if strings.Contains(log.String(), canary) || strings.Contains(log.String(), goodToken) {
		t.Errorf("a token is in the log:\n%s", log.String())
	}
}

// authority makes certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) server(t *testing.T) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{a.issue(t)}, ClientCAs: a.pool, ClientAuth: tls.VerifyClientCertIfGiven}
}

func (a *authority) client(t *testing.T) *tls.Config {
	t.Helper()
	return &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{a.issue(t)}}
}
