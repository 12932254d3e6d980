package otlp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/log"
	sdk "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/secret"
)

// longestWait is the most that a collector may ask for between two tries.
const longestWait = time.Minute

// Config of a Sink.
type Config struct {
	// Endpoint is HOST:PORT of a collector, or unix:/PATH of its socket. The port for OTLP
	// over gRPC is 4317. It is connected to directly, never by a proxy.
	Endpoint string
	// TLS is how to connect; the system's authorities, at TLS 1.2 at least, when nil.
	TLS *tls.Config
	// Insecure connects without TLS. Headers are then sent only to a socket or a loopback
	// address.
	Insecure bool
	// Headers are sent with each request, such as authorization.
	Headers map[string]secret.String
	// Resource says where the records come from: attributes by name, such as
	// k8s.pod.name. service.name is pavise unless it is given.
	Resource map[string]string
	// Timeout of a request. 10 s when 0.
	Timeout time.Duration
}

// Sink sends decisions to a collector. Use it with a Linger of about a second, so that many
// go into one request.
type Sink struct {
	c      Config
	logger log.Logger
	batch  batch

	conn     *grpc.ClientConn // nil until the first Write, and after one that hung
	exporter *otlploggrpc.Exporter
	last     exchange
}

// New returns a sink. It connects with the first Write.
func New(c Config) (*Sink, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("decisions by OTLP: %w", err)
	}
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	of := []attribute.KeyValue{semconv.ServiceName("pavise")}
	for k, v := range c.Resource {
		of = append(of, attribute.String(k, strings.ToValidUTF8(v, "\ufffd")))
	}
	s := &Sink{c: c}
	provider := sdk.NewLoggerProvider(
		sdk.WithResource(resource.NewWithAttributes(semconv.SchemaURL, of...)), // the last of a name stands
		sdk.WithProcessor(&s.batch),
		// The record has bounds of its own.
		sdk.WithAttributeCountLimit(-1), sdk.WithAttributeValueLengthLimit(-1),
	)
	s.logger = provider.Logger("pavise.dev/pavise/internal/decisions")
	return s, nil
}

func (c *Config) check() error {
	path, socket := strings.CutPrefix(c.Endpoint, "unix:")
	host, port, err := net.SplitHostPort(c.Endpoint)
	switch {
	case socket && path == "", !socket && (err != nil || host == "" || port == ""):
		return fmt.Errorf("endpoint %q: it is HOST:PORT, such as collector.example:4317, or unix:/PATH", c.Endpoint)
	case c.Insecure && c.TLS != nil:
		return errors.New("it is to connect with TLS and without")
	}
	addr, _ := netip.ParseAddr(host)
	if c.Insecure && len(c.Headers) > 0 && !socket && host != "localhost" && !addr.IsLoopback() {
		return fmt.Errorf("headers would be sent to %s for everybody on the way to read: use TLS", c.Endpoint)
	}
	for name, value := range c.Headers {
		if err := checkHeader(strings.ToLower(name), value.Reveal()); err != nil {
			return fmt.Errorf("header %q: %w", name, err)
		}
	}
	return nil
}

// checkHeader holds a header to what gRPC sends (its PROTOCOL-HTTP2, Custom-Metadata), and
// never says the value.
func checkHeader(name, value string) error {
	const inName = "abcdefghijklmnopqrstuvwxyz0123456789-_."
	if name == "" || strings.ContainsFunc(name, func(c rune) bool { return !strings.ContainsRune(inName, c) }) {
		return errors.New("a name has letters, digits, and - _ . between them")
	}
	if strings.HasPrefix(name, "grpc-") {
		return errors.New("names that begin with grpc- are gRPC's own")
	}
	if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' }) {
		return errors.New("its value may only have printable ASCII")
	}
	return nil
}

// Write sends records in one request. Which of them a collector rejected it does not say;
// the last are taken to be those.
func (s *Sink) Write(ctx context.Context, records []*decisions.Record) (int, error) {
	if err := s.connect(ctx); err != nil {
		return 0, s.safe(err)
	}
	s.batch.records = slices.Grow(s.batch.records[:0], len(records))
	for _, r := range records {
		s.logger.Emit(ctx, emitted(r))
	}
	s.last = exchange{}
	err := s.exporter.Export(ctx, s.batch.records)
	clear(s.batch.records)
	switch {
	case s.last.answer != nil && s.last.err == nil:
		return s.answered(records)
	case err == nil: // there was nothing to send
		return len(records), nil
	case ctx.Err() != nil:
		return 0, s.safe(err)
	}
	return 0, s.failed(ctx, err)
}

// answered reads what the collector says of a request that it took.
func (s *Sink) answered(records []*decisions.Record) (int, error) {
	says := s.last.answer.GetPartialSuccess()
	n, words := says.GetRejectedLogRecords(), says.GetErrorMessage()
	switch {
	case n > 0:
		n = min(n, int64(len(records)))
		err := s.safe(fmt.Errorf("the collector rejected %d of %d records: %s", n, len(records), words))
		return len(records) - int(n), &decisions.RefusedError{Err: err}
	case words != "":
		return len(records), s.safe(fmt.Errorf("the collector took all records, and warns: %s", words))
	}
	return len(records), nil
}

// failed says whether a request is worth another try: the rules are those of
// opentelemetry.io/docs/specs/otlp, Failures. Where the collector asks for time it gets it.
func (s *Sink) failed(ctx context.Context, err error) error {
	safe := s.safe(err)
	if s.last.err == nil { // it was not even sent
		return &decisions.RefusedError{Err: safe}
	}
	st := status.Convert(s.last.err)
	wait, asked := time.Duration(0), false
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			wait, asked = min(info.GetRetryDelay().AsDuration(), longestWait), true
		}
	}
	switch st.Code() {
	case codes.DeadlineExceeded:
		s.hangUp() // the other end may have gone without a word
	case codes.Canceled, codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss:
	case codes.ResourceExhausted:
		if !asked {
			return &decisions.RefusedError{Err: safe}
		}
	default:
		return &decisions.RefusedError{Err: safe}
	}
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	return safe
}

// Close ends the connection.
func (s *Sink) Close() error {
	s.hangUp()
	return nil
}
