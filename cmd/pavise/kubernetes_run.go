//go:build !sidecar

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/page"
	"pavise.dev/pavise/injector"
	"pavise.dev/pavise/injector/admission"
	"pavise.dev/pavise/kube/identity"
	kubestatus "pavise.dev/pavise/kube/status"
	"pavise.dev/pavise/kube/validate"
)

// run serves until the context ends. Sidecars are served once the inventory is complete: one
// that is given less than there is might allow what it should not.
func (c *clusterPlane) run(ctx context.Context) error {
	defer c.feeds.close()
	defer c.served.close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.cache.Start(ctx) })
	g.Go(func() error { return c.source.Run(ctx) })
	g.Go(func() error { return serveHTTP(ctx, c.listenMetrics, c.pages()) })
	g.Go(func() error { return admin.Serve(ctx, adminSocket(c.runDir), c) })
	g.Go(func() error {
		return admin.ServeTCP(ctx, c.listenAdmin, c, admin.Options{Pages: c.adminPages(), Log: c.log.With("from", "admin")})
	})
	g.Go(func() error { return c.elect(ctx, "pavise-leader"+revisionSuffix(c.revision), c.leads) })
	g.Go(func() error { return c.elect(ctx, "pavise-status", c.writes) })
	g.Go(func() error { return c.keepCertificates(ctx) })
	g.Go(func() error { return c.lookAround(ctx) })
	g.Go(func() error { return c.feeds.run(ctx) })
	g.Go(func() error { return c.lately.run(ctx) })
	g.Go(func() error { return c.status.Run(ctx) })
	g.Go(func() error { return runTracing(ctx, c.tracer) })
	// Pods are admitted before the inventory is complete: that takes their namespace only.
	g.Go(func() error { return c.serveWebhooks(ctx) })
	g.Go(func() error {
		if err := await(ctx, c.complete); err != nil {
			return nil //nolint:nilerr // the context ended
		}
		if c.feeds.get() == nil {
			if err := c.served.publishEmpty(); err != nil {
				return err
			}
		}
		c.log.Info("serving", "namespace", c.namespace, "revision", c.revision, "agents", c.listen, "feeds", c.listenFeeds)
		g.Go(func() error { return c.served.publishAll(ctx) })
		g.Go(func() error { return c.served.serve(ctx, c.listenFeeds, c.tlsConfig(), c.onlySidecars) })
		return c.serveAgents(ctx)
	})
	return g.Wait()
}

// adminPages are for who may forward a port to the pod.
func (c *clusterPlane) adminPages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", page.Handler(c))
	mux.Handle("/debug/sidecars", kubestatus.SidecarsHandler(c.server, c.fleet, kubestatus.Identity{Replica: c.identity, Revision: c.revision}, c.heardOf))
	return mux
}

var _ page.FeedHistorian = (*clusterPlane)(nil)

// Sidecars implements admin.HasSidecars.
func (c *clusterPlane) Sidecars() (list []admin.Sidecar) {
	for node, st := range c.server.Nodes() {
		s := sidecarOf(node, c.fleet.WorkloadOf(node), &st)
		s.Snapshot, s.SnapshotTime = c.heardOf(node)
		list = append(list, s)
	}
	return list
}

// complete says what is missing before sidecars can be served.
func (c *clusterPlane) complete() error {
	if !c.source.Stats().Synced {
		return errors.New("the inventory of the cluster is not complete yet")
	}
	if c.given == nil {
		if _, err := c.certs.GetCertificate(nil); err != nil {
			return err
		}
	}
	return nil
}

func (c *clusterPlane) serveAgents(ctx context.Context) error {
	if c.listen == "none" {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.listen)
	if err != nil {
		return err
	}
	return c.server.RunTLS(ctx, l, c.tlsConfig())
}

// token is the node that a token is for, with errors that clients of gRPC understand.
func (c *clusterPlane) token(ctx context.Context, token string) (node string, expires time.Time, err error) {
	node, expires, err = c.tokens.Node(ctx, token)
	if errors.Is(err, identity.ErrUnavailable) {
		err = grpcstatus.Error(codes.Unavailable, err.Error())
	}
	return node, expires, err
}

// onlySidecars lets those through who prove by a token which sidecar they are, and notes what
// they say to have.
func (c *clusterPlane) onlySidecars(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "send the token of a sidecar", http.StatusUnauthorized)
			return
		}
		node, _, err := c.tokens.Node(r.Context(), token)
		switch {
		case errors.Is(err, identity.ErrRefused):
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			http.Error(w, "the token is refused", http.StatusUnauthorized)
			return
		case err != nil:
			w.Header().Set("Retry-After", "2")
			http.Error(w, "the token cannot be reviewed at present", http.StatusServiceUnavailable)
			return
		}
		c.heard(node, r.Header.Get("If-None-Match"))
		next.ServeHTTP(w, r)
	})
}

// heard notes which snapshot a sidecar says to have.
func (c *clusterPlane) heard(node, tag string) {
	digest := strings.Trim(strings.TrimPrefix(tag, "W/"), `"`)
	if len(digest) != 64 || strings.Trim(digest, "0123456789abcdef") != "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.following[node] = followed{digest, time.Now()}
}

func (c *clusterPlane) heardOf(node string) (digest string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.following[node]
	return f.snapshot, f.at
}

// serveWebhooks answers the API server.
func (c *clusterPlane) serveWebhooks(ctx context.Context) error {
	if c.listenWebhook == "none" {
		return nil
	}
	handler, err := admission.Handler(admission.Config{
		Injector: func() injector.Config { return *c.injector.Load() }, Namespace: c.namespaceOf, Native: c.native.Load,
		Validator: validate.New(validate.Config{Log: c.log.With("from", "validator")}),
		Stats:     &c.admitted, Logger: c.log.With("from", "injector"),
	})
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.listenWebhook)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		IdleTimeout: 90 * time.Second, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() {
		// The API server has no other connection at once: what it asked is answered.
		shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(shutdown)
	})
	defer stop()
	if err := srv.Serve(tls.NewListener(l, c.tlsConfig())); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// elect takes part in the election of a replica, until the context ends. elected is told when
// this one is it, and when it is no more.
func (c *clusterPlane) elect(ctx context.Context, lease string, elected func(bool)) error {
	lock := &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: lease},
		Client:    c.clients.CoordinationV1(), LockConfig: resourcelock.ResourceLockConfig{Identity: c.identity},
		Labels: map[string]string{"pavise.dev/control-plane": c.revision},
	}
	for ctx.Err() == nil {
		e, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
			ReleaseOnCancel: true, Name: lease,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { elected(true) },
				OnStoppedLeading: func() { elected(false) },
			},
		})
		if err != nil {
			return fmt.Errorf("leader election: %w", err)
		}
		e.Run(ctx)
	}
	return nil
}

// leads is for the replica that makes the certificates of a revision and hands them out.
func (c *clusterPlane) leads(is bool) {
	if c.leading.Swap(is) != is {
		c.log.Info("who makes certificates", "this", is)
	}
	c.wake()
}

// writes is for the one replica of all revisions that writes statuses: each counts for all.
func (c *clusterPlane) writes(is bool) {
	if c.writing.Swap(is) != is {
		c.log.Info("who writes statuses", "this", is)
	}
	c.status.Wake()
}

func (c *clusterPlane) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// keepCertificates has them renewed and handed out: from time to time, and when a namespace may
// have come whose pods wait for them.
func (c *clusterPlane) keepCertificates(ctx context.Context) error {
	if !c.cache.WaitForCacheSync(ctx) {
		return nil
	}
	handedOut := ""
	for first := true; ; first = false {
		now := strings.Join(c.labelled(), " ") + fmt.Sprint(c.leading.Load(), c.certs.Problem() != "")
		if now != handedOut || first {
			if err := c.certs.Sync(ctx); err != nil && ctx.Err() == nil {
				c.log.Error("certificates", "error", err)
			}
			handedOut = now
		}
		pause := 30 * time.Second
		if c.certs.Problem() != "" {
			pause = 2 * time.Second // such as webhooks that are registered a moment later
		}
		tick := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			handedOut = ""
		case <-c.changed:
		}
		tick.Stop()
	}
}

// lookAround takes over what changes rarely: whether all nodes have native sidecars, as a
// cluster is upgraded while this runs, and what the injector gives, as the kubelet writes the
// file anew.
func (c *clusterPlane) lookAround(ctx context.Context) error {
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		if err := c.readInjector(); err != nil {
			c.log.Error("what pods are given was not read again; what was read before stands", "error", err)
		}
		v, err := c.clients.Discovery().ServerVersion()
		if err == nil {
			c.native.Store(injector.HasNative(v.GitVersion))
		} else if ctx.Err() == nil {
			c.log.Warn("the version of the cluster is not known; what was known of it stands", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
