package relay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pavise.dev/pavise/xds"
)

// Relay stands between one Envoy and its control plane. It is safe for concurrent use.
type Relay struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	accesslogv3.UnimplementedAccessLogServiceServer

	config     Config
	running    context.Context // that of Run
	links      sync.WaitGroup
	accessLogs atomic.Int64

	mu       sync.Mutex
	changed  chan struct{}
	session  *session // nil without an Envoy
	last     *link    // the latest stream to the control plane, ended or not
	pinned   *pinned  // nil for none
	onDisk   *pinned  // the one that is written
	saving   bool     // another is being written
	pinError string
	digest   string

	since     time.Time
	heard     time.Time // when the control plane last said something, or the start
	lastError string
	backoff   backoff
	nack      *xds.NACK
	counts    Counts
}

// New checks the configuration and reads what is on disk. A file that cannot be used is
// no error of New: it is shown in the status, and not served. Run serves.
func New(c Config) (*Relay, error) {
	if err := c.prepare(); err != nil {
		return nil, err
	}
	r := &Relay{config: c, changed: make(chan struct{}), backoff: backoff{min: c.MinBackoff, max: c.MaxBackoff}}
	p, err := load(c.Dir, c.Node)
	switch {
	case err != nil:
		r.pinError = err.Error()
		c.Logger.Error("there is nothing to fall back to", "error", err)
	case p != nil:
		r.pinned, r.onDisk, r.digest = p, p, p.digest
		c.Logger.Info("the last good resources are there", "digest", p.digest, "written", p.at)
	}
	return r, nil
}

// Run listens and serves until the context ends. Call it once.
func (r *Relay) Run(ctx context.Context) error {
	l, err := r.listen(ctx)
	if err != nil {
		return err
	}
	// What runs for an Envoy ends with Run, however that ends.
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	r.running, r.heard = running, time.Now()
	r.mu.Unlock()
	g := grpc.NewServer(
		grpc.MaxConcurrentStreams(1000), // for access logs: one a listener and worker
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.WaitForHandlers(true),
	)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, r)
	accesslogv3.RegisterAccessLogServiceServer(g, r)
	stop := context.AfterFunc(ctx, g.Stop)
	defer stop()
	err = g.Serve(l)
	g.Stop() // which waits for the handlers
	cancel()
	r.links.Wait()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("relay: serve Envoy: %w", err)
	}
	return nil
}

// listen opens the socket. What is in its place is removed if it is a socket at which
// nobody answers.
func (r *Relay) listen(ctx context.Context) (net.Listener, error) {
	path := r.config.Socket
	switch st, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("relay: the socket for Envoy: %w", err)
	case st.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("relay: the socket for Envoy: %s is there and is no socket; name another path", path)
	default:
		if c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("relay: the socket for Envoy: something answers at %s; end it, or name another path", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("relay: remove a stale socket: %w", err)
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("relay: listen for Envoy: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("relay: close the socket to others: %w", err)
	}
	return l, nil
}

// DeltaAggregatedResources implements incremental ADS, for one Envoy at a time.
func (r *Relay) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	s := newSession(r, stream)
	r.mu.Lock()
	if r.session != nil {
		r.counts.Rejected++
		r.tell()
		r.mu.Unlock()
		r.config.Logger.Error("a second Envoy was refused; each needs a relay of its own", "socket", r.config.Socket)
		return status.Error(codes.AlreadyExists, "relay: another Envoy is connected; each needs a relay of its own")
	}
	r.session = s
	r.tell()
	r.mu.Unlock()
	r.config.Logger.Info("envoy connected", "node", r.config.Node)
	err := s.run(stream.Context())
	r.mu.Lock()
	r.session = nil
	r.nack = nil // it is of an Envoy that is gone
	r.tell()
	r.mu.Unlock()
	r.config.Logger.Info("envoy disconnected", "node", r.config.Node)
	return err
}

// StreamAccessLogs implements Envoy's access log service.
func (r *Relay) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	var id *accesslogv3.StreamAccessLogsMessage_Identifier
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the stream ended; Envoy opens another
		}
		if m.GetIdentifier() != nil {
			id = m.GetIdentifier()
			id.Node = nil // large, and known
		}
		if len(id.GetLogName()) > maxName {
			return status.Errorf(codes.InvalidArgument, "relay: the log's name has %d octets, more than %d", len(id.GetLogName()), maxName)
		}
		m.Identifier = id
		r.accessLogs.Add(1)
		r.config.AccessLog(m)
	}
}
