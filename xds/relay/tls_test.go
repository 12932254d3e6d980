package relay_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"pavise.dev/pavise/xds/relay"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "lab"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// sign makes a certificate of a name and its key, in PEM.
func (a *authority) sign(name string) (cert, key []byte) {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, k.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk})
}

func (a *authority) pair(name string) tls.Certificate {
	a.t.Helper()
	pair, err := tls.X509KeyPair(a.sign(name))
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

// file has the authority's certificate.
func (a *authority) file(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "ca.pem")
	put(t, path, a.pem)
	return path
}

// put replaces a file in one step.
func put(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// secured is a scripted control plane behind TLS, and its address.
func secured(t *testing.T, config *tls.Config) (*script, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startScript(t, "", l, credentials.NewTLS(config)), l.Addr().String()
}

// TestCertificateOfControlPlane: the relay speaks to the control plane that was meant, and
// to no other.
func TestCertificateOfControlPlane(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	for name, c := range map[string]struct {
		cert tls.Certificate
		says string
	}{
		"the right one":     {ca.pair("plane.test"), ""},
		"another name":      {ca.pair("other.test"), "not plane.test"},
		"another authority": {stranger.pair("plane.test"), "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			s, at := secured(t, &tls.Config{Certificates: []tls.Certificate{c.cert}})
			r := newRelay(t, shortDir(t), func(o *relay.Config) {
				o.Target, o.TLS = at, relay.TLS{CAFile: ca.file(t), ServerName: "plane.test"}
			})
			dialEnvoy(t, r.config.Socket).begin(cds, nil)
			if c.says == "" {
				s.stream().next()
				return
			}
			st := r.await(t, "it is refused", func(st relay.Status) bool { return st.LastError != "" })
			if !strings.Contains(st.LastError, c.says) || st.Connected {
				t.Errorf("the status is %+v", st)
			}
		})
	}
}

// TestCredentialsAreRead is linkerd 15109: a new certificate was never loaded. Every
// connection uses what is in the files then: certificate, authority and token; and no
// token is shown anywhere.
func TestCredentialsAreRead(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	server := ca.pair("plane.test")
	var shown atomic.Value
	s, at := secured(t, &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &server, nil },
		ClientAuth:     tls.RequireAndVerifyClientCert, ClientCAs: pool,
		VerifyConnection: func(c tls.ConnectionState) error {
			shown.Store(c.PeerCertificates[0].Subject.CommonName)
			return nil
		},
	})
	files := relay.TLS{
		CAFile: filepath.Join(dir, "ca"), CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key"), ServerName: "plane.test",
	}
	tokenFile := filepath.Join(dir, "token")
	renew := func(name, token string) {
		cert, key := ca.sign(name)
		put(t, files.CertFile, cert)
		put(t, files.KeyFile, key)
		put(t, tokenFile, []byte(token+"\n"))
	}
	put(t, files.CAFile, newAuthority(t).pem) // of the wrong one, at first
	renew("first", "canary-1")
	r := newRelay(t, shortDir(t), func(c *relay.Config) { c.Target, c.TLS, c.TokenFile = at, files, tokenFile })
	dialEnvoy(t, r.config.Socket).begin(cds, nil)
	r.await(t, "the authority is not known", func(st relay.Status) bool { return strings.Contains(st.LastError, "unknown authority") })
	put(t, files.CAFile, ca.pem)
	p := s.stream()
	p.next()
	if shown.Load() != "first" || !slices.Equal(p.auth, []string{"Bearer canary-1"}) {
		t.Errorf("shown were %v and %v", shown.Load(), p.auth)
	}
	renew("second", "canary-2")
	p.finish <- nil
	p = s.stream()
	p.next()
	if shown.Load() != "second" || !slices.Equal(p.auth, []string{"Bearer canary-2"}) {
		t.Errorf("after they were replaced, shown were %v and %v", shown.Load(), p.auth)
	}
	// Files that cannot be used are said so, and mended by a good one.
	for path, c := range map[string]struct{ bad, says string }{
		tokenFile:      {"canary-3 canary-4", "has to hold one word"},
		files.CertFile: {"no PEM", "the client certificate"},
		files.CAFile:   {"no PEM", "no certificate in PEM"},
		files.KeyFile:  {"", "has to be a file of 1 to"},
	} {
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		put(t, path, []byte(c.bad))
		p.finish <- nil
		st := r.await(t, "it is said what is wrong with "+path, func(st relay.Status) bool { return strings.Contains(st.LastError, c.says) })
		if !strings.Contains(st.LastError, path) {
			t.Errorf("which file it is, is not said: %s", st.LastError)
		}
		put(t, path, good)
		p = s.stream()
		p.next()
	}
	if text := r.log.text() + fmt.Sprintf("%+v", r.Status()); strings.Contains(text, "canary") {
		t.Errorf("a token is shown in\n%s", text)
	}
}
