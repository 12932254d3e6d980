package admin

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"pavise.dev/pavise/internal/servertls"
)

// certificateFiles are those of a server of the authority, which asks for clients of it.
func (a *authority) certificateFiles(t *testing.T) servertls.Files {
	t.Helper()
	c := a.issue(t)
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return servertls.Files{
		Certificate: write("cert", "CERTIFICATE", c.Certificate[0]), Key: write("key", "PRIVATE KEY", key), ClientCA: write("ca", "CERTIFICATE", a.cert.Raw),
	}
}

// TestCertificatesInFiles: off loopback, client certificates alone are enough to start; with a
// token either lets in, and nobody is let in with neither.
func TestCertificatesInFiles(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	const failed = 0 // the handshake
	for name, c := range map[string]struct {
		o                              Options
		optional                       bool
		none, right, wrong, token, bad int
	}{
		"certificates":          {Options{}, false, failed, 200, failed, failed, failed},
		"certificates or token": {Options{TokenFile: tokenAt(t, goodToken)}, true, 401, 200, failed, 200, 401},
	} {
		t.Run(name, func(t *testing.T) {
			files := ca.certificateFiles(t)
			files.ClientOptional = c.optional
			s, err := servertls.New(files, quiet, "http/1.1")
			if err != nil {
				t.Fatal(err)
			}
			c.o.TLS = s.Config()
			address := served(t, newLab(t), c.o, false)
			stranger := other.client(t)
			stranger.RootCAs = ca.pool
			for who, x := range map[string]struct {
				config *tls.Config
				token  string
				want   int
			}{
				"nobody":      {&tls.Config{RootCAs: ca.pool}, "", c.none},
				"a client":    {ca.client(t), "", c.right},
				"a stranger":  {stranger, "", c.wrong},
				"a token":     {&tls.Config{RootCAs: ca.pool}, goodToken, c.token},
				"a bad token": {&tls.Config{RootCAs: ca.pool}, canary, c.bad},
			} {
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/api/v1/status", http.NoBody)
				if x.token != "" {
					req.Header.Set("Authorization", "Bearer "+x.token)
				}
				status := failed
				resp, err := client(t, x.config).Do(req)
				if err == nil {
					status = resp.StatusCode
					_ = resp.Body.Close()
				}
				if status != x.want {
					t.Errorf("%s: %d %v, want %d", who, status, err, x.want)
				}
			}
		})
	}
}
