package extauthz

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
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/internal/servertls"
)

// ca is a certificate authority of one test.
type ca struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newCA(t testing.TB) *ca {
	t.Helper()
	c := &ca{t: t, dir: t.TempDir()}
	var err error
	c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c.cert, c.cert, &c.key.PublicKey, c.key)
	must(t, err)
	c.cert, err = x509.ParseCertificate(der)
	must(t, err)
	c.write("ca.pem", "CERTIFICATE", der)
	return c
}

// write replaces a file in one step.
func (c *ca) write(name, kind string, der []byte) {
	temp := filepath.Join(c.dir, name+".new")
	must(c.t, os.WriteFile(temp, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	must(c.t, os.Rename(temp, filepath.Join(c.dir, name)))
}

// issue writes a certificate and its key; the certificate's serial number is returned.
func (c *ca) issue(name string, parts ...string) int64 {
	c.t.Helper()
	c.n++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(c.t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1000 + c.n), DNSNames: []string{"pavise-authz.pavise-system"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Duration(c.n) * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, c.cert, &key.PublicKey, c.key)
	must(c.t, err)
	if len(parts) == 0 || parts[0] == "certificate" {
		c.write(name+".pem", "CERTIFICATE", der)
	}
	if len(parts) == 0 {
		b, err := x509.MarshalPKCS8PrivateKey(key)
		must(c.t, err)
		c.write(name+".key", "PRIVATE KEY", b)
	}
	return 1000 + c.n
}

func (c *ca) path(name string) string { return filepath.Join(c.dir, name) }

func (c *ca) files(t testing.TB) *servertls.Files {
	t.Helper()
	c.issue("server")
	return &servertls.Files{Certificate: c.path("server.pem"), Key: c.path("server.key")}
}

// transport is how Envoy is told to trust the authority, and to show a certificate.
func (c *ca) transport(client string) string {
	own := ""
	if client != "" {
		own = fmt.Sprintf("tls_certificates: [{certificate_chain: {filename: %s}, private_key: {filename: %s}}], ", c.path(client+".pem"), c.path(client+".key"))
	}
	return `transport_socket: {name: envoy.transport_sockets.tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, ` +
		`sni: pavise-authz.pavise-system, common_tls_context: {` + own + `validation_context: {trusted_ca: {filename: ` + c.path("ca.pem") +
		`}, match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: pavise-authz.pavise-system}}]}}}}`
}

// served is the serial number of the certificate that a server shows.
func (c *ca) served(to net.Addr) int64 {
	c.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(c.cert)
	conn, err := tls.Dial("tcp", to.String(), &tls.Config{RootCAs: pool, ServerName: "pavise-authz.pavise-system", NextProtos: []string{"h2"}})
	must(c.t, err)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// TestCertificateRotates would catch a certificate that is never loaded (linkerd 15109), and
// a server that goes down with one that is half written.
func TestCertificateRotates(t *testing.T) {
	c := newCA(t)
	s := serve(t, Config{Address: "127.0.0.1:0", TLS: c.files(t), Logger: logger(t)}, lists...)
	p := start(t, "", "direct.yaml", map[string]string{"PAVISE_ADDRESS": socketAddress(s.Addr()), "UPSTREAM_PORT": web(t), "PAVISE_TRANSPORT": c.transport("")})
	denied := func() {
		t.Helper()
		if got := p.get("127.66.0.1", "a.example").String(); got != botsBody {
			t.Error(got)
		}
	}
	denied()
	if got := c.served(s.Addr()); got != 1001 {
		t.Errorf("%d", got)
	}
	second := c.issue("server")
	if got := c.served(s.Addr()); got != second {
		t.Errorf("the second one is not served, but %d", got)
	}
	if left := time.Until(s.Stats().CertificateExpiry); left < 110*time.Minute {
		t.Errorf("it says that it is over in %s", left)
	}
	c.issue("server", "certificate") // its key is not there yet
	if got := c.served(s.Addr()); got != second {
		t.Errorf("half a pair: %d", got)
	}
	if got := s.Stats().CertificateError; !strings.Contains(got, "server.pem with key") {
		t.Errorf("%q", got)
	}
	must(t, os.Remove(c.path("server.key")))
	if got := c.served(s.Addr()); got != second {
		t.Errorf("no key: %d", got)
	}
	last := c.issue("server")
	if got := c.served(s.Addr()); got != last || s.Stats().CertificateError != "" {
		t.Errorf("the last one is not served, but %d: %s", got, s.Stats().CertificateError)
	}
	denied()
}

// TestClientCA: an Envoy without a certificate of the authority gets no answer, and so its
// own fail mode decides.
func TestClientCA(t *testing.T) {
	c, other := newCA(t), newCA(t)
	files := c.files(t)
	files.ClientCA = c.path("ca.pem")
	s := serve(t, Config{Address: "127.0.0.1:0", TLS: files}, lists...)
	upstream := web(t)
	c.issue("client")
	other.issue("client")
	stranger := strings.ReplaceAll(c.transport("client"), c.path("client."), other.path("client."))
	for _, x := range []struct{ name, transport, want string }{
		{"ours", c.transport("client"), botsBody},
		{"none", c.transport(""), "403"},
		{"of somebody else", stranger, "403"},
	} {
		p := start(t, "", "direct.yaml", map[string]string{"PAVISE_ADDRESS": socketAddress(s.Addr()), "UPSTREAM_PORT": upstream, "PAVISE_TRANSPORT": x.transport})
		if got := strings.TrimSpace(p.get("127.66.0.1", "a.example").String()); got != x.want {
			t.Errorf("a certificate: %s: %q, want %q", x.name, got, x.want)
		}
	}
	if got := s.Stats().Checks; got != 1 {
		t.Errorf("%d checks", got)
	}
}
