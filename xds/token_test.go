package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/internal/delta"
)

// tokens stand for a review of tokens: NODE is good for an hour, brief:NODE for a moment.
func tokens(_ context.Context, token string) (string, time.Time, error) {
	kind, node, ok := strings.Cut(token, ":")
	switch {
	case !ok:
		return token, time.Now().Add(time.Hour), nil
	case kind == "brief":
		return node, time.Now().Add(300 * time.Millisecond), nil
	case kind == "expired":
		return node, time.Now().Add(-time.Second), nil
	case kind == "away":
		return "", time.Time{}, status.Error(codes.Unavailable, "the reviewer is away")
	}
	return "", time.Time{}, errors.New("another audience: " + token)
}

// remote serves over TLS.
func remote(t *testing.T, c ServerConfig) (s *Server, dial func(certs ...tls.Certificate) *grpc.ClientConn, ca *authority) {
	t.Helper()
	ca = newAuthority(t)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = NewServer(c)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	server := ca.sign(t)
	go func() {
		ended <- s.RunTLS(ctx, l, &tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{server},
			ClientCAs: ca.pool(), ClientAuth: tls.VerifyClientCertIfGiven,
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s, func(certs ...tls.Certificate) *grpc.ClientConn {
		conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: ca.pool(), ServerName: "localhost", Certificates: certs,
		})))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}, ca
}

func resources(name string) *Resources {
	return &Resources{
		Digest: name, Listeners: map[string]*listenerv3.Listener{name: {Name: name}},
		deciders: map[string]*policy.Listener{name: {}},
	}
}

// stream opens one, with values of authorization.
func stream(t *testing.T, conn *grpc.ClientConn, authorization ...string) discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	for _, a := range authorization {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", a)
	}
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func listeners(node string) *discoveryv3.DeltaDiscoveryRequest {
	q := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: delta.Types[delta.Listeners]}
	if node != "" {
		q.Node = &corev3.Node{Id: node}
	}
	return q
}

// TestIdentityIsProven: a client gets what the node in its token or certificate shall have,
// whatever it claims, and nothing where that does not hold.
func TestIdentityIsProven(t *testing.T) {
	s, dial, ca := remote(t, ServerConfig{Token: tokens})
	for _, node := range []string{"shop/web", "shop/database"} {
		if err := s.Set(t.Context(), node, resources(node+"/in")); err != nil {
			t.Fatal(err)
		}
	}
	web := ca.sign(t, "pavise://node/shop/web")
	for _, c := range []struct {
		name  string
		certs []tls.Certificate
		auth  []string
		claim string
		gets  string
		code  codes.Code
	}{
		{name: "a token", auth: []string{"Bearer shop/web"}, gets: "shop/web/in"},
		{name: "the other's", auth: []string{"Bearer shop/database"}, gets: "shop/database/in"},
		{name: "and claims to be itself", auth: []string{"bearer shop/web"}, claim: "shop/web", gets: "shop/web/in"},
		{name: "a token, and another's identity claimed", auth: []string{"Bearer shop/web"}, claim: "shop/database", code: codes.PermissionDenied},
		{name: "expired", auth: []string{"Bearer expired:shop/web"}, code: codes.Unauthenticated},
		{name: "wrong audience", auth: []string{"Bearer audience:shop/web"}, code: codes.Unauthenticated},
		{name: "the reviewer is away", auth: []string{"Bearer away:"}, code: codes.Unavailable},
		{name: "two tokens", auth: []string{"Bearer shop/web", "Bearer shop/database"}, code: codes.Unauthenticated},
		{name: "another scheme", auth: []string{"Basic shop/web"}, code: codes.Unauthenticated},
		{name: "no token in it", auth: []string{"Bearer "}, code: codes.Unauthenticated},
		{name: "a huge one", auth: []string{"Bearer " + strings.Repeat("x", maxToken+1)}, code: codes.Unauthenticated},
		{name: "none", code: codes.Unauthenticated},
		{name: "a certificate", certs: []tls.Certificate{web}, gets: "shop/web/in"},
		{name: "both", certs: []tls.Certificate{web}, auth: []string{"Bearer shop/web"}, gets: "shop/web/in"},
		{name: "both, of two nodes", certs: []tls.Certificate{web}, auth: []string{"Bearer shop/database"}, code: codes.Unauthenticated},
	} {
		x := stream(t, dial(c.certs...), c.auth...)
		_ = x.Send(listeners(c.claim))
		m, err := x.Recv()
		if status.Code(err) != c.code {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
		if err != nil && strings.Contains(err.Error(), "audience:") {
			t.Errorf("%s: the reason is shown to a stranger: %v", c.name, err)
		}
		if c.gets != "" && (len(m.GetResources()) != 1 || m.GetResources()[0].GetName() != c.gets) {
			t.Errorf("%s: was given %v", c.name, m)
		}
	}
}

// TestAnothersIdentityLater: a later message that names another node ends the stream.
func TestAnothersIdentityLater(t *testing.T) {
	s, dial, _ := remote(t, ServerConfig{Token: tokens})
	if err := s.Set(t.Context(), "shop/web", resources("shop/web/in")); err != nil {
		t.Fatal(err)
	}
	x := stream(t, dial(), "Bearer shop/web")
	_ = x.Send(listeners(""))
	if _, err := x.Recv(); err != nil {
		t.Fatal(err)
	}
	_ = x.Send(listeners("shop/database"))
	if m, err := x.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("%v, %v", m, err)
	}
}

// TestStreamEndsWithItsToken: the stream of a deleted pod does not last, of either service.
func TestStreamEndsWithItsToken(t *testing.T) {
	s, dial, _ := remote(t, ServerConfig{Token: tokens, Grace: 100 * time.Millisecond})
	if err := s.Set(t.Context(), "shop/web", resources("shop/web/in")); err != nil {
		t.Fatal(err)
	}
	x := stream(t, dial(), "Bearer brief:shop/web")
	_ = x.Send(listeners(""))
	if _, err := x.Recv(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("resources: %v", err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer brief:shop/web")
	logs, err := accesslogv3.NewAccessLogServiceClient(dial()).StreamAccessLogs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := logs.RecvMsg(&accesslogv3.StreamAccessLogsResponse{}); status.Code(err) != codes.Canceled {
		t.Errorf("logs: %v", err)
	}
}

// TestLogsOfAnother: a node may report on the listeners that it was given, now or before,
// and on no other's.
func TestLogsOfAnother(t *testing.T) {
	s, dial, _ := remote(t, ServerConfig{Token: tokens})
	set := func(node, listener string) {
		if err := s.Set(t.Context(), node, resources(listener)); err != nil {
			t.Fatal(err)
		}
	}
	set("shop/web-1", "shop/web/old")
	set("shop/web-1", "shop/web/in")
	set("shop/database-1", "shop/database/in")
	for name, ok := range map[string]bool{
		"shop/web/in": true, "shop/web/in" + deniedSuffix: true, "shop/web/old": true,
		"shop/database/in": false, "shop/web-1/in": false, "": false,
	} {
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer shop/web-1"), 10*time.Second)
		logs, err := accesslogv3.NewAccessLogServiceClient(dial()).StreamAccessLogs(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_ = logs.Send(&accesslogv3.StreamAccessLogsMessage{Identifier: &accesslogv3.StreamAccessLogsMessage_Identifier{LogName: name}})
		_ = logs.CloseSend()
		err = logs.RecvMsg(&accesslogv3.StreamAccessLogsResponse{})
		if got := status.Code(err) != codes.PermissionDenied; got != ok {
			t.Errorf("%q: %v", name, err)
		}
		cancel()
	}
}

// TestOtherVariantIsRefused: state of the world is refused in words that say what to do.
func TestOtherVariantIsRefused(t *testing.T) {
	_, dial, _ := remote(t, ServerConfig{Token: tokens})
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer shop/web")
	x, err := discoveryv3.NewAggregatedDiscoveryServiceClient(dial()).StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Recv(); status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "DELTA_GRPC") {
		t.Error(err)
	}
}

// TestHugeRequest: "huge request": it is refused, and the server goes on.
func TestHugeRequest(t *testing.T) {
	s, dial, _ := remote(t, ServerConfig{Token: tokens})
	if err := s.Set(t.Context(), "shop/web", resources("shop/web/in")); err != nil {
		t.Fatal(err)
	}
	x := stream(t, dial(), "Bearer shop/web")
	q := listeners("")
	q.ResourceNamesSubscribe = []string{strings.Repeat("x", maxRemoteRequest)}
	_ = x.Send(q)
	if _, err := x.Recv(); status.Code(err) != codes.ResourceExhausted && err == nil {
		t.Error("it was taken")
	}
	y := stream(t, dial(), "Bearer shop/web")
	_ = y.Send(listeners(""))
	if _, err := y.Recv(); err != nil {
		t.Error(err)
	}
}

// TestDigestIsSent: who keeps the last good resources shows what they were made from.
func TestDigestIsSent(t *testing.T) {
	s, dial, _ := remote(t, ServerConfig{Token: tokens})
	if err := s.Set(t.Context(), "shop/web", resources("shop/web/in")); err != nil {
		t.Fatal(err)
	}
	x := stream(t, dial(), "Bearer shop/web")
	_ = x.Send(listeners(""))
	if m, err := x.Recv(); err != nil || m.GetSystemVersionInfo() != "shop/web/in" {
		t.Errorf("%v, %v", m, err)
	}
}
