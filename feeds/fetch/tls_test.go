package fetch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/internal/secret"
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
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

func (a *authority) sign(change func(*x509.Certificate)) (tls.Certificate, []byte, []byte) {
	a.t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"feed.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(c)
	}
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	k, _ := x509.MarshalPKCS8PrivateKey(key)
	cp := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	kp := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})
	pair, err := tls.X509KeyPair(cp, kp)
	if err != nil {
		a.t.Fatal(err)
	}
	return pair, cp, kp
}

// serveTLS answers at an address, with a certificate.
func serveTLS(t *testing.T, ip string, config *tls.Config, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	listen(t, s, ip)
	s.TLS = config
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

func TestBadCertificate(t *testing.T) {
	ca := newAuthority(t)
	for name, c := range map[string]struct {
		change func(*x509.Certificate)
		tls    TLS
		says   string // "" for a good one
	}{
		"good":              {nil, TLS{CA: ca.pem}, ""},
		"unknown authority": {nil, TLS{}, "is signed by an authority that is not trusted; set tls.ca"},
		"another authority": {nil, TLS{CA: newAuthority(t).pem}, "is signed by an authority that is not trusted; set tls.ca"},
		"expired": {func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		}, TLS{CA: ca.pem}, "expired on 20"},
		"not yet valid": {func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		}, TLS{CA: ca.pem}, "is not valid before 20"},
		"wrong host": {func(c *x509.Certificate) {
			c.DNSNames = []string{"a.test", "b.test", "c.test", "d.test"}
		}, TLS{CA: ca.pem}, `is for another name, "a.test", "b.test", "c.test" and 1 more`},
		"wrong host, and expected": {func(c *x509.Certificate) { c.DNSNames = []string{"other.test"} }, TLS{CA: ca.pem, ServerName: "other.test"}, ""},
		"for clients only": {func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}, TLS{CA: ca.pem}, "is not meant for servers"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.name("feed.test", aPublic)
			pair, _, _ := ca.sign(c.change)
			var proto string
			u := serveTLS(t, aPublic, &tls.Config{Certificates: []tls.Certificate{pair}}, func(w http.ResponseWriter, r *http.Request) {
				proto = r.Proto
				says(200, list)(w, r)
			})
			src := Source{URL: "https://feed.test:" + portOf(t, u), TLS: c.tls}
			if c.says != "" {
				l.fails(src, Certificate, "the certificate of feed.test:"+portOf(t, u)+" "+c.says)
				return
			}
			l.gives(src, list)
			if proto != "HTTP/1.1" {
				t.Errorf("spoke %s", proto)
			}
		})
	}
}

func TestClientCertificateRequired(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	pair, _, _ := ca.sign(nil)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	_, cp, kp := ca.sign(nil)
	_, sp, sk := stranger.sign(nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		l := newLab(t)
		l.name("feed.test", aPublic)
		u := serveTLS(t, aPublic, &tls.Config{
			Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MaxVersion: version,
		}, says(200, list))
		u = "https://feed.test:" + portOf(t, u)
		l.gives(Source{URL: u, TLS: TLS{CA: ca.pem, Certificate: cp, Key: secret.New(string(kp))}}, list)
		l.fails(Source{URL: u, TLS: TLS{CA: ca.pem}}, Certificate, "tls.certificate")
		l.fails(Source{URL: u, TLS: TLS{CA: ca.pem, Certificate: sp, Key: secret.New(string(sk))}}, Certificate, "our certificate")
	}
}

// TestClientCertificateStaysAtItsHost: another host that asks for one gets none.
func TestClientCertificateStaysAtItsHost(t *testing.T) {
	ca := newAuthority(t)
	pair, cp, kp := ca.sign(func(c *x509.Certificate) { c.DNSNames = []string{"feed.test", "other.test"} })
	l := newLab(t)
	l.name("feed.test", aPublic)
	l.name("other.test", aPublic2)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
	shown := map[string]int{}
	other := serveTLS(t, aPublic2, config.Clone(), func(w http.ResponseWriter, r *http.Request) {
		shown["other"] = len(r.TLS.PeerCertificates)
		says(200, list)(w, r)
	})
	own := serveTLS(t, aPublic, config.Clone(), func(w http.ResponseWriter, r *http.Request) {
		shown["own"] = len(r.TLS.PeerCertificates)
		http.Redirect(w, r, "https://other.test:"+portOf(t, other), http.StatusFound)
	})
	l.gives(Source{URL: "https://feed.test:" + portOf(t, own), TLS: TLS{CA: ca.pem, Certificate: cp, Key: secret.New(string(kp))}}, list)
	if shown["own"] != 1 || shown["other"] != 0 {
		t.Errorf("certificates shown: %v", shown)
	}
}

func TestRedirectFromHTTPSToHTTP(t *testing.T) {
	ca := newAuthority(t)
	pair, _, _ := ca.sign(nil)
	l := newLab(t)
	l.name("feed.test", aPublic)
	plain, n := counted(t, aPublic2)
	u := serveTLS(t, aPublic, &tls.Config{Certificates: []tls.Certificate{pair}}, says(302, "", "Location", plain))
	l.fails(Source{URL: "https://feed.test:" + portOf(t, u), TLS: TLS{CA: ca.pem}}, Redirect, "from https: to http:")
	if n.Load() != 0 {
		t.Error("it was asked")
	}
}

func TestHandshakes(t *testing.T) {
	l := newLab(t, func(o *Options) { o.Timeouts.Handshake = 100 * time.Millisecond })
	ln, err := net.Listen("tcp", aPublic+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // accepted by the kernel, and by nobody else
	l.fails(Source{URL: "https://" + ln.Addr().String()}, Timeout, "TLS handshake")

	ca := newAuthority(t)
	pair, _, _ := ca.sign(nil)
	l = newLab(t)
	old := serveTLS(t, aPublic, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, says(200, list))
	l.fails(Source{URL: strings.Replace(old, "http:", "https:", 1)}, Certificate, "TLS")
}
