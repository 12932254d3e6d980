package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/replica"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/envoy"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/dns"
	"pavise.dev/pavise/proxy/filter"
	"pavise.dev/pavise/proxy/health"
	appprobe "pavise.dev/pavise/proxy/probe"
	"pavise.dev/pavise/xds"
	"pavise.dev/pavise/xds/relay"
)

// agent is a sidecar: what stands beside one workload but for its control plane.
type agent struct {
	agentOptions
	relay    *relay.Relay
	envoyUp  *envoy.Supervisor
	envoyAdm *envoy.Admin
	follower *replica.Follower // nil where no feeds are followed
	snapshot string            // path of what it keeps
	engine   *filter.Engine
	resolver *resolver // nil where none is wanted
	names    *dns.Server
	stats    http.Handler // metrics
	probes   http.Handler // of the application; nil where there are none
	// accessLog takes Envoy's, of which the relay knows the listeners.
	accessLog func(*xds.AccessLogMessage)
	recent    ring
	lately    *lately
	denied    atomic.Int64
	asked     *admin.Server // at an address
}

// newAgent checks everything that can be checked before anything is started, and takes
// what only one process can have.
func newAgent(ctx context.Context, o agentOptions) (*agent, error) {
	path, err := envoy.Find(o.envoy)
	if err != nil {
		return nil, err
	}
	if o.module, err = findModule(o.module); err != nil {
		return nil, err
	}
	for flag, dir := range map[string]string{"run-dir": o.runDir, "state": o.state} {
		if err := privateDir(flag, dir); err != nil {
			return nil, err
		}
	}
	a := &agent{agentOptions: o, engine: &filter.Engine{}, envoyAdm: envoy.NewAdmin(filepath.Join(o.runDir, "envoy.sock"))}
	a.collect()
	if a.probes, err = probesOf(os.Getenv(probesEnv), os.Getenv(podIPEnv), o.log); err != nil {
		return nil, err
	}
	if a.lately, err = a.keep.open(a.state, agentLatelyBytes, nil, a.log.With("from", "anomalies")); err != nil {
		return nil, err
	}
	if err := a.follow(); err != nil {
		return nil, err
	}
	a.relay, err = relay.New(relay.Config{
		Target: o.controlPlane, TLS: o.tls, TokenFile: o.tokenFile, Node: o.node,
		Socket: filepath.Join(o.runDir, "xds.sock"), Dir: filepath.Join(o.state, "resources"),
		AccessLog: func(m *xds.AccessLogMessage) { a.accessLog(m) }, Logger: o.log.With("from", "relay"),
	})
	if err != nil {
		return nil, err
	}
	a.accessLog = xds.AccessLog(a.relay, a.decided)
	if err := a.supervise(path); err != nil {
		return nil, err
	}
	a.names = &dns.Server{Address: xds.DefaultResolver, Lookup: checkedLookup(a.engine, a.decided), Logger: o.log.With("from", "dns")}
	if _, err := a.names.Listen(ctx); err != nil {
		return nil, err
	}
	if !o.dns.off() {
		if a.resolver, err = newResolver(ctx, &o.dns, a.namesPath(), a.engine, o.node, a.decided, o.log); err != nil {
			return nil, err
		}
	}
	a.asked, err = o.admin.listen(ctx, a, o.log)
	return a, err
}

func (a *agent) namesPath() string { return filepath.Join(a.runDir, "names") }

// follow makes what keeps the snapshot current, for the module, DNS and explain.
func (a *agent) follow() (err error) {
	dir := filepath.Join(a.state, "feeds")
	a.snapshot = filepath.Join(dir, replica.FileName)
	if a.feedsURL == "" {
		return nil
	}
	if a.module == "" {
		return fmt.Errorf("there is no module (%s) to ask the feeds: build it with `make build`, or name it with --module", moduleFile)
	}
	a.follower, err = followFeeds(a.feedsURL, dir, a.tls, a.tokenFile, a.engine, a.log.With("from", "feeds"))
	return err
}

func (a *agent) supervise(path string) error {
	control, adm := filepath.Join(a.runDir, "xds.sock"), filepath.Join(a.runDir, "envoy.sock")
	bootstrap, err := xds.Bootstrap(xds.BootstrapConfig{Node: a.node, ControlSocket: control, AdminSocket: adm})
	if err != nil {
		return err
	}
	a.envoyUp, err = envoy.NewSupervisor(envoy.Config{
		Path: path, Bootstrap: bootstrap, RunDir: a.runDir, AdminSocket: adm, Concurrency: a.concurrency,
		Env:    append(moduleEnvironment(a.module, a.runDir, a.snapshot, a.namesPath()), xds.Environment...),
		Logger: a.log.With("from", "envoy"),
	})
	return err
}

// run serves until the context ends, and ends in the order in which requests flow: Envoy
// drains while what it asks is still there.
func (a *agent) run(ctx context.Context) error {
	front := []task{a.envoyUp.Run}
	if a.follower != nil {
		front = append(front, a.follower.Run)
	}
	behind := []task{
		a.decisions.Run, a.lately.run, a.relay.Run, a.names.Run,
		func(ctx context.Context) error { return admin.Serve(ctx, adminSocket(a.runDir), a) }, a.asked.Serve,
		func(ctx context.Context) error { return serveHTTP(ctx, a.ready, a.healthPages()) },
		func(ctx context.Context) error { return serveHTTP(ctx, a.metrics, a.metricsPage()) },
	}
	if a.resolver != nil {
		behind = append(behind, a.resolver.run)
	}
	a.log.Info("starting", "node", a.node, "control-plane", a.controlPlane)
	return runInOrder(ctx, front, behind)
}

func (a *agent) decided(d decisions.Record) {
	if d.Verdict == policy.Denied {
		a.denied.Add(1)
	}
	a.recent.add(d)
	a.lately.add(&d)
	a.decisions.Add(d)
}

// Current implements admin.Source: the model is the control plane's.
func (a *agent) Current() (*policy.Model, *api.Set) { return nil, nil }

// Feeds implements admin.Source.
func (a *agent) Feeds() *filter.Engine { return a.engine }

// agentStatus is what is known of a sidecar.
type agentStatus struct {
	Node     string         `json:"node"`
	Policies relay.Status   `json:"policies"`
	Feeds    *replica.State `json:"feeds,omitempty"`
	// FeedsInForce is the snapshot that Envoy decides by.
	FeedsInForce filter.InForce `json:"feedsInForce,omitzero"`
	PID          int            `json:"pid"`
	Restarts     int            `json:"restarts"`
	Denied       int64          `json:"denied"`
}

// Status implements admin.Source.
func (a *agent) Status() any {
	up := a.envoyUp.State()
	st := agentStatus{Node: a.node, Policies: a.relay.Status(), PID: up.PID, Restarts: up.Restarts, Denied: a.denied.Load()}
	if a.follower != nil {
		feeds := a.follower.Status()
		st.Feeds = &feeds
		in, err := moduleInForce(a.snapshot, nil, up.PID)
		if st.FeedsInForce = *in; err != nil {
			st.FeedsInForce.Error = err.Error()
		}
	}
	return st
}

// Flows implements admin.Source.
func (a *agent) Flows() *flows.Store { return a.lately.flows }

// History implements admin.HasHistory.
func (a *agent) History() admin.FlowHistory { return a.lately.kept() }

// Anomalies implements admin.Source.
func (a *agent) Anomalies() *anomaly.Detector { return a.lately.anomalies }

// EnvoyConfig implements admin.HasEnvoy.
func (a *agent) EnvoyConfig(ctx context.Context) ([]byte, error) {
	return a.envoyAdm.Get(ctx, "/config_dump")
}

// HasModel says to the admin endpoint that policies are the control plane's to explain.
func (a *agent) HasModel() bool { return false }

// Metrics implements admin.HasMetrics.
func (a *agent) Metrics() http.Handler { return a.stats }

// Decisions implements admin.Source.
func (a *agent) Decisions(n int) any { return a.recent.latest(n) }

// healthPages say whether the workload is shielded.
func (a *agent) healthPages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz/live", health.Live())
	mux.Handle("GET /healthz/ready", health.Ready(
		health.Check{Name: "envoy", Holds: func() error {
			if a.envoyUp.State().PID == 0 {
				return errors.New("it is not running")
			}
			return nil
		}},
		health.Check{Name: "policies", Holds: func() error {
			st := a.relay.Status()
			switch {
			case st.Ready:
				return nil
			case st.NACK != nil:
				return fmt.Errorf("refused by Envoy: %s", oneLine(st.NACK.Message))
			case st.LastError != "":
				return fmt.Errorf("%s; the control plane: %s", st.Lacking, oneLine(st.LastError))
			}
			return errors.New(st.Lacking)
		}},
		health.Check{Name: "feeds", Holds: a.feedsHold},
	))
	return mux
}

// feedsHold says whether Envoy decides by the feeds: by the newest snapshot, or by the last
// good. Without feeds in the snapshot it need not.
func (a *agent) feedsHold() error {
	if a.follower == nil {
		return nil
	}
	s := a.engine.Snapshot()
	if s == nil {
		why := a.follower.Status().Error
		if why == "" {
			why = "the control plane has not been asked yet"
		}
		return fmt.Errorf("there is no snapshot: %s", oneLine(why))
	}
	if len(s.Feeds()) == 0 {
		return nil
	}
	if in, err := moduleInForce(a.snapshot, nil, a.envoyUp.State().PID); in.Digest == "" {
		return err
	}
	return nil
}

// collect makes the page of metrics of this process and of Envoy.
func (a *agent) collect() {
	registry, failed := a.register()
	a.stats = &health.Metrics{
		Own: registry, Failed: failed, Logger: a.log,
		Envoy: func(ctx context.Context) (io.ReadCloser, error) {
			b, err := a.envoyAdm.Get(ctx, "/stats/prometheus?usedonly")
			return io.NopCloser(bytes.NewReader(b)), err
		},
	}
}

// metricsPage has the metrics, and the probes of the application.
func (a *agent) metricsPage() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", a.stats)
	if a.probes != nil {
		mux.Handle("GET "+appprobe.Prefix, a.probes)
	}
	return mux
}

// What the injector says to the agent by the environment.
const (
	probesEnv = "PAVISE_PROBES" // what the kubelet's probes were, see package probe
	podIPEnv  = "PAVISE_POD_IP"
)

// probesOf answers the kubelet's probes for the application; nil where there are none.
func probesOf(text, podIP string, log *slog.Logger) (http.Handler, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // no handler is what is wanted
	}
	set, err := appprobe.Parse([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", probesEnv, err)
	}
	ip, err := netip.ParseAddr(podIP)
	if err != nil {
		return nil, fmt.Errorf("%s=%q is not the address of the pod, which its probes go to", podIPEnv, podIP)
	}
	return appprobe.Handler(set, appprobe.Config{Target: ip, Own: sidecarPorts, Logger: log.With("from", "probes")})
}

// sidecarPorts are those of the agent and its Envoy.
var sidecarPorts = []uint16{15000, 15001, 15006, 15020, 15021, 15053}

// serveHTTP answers at an address until the context ends; "none" is no address.
func serveHTTP(ctx context.Context, address string, h http.Handler) error {
	if address == "none" || address == "" {
		<-ctx.Done()
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
