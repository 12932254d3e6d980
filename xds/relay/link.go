package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

const (
	// openTime bounds the opening of a stream: connecting, handshake, credentials.
	openTime = 10 * time.Second
	// endTime bounds the wait for the control plane to take notice of a stream's end.
	endTime = time.Second
	// maxQueued bounds the requests that the control plane has not taken. Envoy sends
	// a few for each response, so more means that it does not read.
	maxQueued = 256
)

// link is one stream to the control plane, on a connection of its own: what failed before
// does not linger in it.
type link struct {
	requests chan *discoveryv3.DeltaDiscoveryRequest
	ending   chan struct{} // closed when the session wants no more of it
	done     chan struct{} // closed when nothing of it runs
	cancel   context.CancelFunc

	// The rest is the session's.

	asked  map[string]bool // types that this stream was asked for
	opened time.Time       // zero until it is open
	spoke  bool            // it has brought a response
}

// news is what a link tells its session: that it is open, a response, or its end.
type news struct {
	link     *link
	response *discoveryv3.DeltaDiscoveryResponse
	err      error // why it ended
}

// connect begins a link. It waits until the one before has ended, as the control plane sees
// it: a stream that ends after the next began would be taken for the Envoy's end. It is
// called with the lock held.
func (r *Relay) connect(to chan<- news) *link {
	l := &link{
		requests: make(chan *discoveryv3.DeltaDiscoveryRequest, maxQueued),
		ending:   make(chan struct{}), done: make(chan struct{}), asked: map[string]bool{},
	}
	ctx, cancel := context.WithCancel(r.running)
	l.cancel = cancel
	before := r.last
	r.last = l
	r.links.Go(func() {
		defer close(l.done)
		defer cancel()
		if before != nil {
			select {
			case <-before.done:
			case <-ctx.Done():
			}
		}
		err := l.run(ctx, r, to)
		l.tell(r.running, to, news{link: l, err: err}) // its own context may have ended
	})
	r.links.Go(func() { l.expire(ctx) })
	return l
}

// expire ends the link where its end was asked for and does not come: a control plane that
// does not read holds up what would end it.
func (l *link) expire(ctx context.Context) {
	select {
	case <-l.ending:
	case <-ctx.Done():
		return
	}
	t := time.NewTimer(endTime)
	defer t.Stop()
	select {
	case <-t.C:
		l.cancel()
	case <-ctx.Done():
	}
}

// ask queues a request. It reports false where the control plane does not take them.
func (l *link) ask(q *discoveryv3.DeltaDiscoveryRequest) bool {
	l.asked[q.GetTypeUrl()] = true
	select {
	case l.requests <- q:
		return true
	default:
		return false
	}
}

// end asks the control plane to end the stream, and ends it if that takes too long. It is
// called once, and nothing is asked for after it.
func (l *link) end() {
	close(l.ending)
	close(l.requests)
	if l.opened.IsZero() {
		l.cancel() // there is nothing to be taken notice of
	}
}

// tell hands over news, unless nobody wants them any more.
func (l *link) tell(ctx context.Context, to chan<- news, n news) bool {
	select {
	case <-l.ending: // first, since both may be ready
		return true
	default:
	}
	select {
	case to <- n:
		return true
	case <-l.ending:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *link) run(ctx context.Context, r *Relay, to chan<- news) error {
	conn, err := grpc.NewClient(r.config.grpcTarget(), r.config.dialOptions()...)
	if err != nil {
		return fmt.Errorf("the control plane %s: %w", r.config.Target, err)
	}
	defer conn.Close()
	late := time.AfterFunc(openTime, l.cancel)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if !late.Stop() {
		err = fmt.Errorf("no stream within %s", openTime)
	}
	if err != nil {
		return r.explain("cannot be reached", err)
	}
	if !l.tell(ctx, to, news{link: l}) {
		return ctx.Err()
	}
	writer := make(chan struct{})
	go func() {
		defer close(writer)
		l.write(ctx, stream)
	}()
	defer func() {
		l.cancel()
		<-writer
	}()
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("the control plane %s ended the stream", r.config.Target)
		}
		if err != nil {
			return r.explain("ended the stream", err)
		}
		if !l.tell(ctx, to, news{link: l, response: m}) {
			return ctx.Err()
		}
	}
}

// write sends what is queued, until the end.
func (l *link) write(ctx context.Context, stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient) {
	for {
		select {
		case q, more := <-l.requests:
			if !more {
				_ = stream.CloseSend()
				<-ctx.Done()
				return
			}
			if stream.Send(q) != nil {
				<-ctx.Done() // Recv has the reason
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// explain words an error of gRPC. What the control plane says in it is bounded.
func (r *Relay) explain(what string, err error) error {
	if s, ok := status.FromError(err); ok {
		return fmt.Errorf("the control plane %s %s: %s: %s", r.config.Target, what, s.Code(), clip(s.Message(), 500))
	}
	return fmt.Errorf("the control plane %s %s: %w", r.config.Target, what, err)
}

func (c *Config) grpcTarget() string {
	if path, local := strings.CutPrefix(c.Target, unixTarget); local {
		return "passthrough:///" + path
	}
	return "dns:///" + c.Target
}

func (c *Config) dialOptions() []grpc.DialOption {
	o := []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(), // the session's own
		grpc.WithIdleTimeout(0),
	}
	if _, local := strings.CutPrefix(c.Target, unixTarget); local {
		return append(o, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", path)
			}))
	}
	if c.TokenFile != "" {
		o = append(o, grpc.WithPerRPCCredentials(token{c.TokenFile}))
	}
	return append(o, grpc.WithTransportCredentials(rereading{c.TLS}),
		// A control plane whose node is gone says nothing, and an idle stream would wait
		// for it for ever. The kernel asks for it; pings of HTTP/2, which a server of gRPC
		// takes for abuse where they come oftener than every five minutes, are for what
		// stands between.
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
			return d.DialContext(ctx, "tcp", addr)
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 6 * time.Minute, Timeout: 20 * time.Second}))
}
