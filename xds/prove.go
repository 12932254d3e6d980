package xds

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

// maxToken bounds a bearer token in octets.
const maxToken = 16 << 10

// nodeKey is the context key of the node that a client has proven to be, endKey that of
// what ends its call.
type (
	nodeKey struct{}
	endKey  struct{}
)

func provenNode(ctx context.Context) string {
	node, _ := ctx.Value(nodeKey{}).(string)
	return node
}

// endable gives each call a context that can be ended from outside of its handler, which
// may be waiting for the client. It is where gRPC takes it from.
func endable(ctx context.Context, _ *tap.Info) (context.Context, error) {
	ctx, end := context.WithCancelCause(ctx)
	return context.WithValue(ctx, endKey{}, end), nil
}

// endOf ends the call of that context.
func endOf(ctx context.Context) context.CancelCauseFunc {
	end, ok := ctx.Value(endKey{}).(context.CancelCauseFunc)
	if !ok {
		return func(error) {}
	}
	return end
}

// identity is who a client has proven to be, and until when that holds.
type identity struct {
	node    string
	expires time.Time
}

// prove takes the node from the certificate or the token.
func (s *Server) prove(ctx context.Context) (identity, error) {
	byCert, err := certified(ctx)
	if err != nil {
		return identity{}, err
	}
	token, err := bearer(ctx)
	if err != nil {
		return identity{}, err
	}
	if token == "" || s.config.Token == nil {
		if byCert.node == "" {
			return identity{}, status.Error(codes.Unauthenticated, "no certificate and no token that says which node it is for")
		}
		return byCert, nil
	}
	node, expires, err := s.config.Token(ctx, token)
	if err != nil {
		if _, ok := status.FromError(err); ok {
			return identity{}, err
		}
		s.log.Warn("a token was refused", "error", err)
		return identity{}, status.Error(codes.Unauthenticated, "the token was refused")
	}
	switch {
	case node == "" || !time.Now().Before(expires):
		return identity{}, status.Error(codes.Unauthenticated, "the token has expired or is for no node")
	case byCert.node != "" && byCert.node != node:
		return identity{}, status.Error(codes.Unauthenticated, "the certificate and the token are of two nodes")
	}
	return identity{node, expires}, nil
}

// certified is empty without a certificate.
func certified(ctx context.Context) (identity, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return identity{}, nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return identity{}, nil
	}
	leaf := info.State.VerifiedChains[0][0]
	node, err := NodeOf(leaf)
	if err != nil {
		return identity{}, status.Errorf(codes.Unauthenticated, "the certificate does not say which node it is for: %v", err)
	}
	return identity{node, leaf.NotAfter}, nil
}

// bearer is the token of a call, or empty (RFC 6750, 2.1).
func bearer(ctx context.Context) (string, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) == 0 {
		return "", nil
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return "", status.Error(codes.Unauthenticated, "authorization has to be one \"Bearer TOKEN\"")
	}
	return token, nil
}

type provenStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // that of the stream, with the node
}

func (s provenStream) Context() context.Context { return s.ctx }

// errExpired ends the calls of who has to come with newer credentials.
var errExpired = errors.New("the token or certificate that it began with has expired")

func (s *Server) proveStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx := stream.Context()
	who, err := s.prove(ctx)
	if err != nil {
		return err
	}
	end := endOf(ctx)
	expiry := time.AfterFunc(time.Until(who.expires)+s.config.Grace, func() { end(errExpired) })
	defer expiry.Stop()
	return next(srv, provenStream{stream, context.WithValue(ctx, nodeKey{}, who.node)})
}

func (s *Server) proveUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	who, err := s.prove(ctx)
	if err != nil {
		return nil, err
	}
	return next(context.WithValue(ctx, nodeKey{}, who.node), req)
}

// claim checks what a client says it is against what it has proven. Any message may name a
// node.
type claim struct {
	proven string // empty where nothing is proven, as on a socket of one's own
	node   string // as settled by the first message
}

func (c *claim) check(id string, says bool) error {
	switch {
	case c.proven != "" && says && id != c.proven:
		return status.Errorf(codes.PermissionDenied, "it has proven to be node %q, and asks as another", c.proven)
	case c.node == "" && c.proven != "":
		c.node = c.proven
	case c.node == "" && (id == "" || len(id) > maxNode):
		return status.Errorf(codes.InvalidArgument, "the first message has to name a node, in at most %d octets", maxNode)
	case c.node == "":
		c.node = id
	case says && id != c.node:
		return status.Errorf(codes.InvalidArgument, "the stream is of node %.100q, and a later message names another", c.node)
	}
	return nil
}

// maxNode bounds the name of a node: a namespace and a name of Kubernetes have 253 octets.
const maxNode = 512
