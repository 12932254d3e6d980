package otlp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	sdk "go.opentelemetry.io/otel/sdk/log"
	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"pavise.dev/pavise/internal/secret"
)

const (
	// mostAnswer bounds an answer of the collector, in octets; it has hardly any.
	mostAnswer = 64 << 10
	// mostError bounds what of an error is kept: some of it is the collector's.
	mostError = 512
)

// batch is a processor that keeps the records of one request.
type batch struct{ records []sdk.Record }

func (b *batch) OnEmit(_ context.Context, r *sdk.Record) error {
	b.records = append(b.records, r.Clone())
	return nil
}

func (*batch) Enabled(context.Context, sdk.EnabledParameters) bool { return true }
func (*batch) Shutdown(context.Context) error                      { return nil }
func (*batch) ForceFlush(context.Context) error                    { return nil }

// exchange is what became of a request. The exporter tells the words of a partial success
// but not the number, so it is read as it comes by.
type exchange struct {
	answer *collector.ExportLogsServiceResponse
	err    error
}

func (s *Sink) observe(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, conn, opts...)
	s.last.err = err
	s.last.answer, _ = reply.(*collector.ExportLogsServiceResponse)
	return err
}

// connect makes the connection, if there is none; gRPC connects when it is used, and again
// when it breaks. All of the exporter that could come from the environment is set.
func (s *Sink) connect(ctx context.Context) error {
	if s.conn != nil {
		return nil
	}
	creds := credentials.NewTLS(s.c.TLS)
	if s.c.Insecure {
		creds = insecure.NewCredentials()
	}
	target := s.c.Endpoint
	if !strings.HasPrefix(target, "unix:") {
		target = "passthrough:///" + target // looked up anew for each connection
	}
	conn, err := grpc.NewClient(
		target,
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithUserAgent("Pavise"),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: 10 * time.Second},
			MinConnectTimeout: s.c.Timeout,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(mostAnswer)),
		grpc.WithChainUnaryInterceptor(s.observe),
	)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.c.Endpoint, err)
	}
	headers := make(map[string]string, len(s.c.Headers))
	for name, value := range s.c.Headers {
		headers[name] = value.Reveal()
	}
	exporter, err := otlploggrpc.New(
		ctx,
		otlploggrpc.WithGRPCConn(conn),
		otlploggrpc.WithHeaders(headers),
		otlploggrpc.WithTimeout(s.c.Timeout),
		otlploggrpc.WithRetry(otlploggrpc.RetryConfig{}), // who calls Write tries again
	)
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("make an exporter: %w", err)
	}
	s.conn, s.exporter = conn, exporter
	return nil
}

func (s *Sink) hangUp() {
	if s.conn != nil {
		_ = s.conn.Close() // which ends what is under way; there is nothing else to lose
		s.conn, s.exporter = nil, nil
	}
}

// safe is an error that may be printed: a collector may repeat a header that it does not
// like, and at length.
func (s *Sink) safe(err error) error {
	text := strings.ToValidUTF8(err.Error(), "\ufffd")
	for _, value := range s.c.Headers {
		text = redact(text, value)
	}
	if len(text) > mostError {
		text = strings.ToValidUTF8(text[:mostError], "") + "…"
	}
	return errors.New(text)
}

// redact takes a secret out of a text, whole or the words of it, such as what follows
// "Bearer". Words so short that they are in every text are no secrets.
func redact(text string, value secret.String) string {
	words := append([]string{value.Reveal()}, strings.Fields(value.Reveal())...)
	for _, word := range words {
		if len(word) >= 4 {
			text = strings.ReplaceAll(text, word, secret.Redacted)
		}
	}
	return text
}
