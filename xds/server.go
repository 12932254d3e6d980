package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// ServerConfig says where a Server listens and whom it tells.
type ServerConfig struct {
	// Socket is a unix socket, made with mode 0600: who may open it may ask.
	Socket string
	// Decisions is called for every decision that an Envoy reports, from several
	// goroutines; it must not block. Nil drops them.
	Decisions func(decisions.Record)
	// Logger is told of NACKs and of streams; nil is silent.
	Logger *slog.Logger
}

// Server serves resources to Envoys over incremental ADS, and takes their access logs.
type Server struct {
	config ServerConfig
	log    *slog.Logger
	cache  cachev3.SnapshotCache
	// deciders are the policy listeners by name, see Resources.
	deciders sync.Map
	tracker  *tracker
}

// NewServer makes a server; Run serves.
func NewServer(c ServerConfig) *Server {
	s := &Server{config: c, log: c.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.config.Decisions == nil {
		s.config.Decisions = func(decisions.Record) {}
	}
	s.tracker = newTracker(s.log)
	s.cache = cachev3.NewSnapshotCache(true, nodeID{}, nil)
	return s
}

// nodeID tells Envoys apart by the name they were started with. It is as trustworthy as
// the socket: only who may open it can claim a name.
type nodeID struct{}

func (nodeID) ID(n *corev3.Node) string { return n.GetId() }

// Set gives an Envoy its resources; what did not change is not sent again.
func (s *Server) Set(ctx context.Context, node string, r *Resources) error {
	snapshot, err := r.snapshot()
	if err != nil {
		return err
	}
	for name, l := range r.deciders {
		s.deciders.Store(name, l)
	}
	s.tracker.want(node, r.Digest, snapshot.VersionMap)
	return s.cache.SetSnapshot(ctx, node, snapshot)
}

// Status says what the Envoy of that name was given and has taken.
func (s *Server) Status(node string) Status { return s.tracker.status(node) }

// Changed is closed at the next change of any Envoy's status.
func (s *Server) Changed() <-chan struct{} { return s.tracker.changed() }

// WaitInForce waits until the Envoy has taken over everything it was last given, or has
// refused some of it, which is an error.
func (s *Server) WaitInForce(ctx context.Context, node string) error {
	for {
		changed := s.Changed()
		st := s.Status(node)
		if st.InForce() {
			return nil
		}
		if st.NACK != nil {
			return fmt.Errorf("envoy refused %v: %s", st.NACK.Resources, st.NACK.Message)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for envoy %s: %w", node, context.Cause(ctx))
		}
	}
}

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
	return s.serve(ctx, l)
}

func (s *Server) serve(ctx context.Context, l net.Listener, o ...grpc.ServerOption) error {
	g := grpc.NewServer(append(o, grpc.MaxConcurrentStreams(1000), grpc.MaxRecvMsgSize(maxRequest))...)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, serverv3.NewServer(ctx, s.cache, s.tracker.callbacks()))
	accesslogv3.RegisterAccessLogServiceServer(g, &logService{server: s})
	stop := context.AfterFunc(ctx, g.Stop)
	defer stop()
	if err := g.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve Envoy: %w", err)
	}
	return nil
}

// maxRequest bounds a message of an Envoy: the names and versions of all it has, or logs.
const maxRequest = 16 << 20

// snapshot is the resources in the form that the cache serves. Its version map has the
// hash of each.
func (r *Resources) snapshot() (*cachev3.Snapshot, error) {
	sets := map[resourcev3.Type][]types.Resource{
		resourcev3.ListenerType: {}, resourcev3.ClusterType: {}, resourcev3.ExtensionConfigType: {},
	}
	for _, x := range r.Listeners {
		sets[resourcev3.ListenerType] = append(sets[resourcev3.ListenerType], x)
	}
	for _, x := range r.Clusters {
		sets[resourcev3.ClusterType] = append(sets[resourcev3.ClusterType], x)
	}
	for _, x := range r.Extensions {
		sets[resourcev3.ExtensionConfigType] = append(sets[resourcev3.ExtensionConfigType], x)
	}
	s, err := cachev3.NewSnapshot(r.Digest, sets)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if err := s.ConstructVersionMap(); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return s, nil
}

// decider is the policy listener whose log it is, or nil.
func (s *Server) decider(logName string) *policy.Listener {
	l, _ := s.deciders.Load(strings.TrimSuffix(logName, deniedSuffix))
	decider, _ := l.(*policy.Listener)
	return decider
}

// logService receives access logs.
type logService struct {
	accesslogv3.UnimplementedAccessLogServiceServer
	server *Server
}

// StreamAccessLogs implements Envoy's access log service. The first message of a stream
// says which listener it is about.
func (s *logService) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	listener := ""
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the stream ended; Envoy opens another
		}
		if id := m.GetIdentifier(); id != nil {
			listener = id.GetLogName()
		}
		if node := provenNode(stream.Context()); node != "" && !strings.HasPrefix(listener, node+"/") {
			return status.Errorf(codes.PermissionDenied, "the certificate is of node %q, and the log of another", node)
		}
		decode(logOf{listener, s.server.decider(listener), nil}, m, s.server.config.Decisions)
	}
}

// logOf says what a log is of.
type logOf struct {
	// name of the log: that of the listener, or with deniedSuffix.
	name string
	// rules of the listener, or where they are not known, where to find what Envoy has.
	rules   *policy.Listener
	reasons *reasons
}

// decode reads the decisions in a message of Envoy's access log.
func decode(of logOf, m *accesslogv3.StreamAccessLogsMessage, each func(decisions.Record)) {
	for _, e := range m.GetHttpLogs().GetLogEntry() {
		each(httpDecision(of, e))
	}
	for _, e := range m.GetTcpLogs().GetLogEntry() {
		each(tcpDecision(of, e))
	}
}
