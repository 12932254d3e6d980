package main

import (
	"context"
	"net"

	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// Envoy writes its log as it is told to. Reading it is the agent's work, and here would
// take the processor of the load: so the log goes to one that throws it away.

// logTo has an HTTP listener send its log to another cluster.
func logTo(h *hcmv3.HttpConnectionManager, cluster string) error {
	for _, a := range h.AccessLog {
		var c grpclogv3.HttpGrpcAccessLogConfig
		if err := a.GetTypedConfig().UnmarshalTo(&c); err != nil {
			return err
		}
		c.CommonConfig.GrpcService.GetEnvoyGrpc().ClusterName = cluster
		a.GetTypedConfig().Value = pack(&c).Value
	}
	return nil
}

// nothing is a codec that reads nothing of a message.
type nothing struct{}

func (nothing) Name() string                             { return "proto" }
func (nothing) Marshal(any) (mem.BufferSlice, error)     { return nil, nil }
func (nothing) Unmarshal(_ mem.BufferSlice, _ any) error { return nil }

// serveLogs takes logs at a socket until the context ends.
func serveLogs(ctx context.Context, socket string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	s := grpc.NewServer(grpc.ForceServerCodecV2(nothing{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		for {
			if err := stream.RecvMsg(nil); err != nil {
				return nil //nolint:nilerr // the Envoy has gone
			}
		}
	}))
	defer context.AfterFunc(ctx, s.Stop)()
	return s.Serve(l)
}
