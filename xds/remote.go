package xds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
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

// RunTLS serves Envoys and relays of other machines until the context ends. The
// configuration has to ask clients for certificates and verify them, since who has none is
// refused: each client gets the resources of the node in its certificate and of no other,
// whatever it claims to be. Every call of every service passes the same check.
func (s *Server) RunTLS(ctx context.Context, l net.Listener, c *tls.Config) error {
	return s.serve(ctx, l,
		grpc.Creds(credentials.NewTLS(c)),
		grpc.StreamInterceptor(proveStream),
		grpc.UnaryInterceptor(proveUnary),
		grpc.ConnectionTimeout(10*time.Second),
		// A client that is gone without a word is noticed, and one may not ask too often.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 20 * time.Second}),
	)
}

// nodeKey is the context key of the node that a client has proven to be.
type nodeKey struct{}

func provenNode(ctx context.Context) string {
	node, _ := ctx.Value(nodeKey{}).(string)
	return node
}

// prove takes the node from the certificate.
func prove(ctx context.Context) (context.Context, error) {
	p, _ := peer.FromContext(ctx)
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return nil, status.Error(codes.Unauthenticated, "no certificate")
	}
	node, err := NodeOf(info.State.VerifiedChains[0][0])
	if err != nil {
		return nil, status.Errorf(codes.Unauthenticated, "the certificate does not say which node it is for: %v", err)
	}
	return context.WithValue(ctx, nodeKey{}, node), nil
}

type provenStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // that of the stream, with the node
}

func (s provenStream) Context() context.Context { return s.ctx }

func proveStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, err := prove(stream.Context())
	if err != nil {
		return err
	}
	return next(srv, provenStream{stream, ctx})
}

func proveUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, err := prove(ctx)
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

// quoted is a name that a stranger gave, for a log.
func quoted(s string) string { return fmt.Sprintf("%.100q", s) }
