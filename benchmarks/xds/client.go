package main

import (
	"context"
	"crypto/tls"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
)

// client is a sidecar: one TLS connection, one stream of incremental ADS.
type client struct {
	node   int
	octets *atomic.Int64  // received, of all clients like this
	acked  func(node int) // it has taken over its policies
	failed *atomic.Int64
}

type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}
func (bearer) RequireTransportSecurity() bool { return true }

// run holds the stream until the context ends. A stream that ends before is one that failed.
func (c *client) run(ctx context.Context, target string, config *tls.Config) {
	if err := c.stream(ctx, target, config); err != nil && ctx.Err() == nil {
		c.failed.Add(1)
	}
}

func (c *client) stream(ctx context.Context, target string, config *tls.Config) error {
	conn, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithPerRPCCredentials(bearer(nodeName(c.node))),
		grpc.WithReadBufferSize(4096), grpc.WithIdleTimeout(0), grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Minute}))
	if err != nil {
		return err
	}
	defer conn.Close()
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	for _, url := range []string{resourcev3.ClusterType, resourcev3.ListenerType} {
		q := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: url, Node: &corev3.Node{Id: nodeName(c.node)}}
		if err := s.Send(q); err != nil {
			return err
		}
	}
	asked := false
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		c.octets.Add(int64(proto.Size(m)))
		if err := s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: m.GetTypeUrl(), ResponseNonce: m.GetNonce()}); err != nil {
			return err
		}
		ready := m.GetTypeUrl() == resourcev3.ExtensionConfigType
		if m.GetTypeUrl() == resourcev3.ListenerType && !asked {
			asked = true
			q := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resourcev3.ExtensionConfigType}
			for _, r := range m.GetResources() {
				q.ResourceNamesSubscribe = append(q.ResourceNamesSubscribe, r.GetName()+"/policy")
			}
			if len(q.GetResourceNamesSubscribe()) == 0 {
				ready = true // a bare server has none
			} else if err := s.Send(q); err != nil {
				return err
			}
		}
		if ready {
			c.acked(c.node)
		}
	}
}
