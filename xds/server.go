package xds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/xds/internal/delta"
)

// ServerConfig says where a Server listens and whom it tells.
type ServerConfig struct {
	// Socket is a unix socket, made with mode 0600: who may open it may ask.
	Socket string
	// Decisions is called for every decision that an Envoy reports, from several
	// goroutines; it must not block. Nil drops them.
	Decisions func(decisions.Record)
	// Pushes is asked, for each Envoy that is given resources, for somebody who wants to know
	// what becomes of them; it and the function may be nil. The context is that of Set.
	Pushes func(ctx context.Context, node, digest string) Push

	// Logger is told of NACKs and of streams; nil is silent.
	Logger *slog.Logger

	// Token tells RunTLS which node a bearer token is for, and until when it is. It is
	// called for every call, from several goroutines. Errors with a gRPC status are given
	// to the client as they are, others only as Unauthenticated. Nil takes no tokens.
	Token func(ctx context.Context, token string) (node string, expires time.Time, err error)
	// Grace is how long a stream may outlive the token or the certificate that it began
	// with, after which its client has to come with a newer one. Default: 1 minute.
	Grace time.Duration
	// MaxAge is how old a connection of RunTLS may grow, give or take a tenth of it; then
	// the client is asked to make another, which may lead to another replica: after one is
	// added, each has its share within MaxAge. Default: 30 minutes; negative: for ever.
	MaxAge time.Duration
	// MaxStreams bounds the streams of resources; more are refused as unavailable, so that
	// clients try another replica. Default: no bound.
	MaxStreams int
	// MaxSyncing bounds how many streams are given their first resources at once; others
	// wait in the order in which they came. Default: 256.
	MaxSyncing int
	// SendTime is how long a client may not read what is sent to it before its stream is
	// ended. Default: 20 seconds.
	SendTime time.Duration
}

// syncTime is how long a stream may count as one that is given its first resources.
const syncTime = 5 * time.Second

// Server serves resources to Envoys over incremental ADS, and takes their access logs. It
// is safe for concurrent use.
type Server struct {
	config ServerConfig
	log    *slog.Logger
	hub    *delta.Hub
}

// NewServer makes a server; Run serves.
func NewServer(c ServerConfig) *Server {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Decisions == nil {
		c.Decisions = func(decisions.Record) {}
	}
	c.Grace = cmp.Or(c.Grace, time.Minute)
	c.MaxAge = cmp.Or(c.MaxAge, 30*time.Minute)
	return &Server{config: c, log: c.Logger, hub: delta.NewHub(delta.Config{
		MaxStreams: c.MaxStreams, MaxSyncing: cmp.Or(c.MaxSyncing, 256),
		SyncTime: syncTime, SendTime: cmp.Or(c.SendTime, 20*time.Second), Logger: c.Logger,
	})}
}

// Set gives an Envoy its resources; what did not change is not sent again. It does not wait
// for the Envoy. Resources that many Envoys have are to be the same pointer.
func (s *Server) Set(ctx context.Context, node string, r *Resources) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, err := r.seal()
	if err != nil {
		return err
	}
	var p Push
	if s.config.Pushes != nil {
		p = s.config.Pushes(ctx, node, r.Digest)
	}
	s.hub.Push(node, c.Content, p)
	return nil
}

// Push is told what became of resources that an Envoy was given.
type Push = delta.Push

// Outcome is what became of them.
type Outcome = delta.Outcome

// Outcomes.
const (
	InForce  = delta.InForce
	Refused  = delta.Refused
	Replaced = delta.Replaced
	Away     = delta.Away
)

// Forget drops what an Envoy was given. If it is connected it keeps what it has, and its
// stream goes on until it ends or its credentials do.
func (s *Server) Forget(node string) { s.hub.Forget(node) }

// Run listens and serves until the context ends.
func (s *Server) Run(ctx context.Context) error {
	if err := os.Remove(s.config.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove a stale socket: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", s.config.Socket)
	if err != nil {
		return fmt.Errorf("listen for Envoy: %w", err)
	}
	if err := os.Chmod(s.config.Socket, 0o600); err != nil {
		_ = l.Close()
		return fmt.Errorf("close the socket to others: %w", err)
	}
	return s.serve(ctx, l, grpc.MaxRecvMsgSize(maxRequest))
}

// maxRequest bounds a message of an Envoy: the names and versions of all it has, or logs.
// Those of other machines are bounded more tightly.
const (
	maxRequest       = 16 << 20
	maxRemoteRequest = 4 << 20
)

func (s *Server) serve(ctx context.Context, l net.Listener, o ...grpc.ServerOption) error {
	g := grpc.NewServer(append(o,
		grpc.MaxConcurrentStreams(1000), // for access logs: one a listener and worker
		grpc.ForceServerCodecV2(delta.NewCodec()),
		grpc.InTapHandle(endable),
		grpc.WaitForHandlers(true),
		// What an idle connection keeps; write buffers are shared.
		grpc.ReadBufferSize(4096),
	)...)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, &resourceService{server: s})
	accesslogv3.RegisterAccessLogServiceServer(g, &logService{server: s})
	ctx, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	workers.Go(func() { s.hub.Work(ctx, 2*runtime.GOMAXPROCS(0)) })
	stop := context.AfterFunc(ctx, g.Stop)
	err := g.Serve(l)
	ended := ctx.Err() != nil
	stop()
	cancel()
	g.Stop() // which waits for the handlers
	workers.Wait()
	if ended {
		err = nil // it was asked to
	}
	if err != nil {
		return fmt.Errorf("serve Envoy: %w", err)
	}
	return nil
}

// resourceService is the aggregated discovery service.
type resourceService struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	server *Server
}

// StreamAggregatedResources is the other variant of the protocol.
func (r *resourceService) StreamAggregatedResources(discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return status.Error(codes.Unimplemented, "resources are served over incremental ADS only; set api_type DELTA_GRPC")
}

// DeltaAggregatedResources implements incremental ADS.
func (r *resourceService) DeltaAggregatedResources(on discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	ctx := on.Context()
	s, err := r.server.hub.Open(on, endOf(ctx))
	if err != nil {
		return err
	}
	defer s.Close()
	who := claim{proven: provenNode(ctx)}
	for {
		q, err := on.Recv()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
				// The client is told that it was cancelled: gRPC has no way to say more here.
				r.server.log.Info("a stream was ended", "node", who.node, "reason", cause)
			}
			return nil // the stream ended; Envoy opens another
		}
		first := who.node == ""
		if err := who.check(q.GetNode().GetId(), q.GetNode() != nil); err != nil {
			r.server.log.Error("an Envoy was refused the resources of another", "is", who.proven, "claims", quoted(q.GetNode().GetId()))
			return err
		}
		if first {
			s.Identify(who.node)
		}
		if err := s.Request(q); err != nil {
			r.server.log.Error("a stream was ended", "node", who.node, "error", err)
			return err
		}
	}
}
