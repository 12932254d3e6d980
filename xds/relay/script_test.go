package relay_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	cds  = resourcev3.ClusterType
	lds  = resourcev3.ListenerType
	ecds = resourcev3.ExtensionConfigType
)

type (
	request  = discoveryv3.DeltaDiscoveryRequest
	response = discoveryv3.DeltaDiscoveryResponse
)

// end is one end of a stream of incremental ADS, whose messages a test sends and expects.
type end[in any] struct {
	t    testing.TB
	got  chan in
	gone chan struct{} // the other side has ended it
	err  error         // why; set when gone is closed
}

func newEnd[in any](t testing.TB, recv func() (in, error)) *end[in] {
	e := &end[in]{t: t, got: make(chan in, 1000), gone: make(chan struct{})}
	go func() {
		defer close(e.gone)
		for {
			m, err := recv()
			if err != nil {
				e.err = err
				return
			}
			e.got <- m
		}
	}()
	return e
}

// next is the next message.
func (e *end[in]) next() in {
	e.t.Helper()
	select {
	case m := <-e.got:
		return m
	case <-e.gone:
		select {
		case m := <-e.got:
			return m
		default:
		}
		e.t.Fatalf("the stream has ended: %v", e.err)
	case <-time.After(patience):
		e.t.Fatal("nothing came")
	}
	panic("unreachable")
}

// planeStream is a stream as the control plane of a test has it.
type planeStream struct {
	*end[*request]
	discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	finish chan error
	auth   []string // of its metadata
}

func (p *planeStream) give(typ, nonce, digest string, rs ...*discoveryv3.Resource) {
	p.t.Helper()
	p.say(&response{TypeUrl: typ, Nonce: nonce, SystemVersionInfo: digest, Resources: rs})
}

func (p *planeStream) say(r *response) {
	p.t.Helper()
	if err := p.Send(r); err != nil {
		p.t.Fatal(err)
	}
}

// script is a control plane that does what the test says.
type script struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	t       testing.TB
	streams chan *planeStream
}

// startScript serves at dir/plane.sock, or at l.
func startScript(t testing.TB, dir string, l net.Listener, creds credentials.TransportCredentials) *script {
	t.Helper()
	s := &script{t: t, streams: make(chan *planeStream, 100)}
	if l == nil {
		var err error
		if l, err = net.Listen("unix", filepath.Join(dir, "plane.sock")); err != nil {
			t.Fatal(err)
		}
	}
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	g := grpc.NewServer(grpc.Creds(creds), grpc.WaitForHandlers(true))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-done })
	return s
}

func (s *script) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	p := &planeStream{newEnd(s.t, stream.Recv), stream, make(chan error, 1), md.Get("authorization")}
	s.streams <- p
	select {
	case err := <-p.finish:
		return err
	case <-p.gone:
		return nil
	}
}

// stream is the next one that the relay opens.
func (s *script) stream() *planeStream {
	s.t.Helper()
	select {
	case p := <-s.streams:
		return p
	case <-time.After(patience):
		s.t.Fatal("the relay opened no stream")
	}
	panic("unreachable")
}

// fakeEnvoy asks a relay as an Envoy does.
type fakeEnvoy struct {
	*end[*response]
	discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	quit func()
}

func dialEnvoy(t testing.TB, socket string) *fakeEnvoy {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	e := &fakeEnvoy{end: newEnd(t, stream.Recv), AggregatedDiscoveryService_DeltaAggregatedResourcesClient: stream}
	e.quit = func() { cancel(); <-e.gone; _ = conn.Close() }
	t.Cleanup(e.quit)
	return e
}

func (e *fakeEnvoy) say(r *request) {
	e.t.Helper()
	if err := e.Send(r); err != nil && err != io.EOF { //nolint:errorlint // documented as it is
		e.t.Fatal(err)
	}
}

// begin asks for a type for the first time; no names are all.
func (e *fakeEnvoy) begin(typ string, has map[string]string, names ...string) {
	e.t.Helper()
	e.say(&request{Node: &corev3.Node{Id: node, UserAgentName: "envoy"}, TypeUrl: typ, InitialResourceVersions: has, ResourceNamesSubscribe: names})
}

func (e *fakeEnvoy) ack(r *response) {
	e.t.Helper()
	e.say(&request{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
}

func (e *fakeEnvoy) nack(r *response, why string) {
	e.t.Helper()
	e.say(&request{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), ErrorDetail: &statuspb.Status{Code: 13, Message: why}})
}

// take expects resources, as NAME@VERSION, and acknowledges them.
func (e *fakeEnvoy) take(typ string, want ...string) {
	e.t.Helper()
	r := e.expect(typ, want...)
	e.ack(r)
}

func (e *fakeEnvoy) expect(typ string, want ...string) *response {
	e.t.Helper()
	r := e.next()
	got := list(r)
	if r.GetTypeUrl() != typ || !slices.Equal(got, want) {
		e.t.Fatalf("Envoy was given %q of %s, and should be given %q of %s", got, r.GetTypeUrl(), want, typ)
	}
	return r
}

// list is what a response holds: NAME@VERSION, -NAME for what is removed.
func list(r *response) []string {
	var out []string
	for _, x := range r.GetResources() {
		out = append(out, x.GetName()+"@"+x.GetVersion())
	}
	slices.Sort(out)
	for _, name := range r.GetRemovedResources() {
		out = append(out, "-"+name)
	}
	return out
}

// res is a resource.
func res(typ, name, version string) *discoveryv3.Resource {
	return &discoveryv3.Resource{Name: name, Version: version, Resource: &anypb.Any{TypeUrl: typ, Value: []byte{10, 1, 'x'}}}
}

// answer expects an answer for a nonce.
func (p *planeStream) answer(typ, nonce string) *request {
	p.t.Helper()
	q := p.next()
	if q.GetTypeUrl() != typ || q.GetResponseNonce() != nonce {
		p.t.Fatalf("the control plane got %v, and should get an answer to %s of %s", q, nonce, typ)
	}
	return q
}

// serveAll gives what a small Envoy needs, and has it acknowledged: cluster c, listener l and
// policy p, of one version. Envoy has begun nothing before.
func serveAll(e *fakeEnvoy, p *planeStream, version string) {
	e.t.Helper()
	p.next() // clusters; Envoy has asked
	p.give(cds, "c1", version, res(cds, "c", version))
	e.take(cds, "c@"+version)
	p.answer(cds, "c1")
	e.begin(lds, nil)
	p.next()
	p.give(lds, "l1", version, res(lds, "l", version))
	r := e.expect(lds, "l@"+version)
	e.begin(ecds, nil, "p")
	p.next()
	e.ack(r)
	p.answer(lds, "l1")
	p.give(ecds, "e1", version, res(ecds, "p", version))
	e.take(ecds, "p@"+version)
	p.answer(ecds, "e1")
}
