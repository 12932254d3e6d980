package main

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/anypb"

	"pavise.dev/pavise/xds"
)

// server is one that is measured.
type server interface {
	run(ctx context.Context, l net.Listener, c *tls.Config) error
	set(ctx context.Context, node string, r *xds.Resources) error
	forget(node string)
}

// pavise is what this is about.
type pavise struct{ *xds.Server }

func newPavise() server {
	return pavise{xds.NewServer(xds.ServerConfig{
		MaxAge: -1,
		Token: func(_ context.Context, token string) (string, time.Time, error) {
			return token, time.Now().Add(24 * time.Hour), nil
		},
	})}
}

func (p pavise) run(ctx context.Context, l net.Listener, c *tls.Config) error {
	return p.RunTLS(ctx, l, c)
}

func (p pavise) set(ctx context.Context, node string, r *xds.Resources) error {
	return p.Set(ctx, node, r)
}

func (p pavise) forget(node string) { p.Forget(node) }

// serveGRPC serves with the options for idle connections that Pavise has.
func serveGRPC(ctx context.Context, l net.Listener, c *tls.Config, s discoveryv3.AggregatedDiscoveryServiceServer) error {
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(c)), grpc.ReadBufferSize(4096), grpc.ConnectionTimeout(30*time.Second))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
	defer context.AfterFunc(ctx, g.Stop)()
	return g.Serve(l)
}

// bare is what no server can do without: it receives, and sends what it is told to, marshalled
// beforehand, to whom it is told. At first it sends one empty response for each type, so that
// clients know that they are connected.
type bare struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	mu      sync.Mutex
	streams map[string]chan *discoveryv3.DeltaDiscoveryResponse
	last    *xds.Resources
	made    *discoveryv3.DeltaDiscoveryResponse // of the last
}

func newBare() *bare {
	return &bare{streams: map[string]chan *discoveryv3.DeltaDiscoveryResponse{}}
}

func (b *bare) run(ctx context.Context, l net.Listener, c *tls.Config) error {
	return serveGRPC(ctx, l, c, b)
}

func (b *bare) set(_ context.Context, node string, r *xds.Resources) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last != r {
		b.last, b.made = r, &discoveryv3.DeltaDiscoveryResponse{TypeUrl: resourcev3.ExtensionConfigType, Nonce: "2"}
		for name, x := range r.Extensions {
			body, err := anypb.New(x)
			if err != nil {
				return err
			}
			b.made.Resources = append(b.made.Resources, &discoveryv3.Resource{Name: name, Version: r.Digest[:16], Resource: body})
		}
	}
	select {
	case b.streams[node] <- b.made:
	default: // not connected, or another is on its way
	}
	return nil
}

func (*bare) forget(string) {}

func (b *bare) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	asked := make(chan *discoveryv3.DeltaDiscoveryRequest)
	go func() {
		defer close(asked)
		for {
			q, err := s.Recv()
			if err != nil {
				return
			}
			select {
			case asked <- q:
			case <-s.Context().Done():
				return
			}
		}
	}()
	out := make(chan *discoveryv3.DeltaDiscoveryResponse, 1)
	for {
		var m *discoveryv3.DeltaDiscoveryResponse
		select {
		case q, ok := <-asked:
			if !ok {
				return nil
			}
			if id := q.GetNode().GetId(); id != "" {
				b.mu.Lock()
				b.streams[id] = out
				b.mu.Unlock()
			}
			if q.GetResponseNonce() != "" {
				continue
			}
			m = &discoveryv3.DeltaDiscoveryResponse{TypeUrl: q.GetTypeUrl(), Nonce: "1"}
		case m = <-out:
		}
		if err := s.Send(m); err != nil {
			return err
		}
	}
}

// snapshots is go-control-plane's cache, with a snapshot for each node.
type snapshots struct{ cache cachev3.SnapshotCache }

type byID struct{}

func (byID) ID(n *corev3.Node) string { return n.GetId() }

func newSnapshots() server { return snapshots{cachev3.NewSnapshotCache(true, byID{}, nil)} }

func (s snapshots) run(ctx context.Context, l net.Listener, c *tls.Config) error {
	return serveGRPC(ctx, l, c, serverv3.NewServer(ctx, s.cache, nil))
}

func (s snapshots) set(ctx context.Context, node string, r *xds.Resources) error {
	sets := map[resourcev3.Type][]types.Resource{resourcev3.ListenerType: {}, resourcev3.ClusterType: {}, resourcev3.ExtensionConfigType: {}}
	for _, x := range r.Listeners {
		sets[resourcev3.ListenerType] = append(sets[resourcev3.ListenerType], x)
	}
	for _, x := range r.Clusters {
		sets[resourcev3.ClusterType] = append(sets[resourcev3.ClusterType], x)
	}
	for _, x := range r.Extensions {
		sets[resourcev3.ExtensionConfigType] = append(sets[resourcev3.ExtensionConfigType], x)
	}
	snapshot, err := cachev3.NewSnapshot(r.Digest, sets)
	if err != nil {
		return err
	}
	return s.cache.SetSnapshot(ctx, node, snapshot)
}

func (s snapshots) forget(node string) { s.cache.ClearSnapshot(node) }
