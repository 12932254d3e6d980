package servertls_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pavise.dev/pavise/internal/servertls"
)

// authority makes certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key}
	a.cert, _ = a.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, key)
	return a
}

func (a *authority) sign(t *testing.T, c *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, []byte) {
	t.Helper()
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: "test"}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := a.cert
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, der
}

// leaf is a certificate and its key, PEM.
func (a *authority) leaf(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, der := a.sign(t, &x509.Certificate{
		DNSNames: []string{"pavise.test"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, k)
	text, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text})
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func replace(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestClients: whom a server lets in, and that the outer configuration, which callers look at,
// says the same as the one of each handshake; also when its files are replaced, for who was
// connected before and would resume.
func TestClients(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	for name, c := range map[string]struct {
		clients, optional              bool
		auth                           tls.ClientAuthType
		without, right, wrong, resumed bool
	}{
		"nobody is asked": {false, false, tls.NoClientCert, true, true, true, true},
		"required":        {true, false, tls.RequireAndVerifyClientCert, false, true, false, false},
		"optional":        {true, true, tls.VerifyClientCertIfGiven, true, true, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := servertls.Files{
				Certificate: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key"), ClientOptional: c.optional,
			}
			cert, key := ca.leaf(t)
			replace(t, f.Certificate, cert)
			replace(t, f.Key, key)
			if c.clients {
				f.ClientCA = filepath.Join(dir, "ca")
				replace(t, f.ClientCA, ca.pem())
			}
			s, err := servertls.New(f, slog.New(slog.DiscardHandler), "http/1.1")
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Config().ClientAuth; got != c.auth {
				t.Errorf("the outer configuration says %v, want %v", got, c.auth)
			}
			roots := x509.NewCertPool()
			roots.AddCert(ca.cert)
			client := &tls.Config{RootCAs: roots, ServerName: "pavise.test", ClientSessionCache: tls.NewLRUClientSessionCache(4)}
			mine, strange := client.Clone(), client.Clone()
			mine.ClientSessionCache, strange.ClientSessionCache = tls.NewLRUClientSessionCache(4), nil
			mine.Certificates, strange.Certificates = []tls.Certificate{pair(t, ca)}, []tls.Certificate{pair(t, other)}
			for who, x := range map[string]struct {
				config *tls.Config
				want   bool
			}{"without a certificate": {client, c.without}, "with one": {mine, c.right}, "with another's": {strange, c.wrong}} {
				if got := greets(t, s.Config(), x.config); got != x.want {
					t.Errorf("%s: let in %t, want %t", who, got, x.want)
				}
			}
			if !c.clients {
				return
			}
			replace(t, f.ClientCA, other.pem())
			if got := greets(t, s.Config(), mine); got != c.resumed {
				t.Errorf("whose authority is gone: let in %t", got)
			}
			if !greets(t, s.Config(), strange) {
				t.Error("the new authority is not taken")
			}
			replace(t, f.ClientCA, []byte("no certificate"))
			if greets(t, s.Config(), mine) || !greets(t, s.Config(), strange) {
				t.Error("a file that cannot be used changes who is let in")
			}
			if _, why := s.State(); why == "" {
				t.Error("and nobody is told")
			}
		})
	}
}

func pair(t *testing.T, a *authority) tls.Certificate {
	t.Helper()
	p, err := tls.X509KeyPair(a.leaf(t))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// greets says whether a client gets an answer.
func greets(t *testing.T, server, client *tls.Config) bool {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if s := tls.Server(c, server); s.HandshakeContext(t.Context()) == nil {
			_, _ = s.Write([]byte("hello"))
			_ = s.Close()
		}
	}()
	d := tls.Dialer{Config: client}
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		<-done
		return false
	}
	text, _ := io.ReadAll(c)
	_ = c.Close()
	<-done
	return string(text) == "hello"
}
