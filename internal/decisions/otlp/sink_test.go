package otlp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/secret"
	"pavise.dev/pavise/policy"
)

func send(t *testing.T, s *Sink, records ...*decisions.Record) {
	t.Helper()
	if n, err := s.Write(t.Context(), records); n != len(records) || err != nil {
		t.Fatalf("%d of %d sent: %v", n, len(records), err)
	}
}

func TestRecordAsACollectorSeesIt(t *testing.T) {
	r := &receiver{}
	s := newSink(t, Config{
		Endpoint: serve(t, r, "tcp", "127.0.0.1:0"), Insecure: true,
		Resource: map[string]string{"k8s.pod.name": "web-0", "service.name": "edge"},
	})
	send(t, s, denied(), &decisions.Record{
		Time: noon, From: decisions.DNS, Listener: "shop/web/dns", Verdict: policy.Allowed, Reason: "default-allow",
		Method: "PURGE", Source: "@socket", Question: decisions.Question{Name: "www.example", Type: "AAAA"}, Answer: "NOERROR",
		Feed: decisions.Hit{Name: "f"}, Sampled: 100,
	})
	got := r.records()
	if len(got) != 2 || len(r.requests) != 1 {
		t.Fatalf("%d records in %d requests", len(got), len(r.requests))
	}
	if of := flat(r.requests[0].GetResourceLogs()[0].GetResource().GetAttributes()); of["service.name"] != "edge" || of["k8s.pod.name"] != "web-0" {
		t.Errorf("it comes from %v", of)
	}
	d := got[0]
	if d.GetTimeUnixNano() != uint64(noon.UnixNano()) || d.GetSeverityNumber() != logs.SeverityNumber_SEVERITY_NUMBER_WARN || d.GetSeverityText() != "WARN" ||
		d.GetEventName() != "pavise.decision" || d.GetBody().GetStringValue() != "deny namespace:shop/web#browse" || d.GetDroppedAttributesCount() != 0 {
		t.Errorf("%v", d)
	}
	if got[1].GetSeverityNumber() != logs.SeverityNumber_SEVERITY_NUMBER_INFO {
		t.Errorf("%v", got[1])
	}
	for i, want := range []map[string]any{{
		"pavise.from": "envoy", "pavise.workload": "shop/web", "pavise.listener": "shop/web/http", "pavise.direction": "ingress",
		"pavise.verdict": "deny", "pavise.reason": "namespace:shop/web#browse", "pavise.policy": "shop/web", "pavise.rule": "browse",
		"pavise.auditVerdict": "deny", "pavise.auditReason": "default-deny:shop/no-guests",
		"pavise.alert.name": "botnets", "pavise.alert.line": int64(3), "pavise.alert.entry": "198.51.100.0/24", "pavise.alert.asked": "source",
		"source.address": "198.51.100.7", "source.port": int64(40312), "destination.address": "2001:db8::9", "destination.port": int64(8080),
		"pavise.serverName": "shop.example", "http.request.method": "GET", "server.address": "shop.example", "server.port": int64(8443),
		"url.path": "/products/7", "url.query": "v=1", "pavise.names": "a.example,b.example", "pavise.headers": "x-role: guest", "http.response.status_code": int64(403), "pavise.requestID": "6a9e", "pavise.detail": "rbac_access_denied",
		"pavise.count": int64(7),
	}, {
		"pavise.from": "dns", "pavise.listener": "shop/web/dns", "pavise.verdict": "allow", "pavise.reason": "default-allow",
		"http.request.method": "_OTHER", "http.request.method_original": "PURGE", "source.address": "@socket",
		"dns.question.name": "www.example", "pavise.question.type": "AAAA", "pavise.answer": "NOERROR",
		"pavise.feed.name": "f", "pavise.sampled": int64(100),
	}} {
		if have := flat(got[i].GetAttributes()); !maps.Equal(have, want) {
			t.Errorf("record %d has\n%v, want\n%v", i, have, want)
		}
	}
}

func TestWaysToConnect(t *testing.T) {
	server, client := certificate(t)
	socket := filepath.Join(t.TempDir(), "otlp.sock")
	for name, c := range map[string]Config{
		"TLS":                 {Endpoint: serve(t, &receiver{}, "tcp", "127.0.0.1:0", server), TLS: client},
		"socket":              {Endpoint: "unix:" + serve(t, &receiver{}, "unix", socket), Insecure: true},
		"loopback with a key": {Endpoint: serve(t, &receiver{}, "tcp", "127.0.0.1:0"), Insecure: true, Headers: map[string]secret.String{"x-key": secret.New("k")}},
	} {
		if n, err := newSink(t, c).Write(t.Context(), []*decisions.Record{denied()}); n != 1 || err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := &receiver{}
	s := newSink(t, Config{Endpoint: serve(t, r, "tcp", "127.0.0.1:0", server)}) // nobody vouches for it
	var refused *decisions.RefusedError
	if n, err := s.Write(t.Context(), []*decisions.Record{denied()}); n != 0 || err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), "certificate") || r.requests != nil {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
}

func TestConfig(t *testing.T) {
	header := func(name, value string) map[string]secret.String {
		return map[string]secret.String{name: secret.New(value)}
	}
	for _, c := range []struct {
		c    Config
		want string
	}{
		{Config{}, `endpoint "": it is HOST:PORT, such as collector.example:4317, or unix:/PATH`},
		{Config{Endpoint: "https://collector.example:4317/v1/logs"}, "it is HOST:PORT"},
		{Config{Endpoint: "collector.example"}, "it is HOST:PORT"},
		{Config{Endpoint: ":4317"}, "it is HOST:PORT"},
		{Config{Endpoint: "unix:"}, "unix:/PATH"},
		{Config{Endpoint: "c.example:4317", Insecure: true, Headers: header("authorization", "canary-5e1f")}, "for everybody on the way to read: use TLS"},
		{Config{Endpoint: "c.example:4317", Headers: header("grpc-timeout", "canary-5e1f")}, "gRPC's own"},
		{Config{Endpoint: "c.example:4317", Headers: header("x y", "canary-5e1f")}, `header "x y": a name has letters`},
		{Config{Endpoint: "c.example:4317", Headers: header(":path", "canary-5e1f")}, "a name has letters"},
		{Config{Endpoint: "c.example:4317", Headers: header("x", "canary-5e1f\r\ny: z")}, `header "x": its value may only have printable ASCII`},
	} {
		_, err := New(c.c)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%+v: %v, want %s", c.c, err, c.want)
		}
	}
}

// TestEnvironmentIsNotRead: what someone set for the workload beside us sends our decisions
// nowhere else, and no headers of theirs with them.
func TestEnvironmentIsNotRead(t *testing.T) {
	elsewhere, r := &receiver{}, &receiver{}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+serve(t, elsewhere, "tcp", "127.0.0.1:0"))
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-theirs=1")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=theirs,k8s.node.name=n1") // which may add, and no more
	t.Setenv("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "1")
	t.Setenv("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	send(t, insecureSink(t, r), denied())
	if elsewhere.requests != nil || r.headers[0].Get("x-theirs") != nil {
		t.Error("the environment was read")
	}
	if a := r.records()[0].GetAttributes(); len(a) != 30 || flat(a)["pavise.workload"] != "shop/web" {
		t.Errorf("%d attributes: %v", len(a), a)
	}
	if of := flat(r.requests[0].GetResourceLogs()[0].GetResource().GetAttributes()); !maps.Equal(of, map[string]any{"service.name": "pavise", "k8s.node.name": "n1"}) {
		t.Errorf("it comes from %v", of)
	}
}

// TestAnswers has a row for each thing that a collector may say, and what becomes of a
// request of ten records.
func TestAnswers(t *testing.T) {
	partial := func(n int64, words string) *collector.ExportLogsServiceResponse {
		return &collector.ExportLogsServiceResponse{PartialSuccess: &collector.ExportLogsPartialSuccess{RejectedLogRecords: n, ErrorMessage: words}}
	}
	withWait := func(code codes.Code) error {
		st, err := status.New(code, "later").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Millisecond)})
		if err != nil {
			t.Fatal(err)
		}
		return st.Err()
	}
	for _, c := range []struct {
		name    string
		answer  *collector.ExportLogsServiceResponse
		err     error
		taken   int
		refused bool
		says    string
	}{
		{"takes all", partial(0, ""), nil, 10, false, ""},
		{"rejects three", partial(3, "too old"), nil, 7, true, "rejected 3 of 10 records: too old"},
		{"rejects all and more", partial(1000, ""), nil, 0, true, "rejected 10 of 10"},
		{"rejects less than none", partial(-3, ""), nil, 10, false, ""},
		{"warns", partial(0, "slow down"), nil, 10, false, "warns: slow down"},
		{"is away", nil, status.Error(codes.Unavailable, "away"), 0, false, "away"},
		{"is slow", nil, status.Error(codes.DeadlineExceeded, "slow"), 0, false, "slow"},
		{"has no room", nil, status.Error(codes.ResourceExhausted, "full"), 0, true, "full"},
		{"has no room now", nil, withWait(codes.ResourceExhausted), 0, false, "later"},
		{"wants time", nil, withWait(codes.Unavailable), 0, false, "later"},
		{"does not understand", nil, status.Error(codes.InvalidArgument, "what?"), 0, true, "what?"},
		{"does not know us", nil, status.Error(codes.Unauthenticated, "who?"), 0, true, "who?"},
		{"is none", nil, status.Error(codes.Unimplemented, "no logs here"), 0, true, "no logs here"},
	} {
		s := insecureSink(t, &receiver{say: func(context.Context, int) (*collector.ExportLogsServiceResponse, error) { return c.answer, c.err }})
		batch := make([]*decisions.Record, 10)
		for i := range batch {
			batch[i] = denied()
		}
		n, err := s.Write(t.Context(), batch)
		var refused *decisions.RefusedError
		if n != c.taken || errors.As(err, &refused) != c.refused || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %d taken, refused %t: %v", c.name, n, errors.As(err, &refused), err)
		}
	}
}

// TestSecretsInDebugOutput: a collector repeats the header that it does not like, and the
// canary is looked for wherever that may lead.
func TestSecretsInDebugOutput(t *testing.T) {
	const canary = "canary-5e1f"
	r := &receiver{}
	r.say = func(ctx context.Context, n int) (*collector.ExportLogsServiceResponse, error) {
		words := fmt.Sprintf("bad token %s, and in full %q %s", canary, r.headers[n].Get("authorization"), strings.Repeat("x", 10_000))
		if n == 0 {
			return nil, status.Error(codes.Unauthenticated, words)
		}
		return &collector.ExportLogsServiceResponse{PartialSuccess: &collector.ExportLogsPartialSuccess{RejectedLogRecords: 1, ErrorMessage: words}}, nil
	}
	var out bytes.Buffer
	c := Config{Endpoint: serve(t, r, "tcp", "127.0.0.1:0"), Insecure: true, Headers: map[string]secret.String{"Authorization": secret.New("Bearer " + canary)}}
	s := newSink(t, c)
	l, err := decisions.New(decisions.Options{Log: slog.New(slog.NewTextHandler(&out, nil)), Outputs: []decisions.Output{{Name: "otlp", Sink: s}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := s.Write(t.Context(), []*decisions.Record{denied()})
		if err == nil || len(err.Error()) > 2*mostError {
			t.Errorf("%v", err)
		}
		fmt.Fprintf(&out, "%v %+v %#v\n", err, c, s)
	}
	l.Add(*denied())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Error(err)
	}
	fmt.Fprintf(&out, "%+v", l.Stats())
	if r.headers[0].Get("authorization")[0] != "Bearer "+canary || len(r.headers) != 3 {
		t.Fatalf("the collector got %v", r.headers)
	}
	if strings.Contains(out.String(), canary) || !strings.Contains(out.String(), secret.Redacted) {
		t.Errorf("the secret is in\n%s", out.String())
	}
}

// TestHostileTexts: what is no UTF-8 would make a request that cannot be encoded, and take
// all the others in it along.
func TestHostileTexts(t *testing.T) {
	r := &receiver{}
	s := insecureSink(t, r)
	l, err := decisions.New(decisions.Options{Repeats: -1, Outputs: []decisions.Output{{Name: "otlp", Sink: s}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"\xff\xfe", "\x00\x1b[2J\r\n", strings.Repeat("a", 1<<20), strings.Repeat("\xff", 1<<16), "\xed\xa0\xbd"} {
		d := denied()
		d.Path, d.Host, d.Method, d.ServerName, d.Detail, d.Question.Name, d.Source = text, text, text, text, text, text, text
		d.Reason, d.Alert.Entry, d.Listener, d.Count = text, text, text, 1<<64-1
		l.Add(*d)
	}
	for range 1000 { // more than 4 MiB, which a server takes in one request
		d := denied()
		d.Reason, d.AuditReason = strings.Repeat("r", 1<<16), strings.Repeat("a", 1<<16)
		l.Add(*d)
	}
	queued := l.Stats().Outputs[0].QueuedRecords
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Error(err)
	}
	o := l.Stats().Outputs[0]
	if len(r.records()) != queued || int(o.Records) != queued || queued < 500 || o.Err != nil || len(r.requests) < 2 {
		t.Errorf("%d records of %d queued arrived in %d requests: %+v", len(r.records()), queued, len(r.requests), o)
	}
}

// TestCollectorThatComesBack: what was not taken is sent when it is there again, once.
func TestCollectorThatComesBack(t *testing.T) {
	port, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := port.Addr().String()
	port.Close() // nobody is there yet
	s := newSink(t, Config{Endpoint: at, Insecure: true})
	l, err := decisions.New(decisions.Options{Repeats: -1, Outputs: []decisions.Output{{Name: "otlp", Sink: s}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	for range 300 {
		l.Add(*denied())
	}
	until := func(what string, holds func(decisions.OutputStats) bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !holds(l.Stats().Outputs[0]); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not %s: %+v", what, l.Stats())
			}
		}
	}
	until("failing", func(o decisions.OutputStats) bool { return o.Err != nil })
	r := &receiver{}
	serve(t, r, "tcp", at)
	until("written", func(o decisions.OutputStats) bool { return o.Written.Deny == 300 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(r.records()); n != 300 {
		t.Errorf("%d records arrived", n)
	}
}

// TestCollectorThatHangs: a request ends by itself, the next one has a new connection, and
// the end of the log does not wait for it.
func TestCollectorThatHangs(t *testing.T) {
	r := &receiver{}
	r.say = func(ctx context.Context, n int) (*collector.ExportLogsServiceResponse, error) {
		if n != 1 {
			<-ctx.Done()
		}
		return &collector.ExportLogsServiceResponse{}, nil
	}
	s := newSink(t, Config{Endpoint: serve(t, r, "tcp", "127.0.0.1:0"), Insecure: true, Timeout: 200 * time.Millisecond})
	batch := []*decisions.Record{denied()}
	var refused *decisions.RefusedError
	if n, err := s.Write(t.Context(), batch); n != 0 || err == nil || errors.As(err, &refused) || s.conn != nil {
		t.Fatalf("%d, %v", n, err)
	}
	send(t, s, batch...)
	ctx, cancel := context.WithCancel(t.Context())
	s.c.Timeout = time.Hour
	s.hangUp()
	time.AfterFunc(50*time.Millisecond, cancel)
	if n, err := s.Write(ctx, batch); n != 0 || err == nil || errors.As(err, &refused) {
		t.Errorf("%d, %v", n, err)
	}
}
