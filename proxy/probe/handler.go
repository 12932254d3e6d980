package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"

	"golang.org/x/sync/singleflight"
)

// Prefix of the paths that are served: Prefix + CONTAINER + "/" + KIND.
const Prefix = "/app-health/"

// maxUserAgent bounds what is passed on of a User-Agent, in octets.
const maxUserAgent = 256

// Config of a Handler.
type Config struct {
	// Target is the address of the application. The pod's is what the kubelet would ask; a
	// loopback address reaches what listens on all addresses or there alone. Required.
	Target netip.Addr
	// Own are the ports of the sidecar, which no probe and no redirect may reach.
	Own []uint16
	// Logger is told of probes that fail, at level Debug; nil is silent.
	Logger *slog.Logger
}

// Handler serves the probes of the set: 200 for healthy, 503 with a line of text for not
// healthy, and 404 for a name that is not in the set. It answers GET and HEAD.
//
// Each probe is done at most once at a time, and whoever asks meanwhile gets the same answer.
// So strangers who ask all day cannot keep the kubelet waiting for longer than the probe's own
// timeout, and the application sees at most one connection for each probe.
func Handler(s Set, c Config) (http.Handler, error) {
	if !c.Target.IsValid() || c.Target.IsUnspecified() || c.Target.IsMulticast() {
		return nil, fmt.Errorf("probes: target %v: an address of the pod is needed, such as its own or 127.0.0.1", c.Target)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	p := &prober{config: c, set: s}
	mux := http.NewServeMux()
	mux.Handle("GET "+Prefix+"{container}/{kind}", p)
	return mux, nil
}

type prober struct {
	config Config
	set    Set
	flight singleflight.Group
}

// ServeHTTP implements http.Handler.
func (p *prober) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("container") + "/" + r.PathValue("kind")
	probe, ok := p.set[name]
	if !ok {
		http.Error(w, "no such probe", http.StatusNotFound)
		return
	}
	agent := r.UserAgent()
	if len(agent) > maxUserAgent {
		agent = agent[:maxUserAgent]
	}
	// It goes on when who asked first has left: others may wait for it.
	done := p.flight.DoChan(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), probe.timeout())
		defer cancel()
		return nil, p.do(ctx, &probe, agent)
	})
	select {
	case <-r.Context().Done():
	case got := <-done:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if got.Err != nil {
			p.config.Logger.Debug("the application is not healthy", "probe", name, "error", got.Err)
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprintf(w, "%.500s\n", got.Err) // the client has gone
			return
		}
		_, _ = w.Write([]byte("ok\n")) // the client has gone
	}
}

// do does the probe, and returns why the application is not healthy. Errors hold nothing that
// the application wrote, apart from the status.
func (p *prober) do(ctx context.Context, probe *Probe, agent string) error {
	var err error
	switch {
	case probe.HTTPGet != nil:
		err = p.config.get(ctx, probe.HTTPGet, agent)
	case probe.TCPSocket != nil:
		err = p.config.connect(ctx, probe.TCPSocket.Port)
	case probe.GRPC != nil:
		err = p.config.check(ctx, probe.GRPC, agent)
	default:
		return errors.New("a probe without a question") // Parse refuses it
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("no answer within %v", probe.timeout())
	}
	return err
}

func (c *Config) connect(ctx context.Context, port int32) error {
	conn, err := c.dial(ctx, "tcp", c.address(port))
	if err != nil {
		return err
	}
	return conn.Close()
}
