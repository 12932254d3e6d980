package probe

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// maxMessage bounds an answer, in octets. A health answer has two.
const maxMessage = 4 << 10

// check asks the health service.
func (c *Config) check(ctx context.Context, g *GRPC, agent string) error {
	if err := c.foreign(int(g.Port)); err != nil { // of an error in dial, gRPC keeps only a text
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+c.address(g.Port),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return c.dial(ctx, "tcp", address) }),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithUserAgent(agent), grpc.WithMaxHeaderListSize(maxHead),
		grpc.WithReadBufferSize(0), grpc.WithWriteBufferSize(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: g.Service})
	switch status.Code(err) {
	case codes.OK:
	case codes.Unimplemented:
		return fmt.Errorf("port %d does not serve grpc.health.v1.Health", g.Port)
	case codes.Unavailable:
		return fmt.Errorf("port %d cannot be reached by gRPC without TLS", g.Port)
	default:
		return fmt.Errorf("gRPC status %v", status.Code(err))
	}
	if s := answer.GetStatus(); s != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("gRPC health status %v", s)
	}
	return nil
}
