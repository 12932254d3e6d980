package extauthz

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"pavise.dev/pavise/internal/servertls"
	"pavise.dev/pavise/proxy/filter"
)

const (
	// handshake bounds how long a client may take to begin.
	handshake = 10 * time.Second
	// quiet is after how long a client is asked whether it is still there, and silent how
	// long it has to answer.
	quiet  = 30 * time.Second
	silent = 10 * time.Second
	// age after which a client at an address is asked to connect anew, which spreads
	// Envoys over the replicas there are by now.
	age = 30 * time.Minute
	// drain is how long checks under way have when the server ends.
	drain = 5 * time.Second
	// maxHeaders bounds the headers of a call, in octets; Envoy sends few.
	maxHeaders = 16 << 10
)

// Server answers the checks of Envoys. It is safe for concurrent use.
type Server struct {
	authv3.UnimplementedAuthorizationServer

	config   Config
	missing  filter.Missing
	listener net.Listener
	tls      *servertls.Certificates
	ending   atomic.Bool
	counts   counts
	logged   atomic.Int64 // when a failed check was last logged, in nanoseconds
}

// New makes a server; Listen and Run follow.
func New(c Config) (*Server, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{config: c, missing: c.Engine.Missing}
	if c.TLS != nil {
		var err error
		if s.tls, err = servertls.New(*c.TLS, c.Logger, "h2"); err != nil {
			return nil, fmt.Errorf("ext_authz: %w", err)
		}
	}
	return s, nil
}

// Listen opens the socket or port. Envoys that connect wait until Run.
func (s *Server) Listen(ctx context.Context) (err error) {
	if s.config.Address != "" {
		if s.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", s.config.Address); err != nil {
			return fmt.Errorf("ext_authz: listen: %w", err)
		}
		return nil
	}
	path := s.config.Socket
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("ext_authz: %s is there and is no socket", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("ext_authz: remove a stale socket: %w", err)
	}
	l, err := (&net.ListenConfig{Control: closed}).Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("ext_authz: listen: %w", err)
	}
	if err := os.Chmod(path, s.config.SocketMode); err != nil {
		_ = l.Close()
		return fmt.Errorf("ext_authz: set who may open the socket: %w", err)
	}
	s.listener = l
	return nil
}

// Addr is where it listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until the context ends, and then gives what is under way five seconds.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		return errors.New("ext_authz: Run before Listen")
	}
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(s.config.MaxMessage),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(s.config.MaxStreams),
		grpc.ConnectionTimeout(handshake),
		grpc.KeepaliveParams(s.keepalive()),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: quiet / 3, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(s.guard),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.WaitForHandlers(true),
	}
	if s.tls != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.tls.Config())))
	}
	g := grpc.NewServer(options...)
	authv3.RegisterAuthorizationServer(g, s)
	healthv1.RegisterHealthServer(g, &health{server: s})
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		s.ending.Store(true)
		hard := time.AfterFunc(drain, g.Stop)
		defer hard.Stop()
		g.GracefulStop()
	})
	err := g.Serve(netutil.LimitListener(s.listener, s.config.MaxConnections))
	if !stop() {
		<-ended
		return nil
	}
	g.Stop()
	return fmt.Errorf("ext_authz: serve: %w", err)
}

func (s *Server) keepalive() keepalive.ServerParameters {
	p := keepalive.ServerParameters{Time: quiet, Timeout: silent}
	if s.config.Address != "" {
		p.MaxConnectionAge, p.MaxConnectionAgeGrace = age, drain
	}
	return p
}
