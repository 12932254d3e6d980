//go:build !sidecar

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/servertls"
	"pavise.dev/pavise/internal/tracing"
	"pavise.dev/pavise/internal/watch"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
	"pavise.dev/pavise/xds"
)

type controlPlaneOptions struct {
	config, runDir, state string
	listen, listenFeeds   string // none for none
	tls                   servertls.Files
	hideReasons           bool
	tracing               tracingFlags
	log                   *slog.Logger
}

// controlPlane serves the sidecars of other machines from a folder.
type controlPlane struct {
	controlPlaneOptions
	policies *folder
	server   *xds.Server
	tracer   *tracing.Tracer // nil for none
	stats    http.Handler
	feeds    *feedKeeper
	feedPages
	served   *feedServer
	tlsFiles *servertls.Certificates
	recent   ring
	lately   *lately
	denied   atomic.Int64
}

func controlPlaneCommand() *cobra.Command {
	var o controlPlaneOptions
	var k clusterOptions
	var onKubernetes bool
	var logLevel string
	cmd := &cobra.Command{
		Use:   "control-plane (--config DIR --tls-cert FILE --tls-key FILE --client-ca FILE | --kubernetes --injector-config FILE)",
		Short: "Serve policies and feeds to the agents of other machines",
		Long: `Control-plane compiles the folder and gives each workload's agent what is for that
workload: a client proves by its certificate which one it is, by the URI
pavise://node/NAMESPACE/NAME among its subject alternative names, and gets no other's.
Feeds are fetched and compiled here, and served as one snapshot, and as deltas.

With --kubernetes policies and feeds are objects of an API server and workloads its pods. A
client proves by a token for the audience pavise which pod it is. New pods of labelled
namespaces are given a sidecar. What became of policies and feeds is written into their
status, by the one replica that leads.

Exit codes: 0 stopped, 1 the folder has errors at the start, 2 usage, 3 a port, a
certificate, a folder or the cluster cannot be had.`,
		Example: `  pavise control-plane --config ./policies --tls-cert cp.pem --tls-key cp.key --client-ca ca.pem
  pavise control-plane --kubernetes --injector-config injector.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.log, err = logger(cmd.ErrOrStderr(), logLevel); err != nil {
				return err
			}
			if onKubernetes {
				if err := k.check(&o); err != nil {
					return &exitError{exitUsage, err}
				}
				c, err := newClusterPlane(cmd.Context(), o, k)
				if err != nil {
					return failed(err)
				}
				return failed(c.run(cmd.Context()))
			}
			if err := o.check(cmd); err != nil {
				return &exitError{exitUsage, err}
			}
			c, err := newControlPlane(o)
			if err != nil {
				return err
			}
			return failed(c.run(cmd.Context()))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.config, "config", "", "folder of policies and workloads")
	f.StringVar(&o.listen, "listen", "0.0.0.0:15012", "address for agents (xDS, over TLS); none for none")
	f.StringVar(&o.listenFeeds, "listen-feeds", "0.0.0.0:15013", "address for the feeds (HTTPS); none for none")
	f.StringVar(&o.tls.Certificate, "tls-cert", "", "file with the certificate of the control plane, PEM; read anew when it changes")
	f.StringVar(&o.tls.Key, "tls-key", "", "file with its key, PEM; likewise")
	f.StringVar(&o.tls.ClientCA, "client-ca", "", "file with the authorities of the agents' certificates, PEM; likewise")
	f.BoolVar(&onKubernetes, "kubernetes", false, "take policies, feeds and workloads from a cluster")
	k.register(f)
	hideReasonsFlag(f, &o.hideReasons)
	o.tracing.register(f)
	f.StringVar(&o.runDir, "run-dir", defaultRunDir(), "directory for sockets")
	stateFlag(cmd, &o.state)
	f.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// check says what is missing for a folder.
func (o *controlPlaneOptions) check(cmd *cobra.Command) error {
	for _, name := range []string{"config", "tls-cert", "tls-key", "client-ca"} {
		if !cmd.Flags().Changed(name) {
			return fmt.Errorf("--%s is missing; it is needed but with --kubernetes", name)
		}
	}
	return nil
}

func newControlPlane(o controlPlaneOptions) (*controlPlane, error) {
	for flag, dir := range map[string]string{"run-dir": o.runDir, "state": o.state} {
		if err := privateDir(flag, dir); err != nil {
			return nil, failed(err)
		}
	}
	c := &controlPlane{
		controlPlaneOptions: o, feeds: newFeedKeeper(o.state, o.log.With("from", "feeds")),
		policies: &folder{dir: o.config, log: o.log, target: target{Options: xds.Options{Resolver: xds.DefaultResolver, Module: true, HideReasons: o.hideReasons}, each: true}},
	}
	c.feedPages, c.stats = feedPages{c.feeds}, scraped(folderPlaneMetrics{c})
	if err := c.policies.load(); err != nil {
		return nil, err
	}
	var err error
	if c.lately, err = newLately(c.state, latelyBytes, nil, anomaly.Config{}, c.log.With("from", "anomalies")); err != nil {
		return nil, failed(err)
	}
	if c.tlsFiles, err = servertls.New(o.tls, o.log, "h2", "http/1.1"); err != nil {
		return nil, failed(err)
	}
	if c.tracer, err = o.tracing.open(o.log); err != nil {
		return nil, err
	}
	if c.served, err = newFeedServer(c.feeds, o.state, o.log.With("from", "feeds")); err != nil {
		return nil, failed(err)
	}
	c.server = xds.NewServer(xds.ServerConfig{Socket: filepath.Join(o.runDir, "xds.sock"), Decisions: c.decision, Pushes: pushes(c.tracer), Logger: o.log})
	if err := c.feeds.set(c.policies.inUse().set, c.policies.inUse().model); err != nil {
		c.served.close()
		return nil, failed(err)
	}
	if c.feeds.get() == nil {
		err = c.served.publishEmpty()
	}
	return c, failed(err)
}

func (c *controlPlane) run(ctx context.Context) error {
	defer c.feeds.close()
	defer c.served.close()
	offered, end := c.tracer.Change(ctx, tracing.Text("digest", c.policies.inUse().model.Digest))
	err := c.offer(offered)
	end(err)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.serveAgents(gctx) })
	g.Go(func() error { return c.served.serve(gctx, c.listenFeeds, c.tlsFiles.Config(), nil) })
	g.Go(func() error { return c.server.Run(gctx) })
	g.Go(func() error { return runTracing(gctx, c.tracer) })
	g.Go(func() error { return admin.Serve(gctx, adminSocket(c.runDir), c) })
	g.Go(func() error { return watch.Folder(gctx, c.config, c.log, func() { c.reload(gctx) }) })
	g.Go(func() error { return c.feeds.run(gctx) })
	g.Go(func() error { return c.lately.run(gctx) })
	g.Go(func() error { return c.served.publishAll(gctx) })
	c.log.Info("serving", "config", c.config, "agents", c.listen, "feeds", c.listenFeeds, "workloads", len(c.policies.inUse().resources))
	return g.Wait()
}

func (c *controlPlane) serveAgents(ctx context.Context) error {
	if c.listen == "none" {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.listen)
	if err != nil {
		return err
	}
	return c.server.RunTLS(ctx, l, c.tlsFiles.Config())
}

// offer gives each agent its resources. A workload that is gone keeps what it had, as its
// traffic may go on.
func (c *controlPlane) offer(ctx context.Context) error {
	var errs []error
	for name, r := range c.policies.inUse().resources {
		if err := c.server.Set(ctx, name, r); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (c *controlPlane) reload(ctx context.Context) {
	before := c.policies.inUse()
	offered, end := c.tracer.Change(ctx)
	compiled := c.tracer.Stage(offered, "compile")
	ok := c.policies.reload()
	compiled()
	if !ok {
		end(errors.New("the folder has errors, the last good stays in force"))
		return
	}
	now := c.policies.inUse()
	if err := c.feeds.set(now.set, now.model); err != nil {
		c.log.Error("the feeds of the folder could not be taken; those of before stay", "error", err)
	}
	digest := tracing.Text("digest", now.model.Digest)
	if now.model.Digest == before.model.Digest && now.target == before.target {
		end(nil, digest)
		return
	}
	set := c.tracer.Stage(offered, "set")
	err := c.offer(offered)
	set()
	end(err, digest)
	if err != nil && ctx.Err() == nil {
		c.log.Error("the new policies could not be offered to every agent", "error", err)
		return
	}
	c.log.Info("reloaded", "digest", short(now.model.Digest))
}

func (c *controlPlane) decision(d decisions.Record) {
	if d.Verdict == policy.Denied {
		c.denied.Add(1)
	}
	c.recent.add(d)
	c.lately.add(&d)
}

// Current implements admin.Source.
func (c *controlPlane) Current() (*policy.Model, *api.Set) { return c.policies.Current() }

// Feeds implements admin.Source.
func (c *controlPlane) Feeds() *filter.Engine {
	if c.feeds.get() == nil {
		return nil
	}
	return c.feeds.engine
}

// Status implements admin.Source.
func (c *controlPlane) Status() any {
	out := controlPlaneStatus{folderState: c.policies.state(), Nodes: map[string]xds.Status{}}
	for name := range c.policies.inUse().resources {
		out.Nodes[name] = c.server.Status(name)
	}
	out.Feeds, out.FeedTrouble = c.feeds.status()
	return out
}

// Flows implements admin.Source.
func (c *controlPlane) Flows() *flows.Store { return c.lately.flows }

// Anomalies implements admin.Source.
func (c *controlPlane) Anomalies() *anomaly.Detector { return c.lately.anomalies }

// Metrics implements admin.HasMetrics.
func (c *controlPlane) Metrics() http.Handler { return c.stats }

// Sidecars implements admin.HasSidecars. An agent is called as its workload is.
func (c *controlPlane) Sidecars() (list []admin.Sidecar) {
	for node, st := range c.server.Nodes() {
		list = append(list, sidecarOf(node, node, &st))
	}
	return list
}

// Decisions implements admin.Source.
func (c *controlPlane) Decisions(n int) any { return c.recent.latest(n) }
