package tracing

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"pavise.dev/pavise/internal/secret"
)

// Config of a Tracer.
type Config struct {
	// Endpoint is HOST:PORT of a collector, for OTLP over gRPC. It is connected to directly,
	// never by a proxy.
	Endpoint string
	// Insecure connects without TLS. Authorization is then sent only to a loopback address.
	Insecure bool
	// TLS is how to connect; the system's authorities when nil.
	TLS *tls.Config
	// Authorization is sent as the header of that name; empty for none.
	Authorization secret.String
	// Instance says which process it is, such as the name of a pod; empty for nothing.
	Instance string
	// Logger; slog.Default when nil.
	Logger *slog.Logger
}

// Tracer makes traces of changes. Its methods may be called from any goroutine.
type Tracer struct {
	queue  *queue
	tracer trace.Tracer
}

// New returns a tracer; Run sends.
func New(c Config) (*Tracer, error) {
	host, port, err := net.SplitHostPort(c.Endpoint)
	if err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("tracing: endpoint %q: it is HOST:PORT, such as collector.example:4317", c.Endpoint)
	}
	if c.Insecure && !c.Authorization.Empty() && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return nil, errors.New("tracing: the authorization would be sent for everybody on the way to read: use TLS")
	}
	transport := credentials.NewTLS(c.TLS)
	if c.Insecure {
		transport = insecure.NewCredentials()
	}
	conn, err := grpc.NewClient("dns:///"+c.Endpoint, grpc.WithTransportCredentials(transport), grpc.WithNoProxy())
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	options := []otlptracegrpc.Option{
		otlptracegrpc.WithGRPCConn(conn), otlptracegrpc.WithTimeout(exportTime), otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{}),
	}
	if !c.Authorization.Empty() {
		options = append(options, otlptracegrpc.WithHeaders(map[string]string{"authorization": c.Authorization.Reveal()}))
	}
	exporter, err := otlptracegrpc.New(context.Background(), options...) // it does not connect yet
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("tracing: %w", err)
	}
	q := &queue{
		exporter: exporter, close: conn.Close, secret: c.Authorization, log: cmp.Or(c.Logger, slog.Default()),
		spans: make(chan sdk.ReadOnlySpan, mostQueued),
	}
	of := []attribute.KeyValue{semconv.ServiceName("pavise-control-plane")}
	if c.Instance != "" {
		of = append(of, semconv.ServiceInstanceID(c.Instance))
	}
	provider := sdk.NewTracerProvider(
		sdk.WithResource(resource.NewWithAttributes(semconv.SchemaURL, of...)), sdk.WithSampler(sdk.AlwaysSample()), sdk.WithSpanProcessor(q),
	)
	return &Tracer{q, provider.Tracer("pavise.dev/pavise/internal/tracing")}, nil
}

// Dropped is how many spans were not sent: there was no room, or the collector did not take
// them.
func (t *Tracer) Dropped() uint64 { return t.queue.dropped.Load() }

// Sent is how many spans a collector has taken.
func (t *Tracer) Sent() uint64 { return t.queue.sent.Load() }

// Run sends spans until the context ends, and then what is left, for up to five seconds.
func (t *Tracer) Run(ctx context.Context) error {
	t.queue.run(ctx)
	return nil
}

const (
	exportTime = 10 * time.Second
	lastTime   = 5 * time.Second
)
