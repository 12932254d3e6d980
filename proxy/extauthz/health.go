package extauthz

import (
	"context"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// health answers probes (grpc.health.v1). It serves while there is a snapshot in force,
// whatever is decided without one. Watch is not there: who probes, asks.
type health struct {
	healthv1.UnimplementedHealthServer
	server *Server
}

func (h *health) Check(_ context.Context, r *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	if name := r.GetService(); name != "" && name != authv3.Authorization_ServiceDesc.ServiceName {
		return nil, status.Errorf(codes.NotFound, "there is no service %.100q here, but %s", name, authv3.Authorization_ServiceDesc.ServiceName)
	}
	answer := &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_NOT_SERVING}
	if h.server.Ready() {
		answer.Status = healthv1.HealthCheckResponse_SERVING
	}
	return answer, nil
}

// Ready says whether a snapshot is in force and the server is not about to end.
func (s *Server) Ready() bool { return !s.ending.Load() && s.config.Engine.Snapshot() != nil }
