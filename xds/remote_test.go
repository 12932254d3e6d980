package xds

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// authority signs certificates.
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
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	return a
}

// sign makes a certificate with names of hosts or URIs.
func (a *authority) sign(t *testing.T, uris ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, s := range uris {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// TestEveryCallIsProven walks every method of every service that is served over TLS: none
// answers a client without a certificate, or with one that names no node (CVE-2026-53714: the
// streams of a control plane asked who it was, and Fetch did not).
func TestEveryCallIsProven(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(ServerConfig{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	server := ca.sign(t)
	go func() {
		ended <- s.RunTLS(ctx, l, &tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{server},
			ClientCAs: ca.pool(), ClientAuth: tls.VerifyClientCertIfGiven,
		})
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	services := []grpc.ServiceDesc{discoveryv3.AggregatedDiscoveryService_ServiceDesc, accesslogv3.AccessLogService_ServiceDesc}
	for _, c := range []struct {
		name  string
		certs []tls.Certificate
		ok    bool
	}{
		{"no certificate", nil, false},
		{"a stranger's", []tls.Certificate{stranger.sign(t, "pavise://node/shop/web")}, false},
		{"no node", []tls.Certificate{ca.sign(t)}, false},
		{"another kind of URI", []tls.Certificate{ca.sign(t, "spiffe://cluster/ns/shop/sa/web")}, false},
		{"two nodes", []tls.Certificate{ca.sign(t, "pavise://node/shop/web", "pavise://node/shop/database")}, false},
		{"half a node", []tls.Certificate{ca.sign(t, "pavise://node/shop")}, false},
		{"more than a node", []tls.Certificate{ca.sign(t, "pavise://node/shop/web/x")}, false},
		{"a query", []tls.Certificate{ca.sign(t, "pavise://node/shop/web?x")}, false},
		{"a node", []tls.Certificate{ca.sign(t, "pavise://node/shop/web")}, true},
	} {
		conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: ca.pool(), ServerName: "localhost", Certificates: c.certs,
		})))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range services {
			for _, m := range d.Methods {
				err := conn.Invoke(ctx, "/"+d.ServiceName+"/"+m.MethodName, &discoveryv3.DiscoveryRequest{}, &discoveryv3.DiscoveryResponse{})
				refused(t, c.name+" "+m.MethodName, err, c.ok)
			}
			for _, m := range d.Streams {
				// Nothing is sent, so one that is let in waits until it ends.
				call, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
				stream, err := conn.NewStream(call, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+d.ServiceName+"/"+m.StreamName)
				if err == nil {
					err = stream.RecvMsg(&discoveryv3.DiscoveryResponse{})
				}
				cancel()
				refused(t, c.name+" "+m.StreamName, err, c.ok)
			}
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

func refused(t *testing.T, what string, err error, ok bool) {
	t.Helper()
	code := status.Code(err)
	if in := code != codes.Unauthenticated && code != codes.Unavailable; in != ok {
		t.Errorf("%s: %v", what, err)
	}
}
