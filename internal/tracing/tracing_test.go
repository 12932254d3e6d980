package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"pavise.dev/pavise/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is a collector.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	address string
	hang    chan struct{} // closed when it shall answer

	mu    sync.Mutex
	spans []*tracepb.Span
	auth  []string
}

func (r *receiver) Export(ctx context.Context, q *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	select {
	case <-r.hang:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	md, _ := metadata.FromIncomingContext(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.auth = md.Get("authorization")
	for _, of := range q.GetResourceSpans() {
		for _, s := range of.GetScopeSpans() {
			r.spans = append(r.spans, s.GetSpans()...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{address: l.Addr().String(), hang: make(chan struct{})}
	g := grpc.NewServer()
	collector.RegisterTraceServiceServer(g, r)
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-done })
	return r
}

// running is a tracer that sends until the returned function is called, which waits for the
// last span.
func running(t *testing.T, c Config) (*Tracer, func()) {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	tr, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	return tr, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func (r *receiver) by(name string) (out []*tracepb.Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if s.GetName() == name {
			out = append(out, s)
		}
	}
	return out
}

func value(s *tracepb.Span, key string) string {
	for _, kv := range s.GetAttributes() {
		if kv.GetKey() == key {
			return kv.GetValue().GetStringValue() + fmt.Sprint(kv.GetValue().GetIntValue())
		}
	}
	return "-"
}

// TestChange: one change is one trace, of bounded size, with what became of it.
func TestChange(t *testing.T) {
	r := newReceiver(t)
	close(r.hang)
	tr, stop := running(t, Config{Endpoint: r.address, Insecure: true, Authorization: secret.New("Bearer canary")})
	ctx, end := tr.Change(t.Context(), attribute.String("pavise.digest", "d"))
	tr.Stage(ctx, "compile")()
	var pushes []*Push
	for i := range 10_000 {
		pushes = append(pushes, tr.Push(ctx, fmt.Sprintf("shop/web-%d", i), "d"))
	}
	end(nil, attribute.Int("pavise.workloads", 3))
	for i, p := range pushes {
		switch {
		case i%100 == 99:
			p.Ended("refused", "no such filter\xff")
		default:
			p.Ended("in-force", "")
		}
	}
	stop()
	root, rollout, all := r.by("change"), r.by("rollout"), r.by("push")
	if len(root) != 1 || len(rollout) != 1 || len(r.by("compile")) != 1 {
		t.Fatalf("%d changes, %d rollouts", len(root), len(rollout))
	}
	if len(all) != mostPushes+mostRefused {
		t.Errorf("%d spans of pushes", len(all))
	}
	bad := 0
	for _, s := range append(all, rollout[0], r.by("compile")[0]) {
		parent := rollout[0]
		if s.GetName() != "push" {
			parent = root[0]
		}
		if string(s.GetTraceId()) != string(root[0].GetTraceId()) || string(s.GetParentSpanId()) != string(parent.GetSpanId()) {
			t.Fatalf("%s is not where it belongs", s.GetName())
		}
		if s.GetName() == "push" && s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR {
			bad++
			if s.GetStatus().GetMessage() != "no such filter\ufffd" || value(s, "pavise.outcome") != "refused0" {
				t.Errorf("%v", s)
			}
		}
	}
	if bad != mostRefused {
		t.Errorf("%d refusals have a span", bad)
	}
	for key, want := range map[string]string{"pavise.envoys": "10000", "pavise.envoys.refused": "100", "pavise.envoys.in-force": "9900"} {
		if got := value(rollout[0], key); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	if rollout[0].GetEndTimeUnixNano() < root[0].GetEndTimeUnixNano() || value(root[0], "pavise.workloads") != "3" {
		t.Error("the change")
	}
	if len(r.auth) != 1 || r.auth[0] != "Bearer canary" || tr.Dropped() != 0 || tr.Sent() != uint64(len(all)+3) {
		t.Errorf("authorization %q, %d dropped, %d sent", r.auth, tr.Dropped(), tr.Sent())
	}
}

// TestCollectorThatHangs holds nobody up; what there is no room for is counted.
func TestCollectorThatHangs(t *testing.T) {
	r := newReceiver(t)
	tr, stop := running(t, Config{Endpoint: r.address, Insecure: true})
	began := time.Now()
	for range 3 * mostQueued {
		ctx, end := tr.Change(t.Context())
		p := tr.Push(ctx, "n", "d")
		end(errors.New("it failed"))
		p.Ended("in-force", "")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a collector that hangs holds up changes: %s", took)
	}
	if tr.Dropped() == 0 {
		t.Error("nothing was dropped")
	}
	close(r.hang)
	stop()
}

// TestOff: without a tracer nothing is made for a change.
func TestOff(t *testing.T) {
	var tr *Tracer
	ctx := context.Background()
	if n := testing.AllocsPerRun(100, func() {
		c, end := tr.Change(ctx)
		if tr.Push(c, "n", "d") != nil {
			t.Error("a push of no change")
		}
		tr.Stage(c, "set")()
		end(nil)
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func TestRefuses(t *testing.T) {
	for name, c := range map[string]Config{
		"no port":       {Endpoint: "collector"},
		"sent in clear": {Endpoint: "192.0.2.1:4317", Insecure: true, Authorization: secret.New("canary")},
	} {
		if _, err := New(c); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
