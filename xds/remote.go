package xds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// nodeURI begins the URI in a certificate that says which node its owner is.
const nodeURI = "pavise://node/"

// NodeOf is the name of the node that a client's certificate is for: the one URI of the
// form pavise://node/NAMESPACE/NAME among its subject alternative names (RFC 5280,
// 4.2.1.6).
func NodeOf(c *x509.Certificate) (string, error) {
	node := ""
	for _, u := range c.URIs {
		name, ok := strings.CutPrefix(u.String(), nodeURI)
		if !ok {
			continue
		}
		if node != "" {
			return "", errors.New("it names more than one node")
		}
		namespace, workload, found := strings.Cut(name, "/")
		if !found || namespace == "" || workload == "" || strings.Contains(workload, "/") || u.RawQuery != "" || u.Fragment != "" {
			return "", fmt.Errorf("%q is not %sNAMESPACE/NAME", name, nodeURI)
		}
		node = name
	}
	if node == "" {
		return "", fmt.Errorf("it has no URI %sNAMESPACE/NAME", nodeURI)
	}
	return node, nil
}

// RunTLS serves Envoys and relays of other machines until the context ends. Each client
// gets the resources of the node that it has proven to be and of no other, whatever it
// claims: by a certificate that the configuration has verified, see [NodeOf], or by a
// bearer token, see ServerConfig.Token; with both they have to agree. Who has neither is
// refused. Every call of every service passes the same check. Where tokens are taken the
// configuration must not demand certificates (tls.VerifyClientCertIfGiven).
func (s *Server) RunTLS(ctx context.Context, l net.Listener, c *tls.Config) error {
	age := s.config.MaxAge
	if age < 0 {
		age = math.MaxInt64
	}
	return s.serve(ctx, l,
		grpc.Creds(credentials.NewTLS(c)),
		grpc.StreamInterceptor(s.proveStream),
		grpc.UnaryInterceptor(s.proveUnary),
		grpc.MaxRecvMsgSize(maxRemoteRequest),
		grpc.MaxHeaderListSize(maxHeaders),
		// Ten thousand who reconnect at once share the processors for their handshakes.
		grpc.ConnectionTimeout(30*time.Second),
		// A client that is gone without a word is noticed, and one may not ask too often.
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: time.Minute, Timeout: 20 * time.Second, MaxConnectionAge: age, MaxConnectionAgeGrace: ageGrace,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 20 * time.Second}),
	)
}

const (
	// ageGrace is how long a client has to leave a connection that is too old. A stream of
	// resources has no end of its own, so it is what it takes to notice.
	ageGrace = 10 * time.Second
	// maxHeaders bounds the headers of a call; a token is one.
	maxHeaders = 64 << 10
)

// quoted is a name that a stranger gave, for a log.
func quoted(s string) string { return fmt.Sprintf("%.100q", s) }
