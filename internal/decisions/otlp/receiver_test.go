package otlp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is a collector as the protocol has it, with the limits that gRPC servers have.
type receiver struct {
	collector.UnimplementedLogsServiceServer
	mu       sync.Mutex
	requests []*collector.ExportLogsServiceRequest
	headers  []metadata.MD
	// say answers the request of a number, from 0; nil takes everything.
	say func(ctx context.Context, n int) (*collector.ExportLogsServiceResponse, error)
}

func (r *receiver) Export(ctx context.Context, q *collector.ExportLogsServiceRequest) (*collector.ExportLogsServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	r.mu.Lock()
	n := len(r.requests)
	r.requests = append(r.requests, q)
	r.headers = append(r.headers, md)
	r.mu.Unlock()
	if r.say != nil {
		return r.say(ctx, n)
	}
	return &collector.ExportLogsServiceResponse{}, nil
}

func (r *receiver) records() (out []*logs.LogRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.requests {
		for _, resource := range q.GetResourceLogs() {
			for _, scope := range resource.GetScopeLogs() {
				out = append(out, scope.GetLogRecords()...)
			}
		}
	}
	return out
}

// serve listens at the address and returns where that is.
func serve(t *testing.T, r *receiver, network, address string, opts ...grpc.ServerOption) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(opts...)
	collector.RegisterLogsServiceServer(s, r)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func newSink(t *testing.T, c Config) *Sink {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// insecureSink is one of a collector on loopback.
func insecureSink(t *testing.T, r *receiver) *Sink {
	t.Helper()
	return newSink(t, Config{Endpoint: serve(t, r, "tcp", "127.0.0.1:0"), Insecure: true})
}

// certificate makes a server's certificate for the loopback address, and who trusts it.
func certificate(t *testing.T) (server grpc.ServerOption, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return grpc.Creds(credentials.NewServerTLSFromCert(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})), &tls.Config{RootCAs: pool}
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC)

func denied() *decisions.Record {
	return &decisions.Record{
		Time: noon, From: decisions.Envoy, Workload: "shop/web", Listener: "shop/web/http", Direction: policy.Ingress,
		Verdict: policy.Denied, Reason: "namespace:shop/web#browse", Policy: "shop/web", Rule: "browse",
		AuditVerdict: policy.Denied, AuditReason: "default-deny:shop/no-guests",
		Alert:  decisions.Hit{Name: "botnets", Line: 3, Entry: "198.51.100.0/24", Asked: "source"},
		Source: "198.51.100.7:40312", Destination: "[2001:db8::9]:8080", ServerName: "shop.example", Method: "GET", Host: "shop.example:8443",
		Path: "/products/7", Query: "v=1", Names: "a.example\nb.example", Headers: "x-role: guest", Status: 403, RequestID: "6a9e", Detail: "rbac_access_denied", Count: 7,
	}
}

// flat is the attributes of a record by name.
func flat(kvs []*common.KeyValue) map[string]any {
	out := map[string]any{}
	for _, kv := range kvs {
		switch v := kv.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[kv.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			out[kv.GetKey()] = v.IntValue
		case *common.AnyValue_ArrayValue:
			var list []string
			for _, one := range v.ArrayValue.GetValues() {
				list = append(list, one.GetStringValue())
			}
			out[kv.GetKey()] = strings.Join(list, ",")
		default:
			out[kv.GetKey()] = kv.String()
		}
	}
	return out
}
