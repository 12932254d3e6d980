package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/envoy"
	"pavise.dev/pavise/internal/watch"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/dns"
	"pavise.dev/pavise/proxy/filter"
	"pavise.dev/pavise/xds"
)

// node is the name of the one Envoy of standalone mode.
const node = "standalone"

type standaloneOptions struct {
	config, envoy, runDir string
	module                string // path of the module; the one beside the binary when empty
	state                 string // directory of feeds
	concurrency           int
	dns                   dnsOptions
	envoyLog              string // warning when empty
	log                   *slog.Logger
	decided               func(decisions.Record)
	decisions             *decisions.Log // may be nil
	hideReasons           bool
	admin                 adminFlags
	keep                  latelyFlags
}

// standalone is a control plane and its Envoy in one process.
type standalone struct {
	standaloneOptions
	policies *folder
	names    *dns.Server
	resolver *resolver // for transparent workloads; nil where there are none at the start
	server   *xds.Server
	envoyUp  *envoy.Supervisor
	feeds    *feedKeeper
	feedPages
	recent    ring
	lately    *lately
	directory directory // who is who
	denied    atomic.Int64
	asked     *admin.Server // at an address
	stats     http.Handler
}

// newStandalone checks everything that can be checked before anything is started.
func newStandalone(ctx context.Context, o standaloneOptions) (*standalone, error) {
	path, err := envoy.Find(o.envoy)
	if err != nil {
		return nil, failed(err)
	}
	if o.module, err = findModule(o.module); err != nil {
		return nil, failed(err)
	}
	version, err := envoy.Version(ctx, path)
	if err != nil {
		return nil, failed(err)
	}
	if err := privateDir("run-dir", o.runDir); err != nil {
		return nil, failed(err)
	}
	s := &standalone{
		standaloneOptions: o, feeds: newFeedKeeper(o.state, o.log.With("from", "feeds")),
	}
	s.feedPages = feedPages{s.feeds}
	s.stats = scraped(standaloneMetrics{s})
	if s.lately, err = s.keep.open(s.state, latelyBytes, &s.directory, s.log.With("from", "anomalies")); err != nil {
		return nil, failed(err)
	}
	s.names = &dns.Server{Lookup: checkedLookup(s.feeds.engine, s.decision), Logger: o.log.With("from", "dns")}
	resolver, err := s.names.Listen(ctx)
	if err != nil {
		return nil, failed(err)
	}
	s.policies = &folder{dir: o.config, log: o.log, target: target{Options: xds.Options{Resolver: resolver, Module: o.module != "", HideReasons: o.hideReasons}}}
	if err := s.policies.load(); err != nil {
		return nil, err
	}
	s.directory.set(s.policies.inUse().model, s.policies.inUse().set)
	s.lately.set(s.policies.inUse().set.Workloads)
	if err := s.feeds.set(s.policies.inUse().set, s.policies.inUse().model); err != nil {
		return nil, failed(err)
	}
	if err := errors.Join(s.prepare(path), s.prepareResolver(ctx)); err != nil {
		s.feeds.close()
		return nil, failed(err)
	}
	if s.asked, err = o.admin.listen(ctx, s, o.log); err != nil {
		s.feeds.close()
		return nil, failed(err)
	}
	o.log.Info("starting", "config", o.config, "envoy", path, "version", version, "workloads", len(s.policies.inUse().model.Workloads))
	return s, nil
}

// prepare makes the server and the supervisor of an Envoy, and starts neither.
func (s *standalone) prepare(path string) error {
	o := &s.standaloneOptions
	control, adm := filepath.Join(o.runDir, "xds.sock"), filepath.Join(o.runDir, "envoy.sock")
	bootstrap, err := xds.Bootstrap(xds.BootstrapConfig{Node: node, ControlSocket: control, AdminSocket: adm})
	if err != nil {
		return err
	}
	s.server = xds.NewServer(xds.ServerConfig{Socket: control, Decisions: s.decision, Logger: o.log})
	env := append(moduleEnvironment(o.module, o.runDir, feeds.SnapshotPath(o.state), s.namesPath()), xds.Environment...)
	s.envoyUp, err = envoy.NewSupervisor(envoy.Config{
		Path: path, Bootstrap: bootstrap, RunDir: o.runDir, AdminSocket: adm,
		Concurrency: o.concurrency, Env: env, LogLevel: o.envoyLog, Logger: o.log.With("from", "envoy"),
	})
	return err
}

// namesPath is where the resolver keeps the names of addresses.
func (s *standalone) namesPath() string { return filepath.Join(s.runDir, "names") }

// prepareResolver makes the resolver of the transparent workloads, if there are any.
func (s *standalone) prepareResolver(ctx context.Context) (err error) {
	w, l := transparentWorkload(s.policies.inUse().model)
	if l == nil || s.dns.off() {
		return nil
	}
	s.resolver, err = newResolver(ctx, &s.dns, s.namesPath(), s.feeds.engine, w.Key(), s.decision, s.log)
	return err
}

// transparentWorkload is the first that has redirected connections; nil if none has.
func transparentWorkload(m *policy.Model) (*policy.Workload, *policy.Listener) {
	for _, w := range m.Workloads {
		for _, l := range w.Listeners {
			if l.Traffic == policy.Transparent {
				return w, l
			}
		}
	}
	return nil, nil
}

// run serves until the context ends, and ends in the order in which requests flow:
// Envoy drains while its control plane is still there.
func (s *standalone) run(ctx context.Context) error {
	defer s.feeds.close()
	if err := s.server.Set(ctx, node, s.policies.inUse().resources[node]); err != nil {
		return err
	}
	front := []task{
		s.envoyUp.Run, s.feeds.run,
		func(ctx context.Context) error {
			return watch.Folder(ctx, s.config, s.log, func() { s.reloadAndSet(ctx) })
		},
		func(ctx context.Context) error { s.announce(ctx); return nil },
	}
	behind := []task{
		s.server.Run, s.names.Run, s.lately.run,
		func(ctx context.Context) error { return admin.Serve(ctx, adminSocket(s.runDir), s) }, s.asked.Serve,
	}
	if s.resolver != nil {
		behind = append(behind, s.resolver.run)
	}
	if s.decisions != nil {
		behind = append(behind, s.decisions.Run)
	}
	return runInOrder(ctx, front, behind)
}

// announce logs when what was set is in force.
func (s *standalone) announce(ctx context.Context) {
	said := ""
	for {
		changed := s.server.Changed()
		if st := s.server.Status(node); st.InForce() && st.Wanted != said {
			said = st.Wanted
			s.log.Info("in force", "digest", short(said))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (s *standalone) reloadAndSet(ctx context.Context) {
	before, start := s.policies.inUse(), time.Now()
	if !s.policies.reload() {
		return
	}
	c := s.policies.inUse()
	s.directory.set(c.model, c.set)
	s.lately.set(c.set.Workloads)
	if err := s.feeds.set(c.set, c.model); err != nil {
		s.log.Error("the feeds of the folder could not be taken; those of before stay", "error", err)
	}
	if c.model.Digest == before.model.Digest && c.target == before.target {
		return
	}
	if err := s.server.Set(ctx, node, c.resources[node]); err != nil && ctx.Err() == nil {
		s.log.Error("the new policies could not be offered to Envoy", "error", err)
		return
	}
	s.log.Info("reloaded", "digest", short(c.model.Digest), "took", time.Since(start).Round(time.Millisecond))
}

func (s *standalone) decision(d decisions.Record) {
	if d.Verdict == policy.Denied {
		s.denied.Add(1)
	}
	s.recent.add(d)
	s.lately.add(&d)
	if s.decided != nil {
		s.decided(d)
	}
	if s.decisions != nil {
		s.decisions.Add(d)
	}
}

// Current implements admin.Source.
func (s *standalone) Current() (*policy.Model, *api.Set) { return s.policies.Current() }

// Feeds implements admin.Source.
func (s *standalone) Feeds() *filter.Engine {
	if s.feeds.get() == nil {
		return nil
	}
	return s.feeds.engine
}

// standaloneStatus is what status shows.
type standaloneStatus struct {
	folderState
	InForce  bool       `json:"inForce"`
	Envoy    xds.Status `json:"envoy"`
	PID      int        `json:"pid"`
	Restarts int        `json:"restarts"`
	LastExit string     `json:"lastExit,omitempty"`
	Denied   int64      `json:"denied"`
	Dropped  int64      `json:"dropped"`
	// Feeds, and what keeps them out of force.
	Feeds       []feeds.Status `json:"feeds,omitempty"`
	FeedTrouble string         `json:"feedTrouble,omitempty"`
	// FeedsInForce is the snapshot that Envoy decides by.
	FeedsInForce *filter.InForce `json:"feedsInForce,omitempty"`
}

// feedsInForce is what Envoy's module says, and whether that is what it should. Both are
// nil where Envoy is asked for no feeds.
func (s *standalone) feedsInForce() (*filter.InForce, error) {
	m := s.feeds.get()
	if m == nil || !s.policies.inUse().target.Feeds {
		return nil, nil
	}
	return moduleInForce(feeds.SnapshotPath(s.state), m.Snapshot(), s.envoyUp.State().PID)
}

// moduleInForce reads what the module in an Envoy says. The error is why it does not decide
// by a snapshot.
func moduleInForce(path string, want *snapshot.Snapshot, pid int) (*filter.InForce, error) {
	in, err := filter.ReadInForce(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && in.PID != pid:
		return &filter.InForce{}, errors.New("nothing is known yet of what Envoy decides by")
	case err != nil:
		return &filter.InForce{}, err
	case in.Error != "":
		return &in, errors.New(in.Error)
	case want != nil && in.Digest != want.Digest().String():
		return &in, errors.New("the newest snapshot is not loaded in Envoy yet")
	}
	return &in, nil
}

// Status implements admin.Source.
func (s *standalone) Status() any {
	up, st := s.envoyUp.State(), s.server.Status(node)
	out := standaloneStatus{
		folderState: s.policies.state(), InForce: st.InForce() && st.Connected, Envoy: st,
		PID: up.PID, Restarts: up.Restarts, Denied: s.denied.Load(), Dropped: s.recent.dropped(),
	}
	out.Feeds, out.FeedTrouble = s.feeds.status()
	in, err := s.feedsInForce()
	if out.FeedsInForce = in; err != nil && in.Error == "" {
		in.Error = err.Error()
	}
	if up.LastExit != nil {
		out.LastExit = up.LastExit.Error()
	}
	return out
}

// Flows implements admin.Source.
func (s *standalone) Flows() *flows.Store { return s.lately.flows }

// History implements admin.HasHistory.
func (s *standalone) History() admin.FlowHistory { return s.lately.kept() }

// Anomalies implements admin.Source.
func (s *standalone) Anomalies() *anomaly.Detector { return s.lately.anomalies }

// Sidecars implements admin.HasSidecars: it is the one Envoy, which several workloads may share.
func (s *standalone) Sidecars() (list []admin.Sidecar) {
	workload := ""
	if m := s.policies.inUse().model; len(m.Workloads) == 1 {
		workload = m.Workloads[0].Key()
	}
	for name, st := range s.server.Nodes() {
		one := sidecarOf(name, workload, &st)
		if in, err := s.feedsInForce(); err == nil && in != nil {
			one.Snapshot, one.SnapshotTime = in.Digest, in.Since
		}
		list = append(list, one)
	}
	return list
}

// Metrics implements admin.HasMetrics.
func (s *standalone) Metrics() http.Handler { return s.stats }

// EnvoyConfig implements admin.HasEnvoy.
func (s *standalone) EnvoyConfig(ctx context.Context) ([]byte, error) {
	return envoy.NewAdmin(filepath.Join(s.runDir, "envoy.sock")).Get(ctx, "/config_dump")
}

// Decisions implements admin.Source.
func (s *standalone) Decisions(n int) any { return s.recent.latest(n) }
