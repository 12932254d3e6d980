package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/internal/envoy"
	"pavise.dev/pavise/internal/watch"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/dns"
	"pavise.dev/pavise/xds"
)

// node is the name of the one Envoy of standalone mode.
const node = "standalone"

type standaloneOptions struct {
	config, envoy, runDir string
	state                 string // directory of feeds
	concurrency           int
	envoyLog              string // warning when empty
	log                   *slog.Logger
	decided               func(xds.Decision)
}

// standalone is a control plane and its Envoy in one process.
type standalone struct {
	standaloneOptions
	loader api.Loader
	names  *dns.Server
	// resolver is where names listens.
	resolver netip.AddrPort
	server   *xds.Server
	envoyUp  *envoy.Supervisor
	feeds    *feedKeeper
	recent   ring
	denied   atomic.Int64

	mu       sync.Mutex
	current  *compiled // in use
	problems []api.Problem
	broken   bool // the folder has errors, and current is older than it
	loadedAt time.Time
}

// newStandalone checks everything that can be checked before anything is started.
func newStandalone(ctx context.Context, o standaloneOptions) (*standalone, error) {
	path, err := envoy.Find(o.envoy)
	if err != nil {
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
		standaloneOptions: o, names: &dns.Server{Logger: o.log.With("from", "dns")},
		feeds: newFeedKeeper(o.state, o.log.With("from", "feeds")),
	}
	if s.resolver, err = s.names.Listen(ctx); err != nil {
		return nil, failed(err)
	}
	if !s.reload() {
		return nil, &exitError{exitProblem, fmt.Errorf("%s has errors and nothing is in force; `pavise check %s` lists them", o.config, o.config)}
	}
	if err := s.feeds.set(s.current); err != nil {
		return nil, failed(err)
	}
	if err := s.prepare(path); err != nil {
		s.feeds.close()
		return nil, failed(err)
	}
	o.log.Info("starting", "config", o.config, "envoy", path, "version", version, "workloads", len(s.current.model.Workloads))
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
	s.envoyUp, err = envoy.NewSupervisor(envoy.Config{
		Path: path, Bootstrap: bootstrap, RunDir: o.runDir, AdminSocket: adm,
		Concurrency: o.concurrency, Env: xds.Environment, LogLevel: o.envoyLog, Logger: o.log.With("from", "envoy"),
	})
	return err
}

// run serves until the context ends, and ends in the order in which requests flow:
// Envoy drains while its control plane is still there.
func (s *standalone) run(ctx context.Context) error {
	defer s.feeds.close()
	if err := s.server.Set(ctx, node, s.current.resources); err != nil {
		return err
	}
	after, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	h, hctx := errgroup.WithContext(after)
	h.Go(func() error { return s.server.Run(hctx) })
	h.Go(func() error { return s.names.Run(hctx) })
	h.Go(func() error { return admin.Serve(hctx, adminSocket(s.runDir), s) })
	g.Go(func() error { return s.envoyUp.Run(gctx) })
	g.Go(func() error { return watch.Folder(gctx, s.config, s.log, func() { s.reloadAndSet(gctx) }) })
	g.Go(func() error { return s.feeds.run(gctx) })
	g.Go(func() error { s.announce(gctx); return nil })
	g.Go(func() error {
		select {
		case <-hctx.Done():
			return context.Cause(hctx)
		case <-gctx.Done():
			return nil
		}
	})
	err := g.Wait()
	cancel()
	if herr := h.Wait(); err == nil {
		err = herr
	}
	return err
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

func short(digest string) string { return digest[:min(len(digest), 12)] }

// reload reads the folder. With errors it keeps what is in use and returns false.
func (s *standalone) reload() bool {
	s.mu.Lock()
	last := s.current
	s.mu.Unlock()
	c := compileFolder(&s.loader, s.config, xds.Options{Resolver: s.resolver}, last)
	s.mu.Lock()
	defer s.mu.Unlock()
	same := s.current != nil && c.model != nil && c.model.Digest == s.current.model.Digest && !s.broken
	if !same {
		for _, p := range c.problems {
			level := slog.LevelWarn
			if p.Severity == api.Error {
				level = slog.LevelError
			}
			s.log.Log(context.Background(), level, p.Message, "code", p.Code, "file", p.File, "line", p.Line, "object", p.Object, "field", p.Field, "fix", p.Fix)
		}
	}
	s.problems, s.broken = c.problems, !c.usable()
	if s.broken {
		if s.current != nil {
			s.log.Error("the folder has errors; the last good policies stay in force", "config", s.config, "digest", short(s.current.model.Digest), "loaded", s.loadedAt.Format(time.RFC3339))
		}
		return false
	}
	if !same {
		s.loadedAt = time.Now()
	}
	s.current = c
	return true
}

func (s *standalone) reloadAndSet(ctx context.Context) {
	before, _ := s.Current()
	start := time.Now()
	if !s.reload() {
		return
	}
	s.mu.Lock()
	c := s.current
	s.mu.Unlock()
	if err := s.feeds.set(c); err != nil {
		s.log.Error("the feeds of the folder could not be taken; those of before stay", "error", err)
	}
	if before != nil && c.model.Digest == before.Digest {
		return
	}
	if err := s.server.Set(ctx, node, c.resources); err != nil && ctx.Err() == nil {
		s.log.Error("the new policies could not be offered to Envoy", "error", err)
		return
	}
	s.log.Info("reloaded", "digest", short(c.model.Digest), "took", time.Since(start).Round(time.Millisecond))
}

func (s *standalone) decision(d xds.Decision) {
	if d.Verdict == policy.Denied {
		s.denied.Add(1)
	}
	s.recent.add(d)
	if s.decided != nil {
		s.decided(d)
	}
}

// Current implements admin.Source.
func (s *standalone) Current() (*policy.Model, *api.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil, nil
	}
	return s.current.model, s.current.set
}

// standaloneStatus is what status shows.
type standaloneStatus struct {
	Config   string        `json:"config"`
	LoadedAt time.Time     `json:"loadedAt"`
	Broken   bool          `json:"broken"`
	Problems []api.Problem `json:"problems,omitempty"`
	Digest   string        `json:"digest"`
	InForce  bool          `json:"inForce"`
	Envoy    xds.Status    `json:"envoy"`
	PID      int           `json:"pid"`
	Restarts int           `json:"restarts"`
	LastExit string        `json:"lastExit,omitempty"`
	Denied   int64         `json:"denied"`
	Dropped  int64         `json:"dropped"`
	// Feeds, and what keeps them out of force.
	Feeds       []feeds.Status `json:"feeds,omitempty"`
	FeedTrouble string         `json:"feedTrouble,omitempty"`
}

// Status implements admin.Source.
func (s *standalone) Status() any {
	up, st := s.envoyUp.State(), s.server.Status(node)
	s.mu.Lock()
	defer s.mu.Unlock()
	out := standaloneStatus{
		Config: s.config, LoadedAt: s.loadedAt, Broken: s.broken, Problems: s.problems,
		Digest: s.current.model.Digest, InForce: st.InForce() && st.Connected, Envoy: st,
		PID: up.PID, Restarts: up.Restarts, Denied: s.denied.Load(), Dropped: s.recent.dropped(),
	}
	out.Feeds, out.FeedTrouble = s.feeds.status()
	if up.LastExit != nil {
		out.LastExit = up.LastExit.Error()
	}
	return out
}

// Decisions implements admin.Source.
func (s *standalone) Decisions(n int) any { return s.recent.latest(n) }
