//go:build !sidecar

package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/deploy/install"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/feeds/guard"
	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/injector"
	"pavise.dev/pavise/injector/admission"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/servertls"
	"pavise.dev/pavise/internal/tracing"
	"pavise.dev/pavise/kube/certs"
	"pavise.dev/pavise/kube/identity"
	"pavise.dev/pavise/kube/source"
	kubestatus "pavise.dev/pavise/kube/status"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
	"pavise.dev/pavise/xds"
	"pavise.dev/pavise/xds/fleet"
)

// clusterOptions are those of a control plane on Kubernetes.
type clusterOptions struct {
	kubeconfig, namespace, revision, clusterDomain string
	networkPolicies, clusterNetworkPolicies        bool
	injectorConfig, caBundle                       string
	listenWebhook, listenMetrics, listenAdmin      string // none for none
}

func (k *clusterOptions) register(f *pflag.FlagSet) {
	f.StringVar(&k.kubeconfig, "kubeconfig", "", "file that says where the cluster is; default the pod's own account, else as kubectl")
	f.StringVar(&k.namespace, "namespace", install.DefaultNamespace, "namespace of the control plane")
	f.StringVar(&k.revision, "revision", "default", "which of several installations this is")
	f.StringVar(&k.clusterDomain, "cluster-domain", "cluster.local", "domain of the cluster's Services")
	f.BoolVar(&k.networkPolicies, "network-policies", false, "take Kubernetes' NetworkPolicies too")
	f.BoolVar(&k.clusterNetworkPolicies, "cluster-network-policies", false, "take ClusterNetworkPolicies too, where there are any")
	f.StringVar(&k.injectorConfig, "injector-config", "", "file that says what pods are given")
	f.StringVar(&k.caBundle, "ca-bundle", "", "file with the authorities of --tls-cert, PEM, where Pavise does not make its own certificates")
	f.StringVar(&k.listenWebhook, "listen-webhook", "0.0.0.0:15017", "address for the API server (HTTPS); none for none")
	f.StringVar(&k.listenMetrics, "listen-metrics", "0.0.0.0:15014", "address for metrics, /healthz and /readyz; none for none")
	f.StringVar(&k.listenAdmin, "listen-admin", "127.0.0.1:15016", "loopback address for pavise status --kubernetes, which forwards a port to it; none for none")
}

// check says what cannot be together.
func (k *clusterOptions) check(o *controlPlaneOptions) error {
	switch {
	case o.config != "" || o.tls.ClientCA != "":
		return errors.New("--config and --client-ca are for a folder; leave them out with --kubernetes")
	case k.injectorConfig == "":
		return errors.New("--injector-config is missing")
	case (o.tls.Certificate == "") != (o.tls.Key == "") || (o.tls.Certificate == "") != (k.caBundle == ""):
		return errors.New("--tls-cert, --tls-key and --ca-bundle go together: all of them, or none")
	}
	if host, _, err := net.SplitHostPort(k.listenAdmin); k.listenAdmin != "none" && (err != nil || !net.ParseIP(host).IsLoopback()) {
		return fmt.Errorf("--listen-admin %q: it asks nobody who they are, so it has to be a loopback address", k.listenAdmin)
	}
	return nil
}

// revisionSuffix is behind the names of what belongs to a revision.
func revisionSuffix(revision string) string {
	if revision == "default" {
		return ""
	}
	return "-" + revision
}

// clusterPlane serves the sidecars of a cluster from its API server.
type clusterPlane struct {
	controlPlaneOptions
	clusterOptions
	identity string // of this replica: its pod

	clients  *kubernetes.Clientset
	cache    cache.Cache
	client   client.Client // writes, and reads from the API server
	fleet    *fleet.Fleet
	source   *source.Source
	server   *xds.Server
	tokens   *identity.Reviewer
	certs    *certs.Manager
	given    *servertls.Certificates // nil where Pavise makes its own
	injector atomic.Pointer[injector.Config]
	tracer   *tracing.Tracer // nil for none
	stats    http.Handler
	feeds    *feedKeeper
	feedPages
	served *feedServer
	status *kubestatus.Writer

	leading  atomic.Bool
	writing  atomic.Bool
	native   atomic.Bool
	changed  chan struct{} // a namespace may have been labelled
	admitted admission.Stats
	recent   ring
	lately   *lately
	denied   atomic.Int64

	mu        sync.Mutex
	taken     *api.Set      // of the last update
	report    *fleet.Report // likewise
	converted []api.Problem // with what was made of other kinds
	following map[string]followed
}

// followed is what a sidecar was heard to have of the feeds.
type followed struct {
	snapshot string
	at       time.Time
}

func newClusterPlane(ctx context.Context, o controlPlaneOptions, k clusterOptions) (*clusterPlane, error) {
	for flag, dir := range map[string]string{"run-dir": o.runDir, "state": o.state} {
		if err := privateDir(flag, dir); err != nil {
			return nil, err
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	c := &clusterPlane{
		controlPlaneOptions: o, clusterOptions: k, identity: cmp.Or(os.Getenv("POD_NAME"), host),
		changed: make(chan struct{}, 1), report: &fleet.Report{}, following: map[string]followed{},
		feeds: newFeedKeeper(o.state, o.log.With("from", "feeds")),
	}
	c.feedPages, c.stats = feedPages{c.feeds}, scraped(clusterMetrics{c})
	klog.SetSlogLogger(o.log.With("from", "kubernetes"))
	crlog.SetLogger(logr.FromSlogHandler(o.log.With("from", "kubernetes").Handler()))
	if c.lately, err = newLately(c.state, latelyBytes, nil, anomaly.Config{}, c.log.With("from", "anomalies")); err != nil {
		return nil, err
	}
	if err := c.readInjector(); err != nil {
		return nil, err
	}
	if err := c.connect(); err != nil {
		return nil, err
	}
	if err := c.certificates(ctx); err != nil {
		return nil, err
	}
	if err := c.watch(); err != nil {
		return nil, err
	}
	c.feeds.secrets = c.secret
	c.feeds.changed = func() { c.status.Wake() }
	if c.served, err = newFeedServer(c.feeds, o.state, o.log.With("from", "feeds")); err != nil {
		return nil, err
	}
	c.status, err = kubestatus.New(kubestatus.Config{
		Client: c.client, Identity: c.identity, Namespace: k.namespace, Revision: k.revision,
		Fleet: c.fleet, Server: c.server, Feeds: feedStatus{c.feeds}, Leading: c.writing.Load, Owner: c.owner(ctx), Logger: o.log.With("from", "status"),
	})
	return c, err
}

// owner is the pod that this runs in; nil outside of one.
func (c *clusterPlane) owner(ctx context.Context) *metav1.OwnerReference {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	p, err := c.clients.CoreV1().Pods(c.namespace).Get(ctx, c.identity, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return &metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID}
}

func (c *clusterPlane) readInjector() error {
	text, err := os.ReadFile(c.injectorConfig)
	if err != nil {
		return fmt.Errorf("--injector-config: %w", err)
	}
	config, err := injector.Read(text, c.namespace, c.revision)
	if err != nil {
		return fmt.Errorf("--injector-config %s: %w", c.injectorConfig, err)
	}
	config.ClusterDomain = c.clusterDomain
	c.injector.Store(&config)
	return nil
}

// kubernetesConfig is that of a file, else of the pod that this runs in, else of kubectl.
func kubernetesConfig(file string) (*rest.Config, error) {
	if file == "" {
		config, err := rest.InClusterConfig()
		if !errors.Is(err, rest.ErrNotInCluster) {
			return config, err
		}
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = file
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("the cluster: %w; name a kubeconfig with --kubeconfig", err)
	}
	return config, nil
}

func (c *clusterPlane) connect() error {
	config, err := kubernetesConfig(c.kubeconfig)
	if err != nil {
		return err
	}
	c.feeds.places = apiServerPlaces(config.Host)
	config.UserAgent = "pavise/" + buildVersion()
	// Whoever asks is bounded where it asks: token reviews by the reviewer, statuses by the
	// writer. The client's own bound is one for all of them.
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), api.AddToScheme(scheme)); err != nil {
		return err
	}
	if c.clients, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if c.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	c.cache, err = cache.New(config, cache.Options{Scheme: scheme, DefaultTransform: source.Transform})
	return err
}

// apiServerPlaces is where the API server is, without which nothing here can be mended, if that
// is an address.
func apiServerPlaces(host string) []guard.Place {
	u, err := url.Parse(host)
	if err != nil {
		return nil
	}
	a, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return nil
	}
	a = a.Unmap().WithZone("")
	return []guard.Place{{Prefix: netip.PrefixFrom(a, a.BitLen()), Why: "the API server"}}
}

// certificates has one to serve, which takes the API server.
func (c *clusterPlane) certificates(ctx context.Context) error {
	service := "pavise-control-plane" + revisionSuffix(c.revision) + "." + c.namespace
	config := certs.Config{
		Core: c.clients.CoreV1(), Admission: c.clients.AdmissionregistrationV1(), Namespace: c.namespace,
		Name:       "pavise-ca" + revisionSuffix(c.revision),
		DNSNames:   []string{service + ".svc", service, service + ".svc." + c.clusterDomain},
		Lead:       c.leading.Load,
		Namespaces: c.labelled,
		Mutating:   []string{"pavise-injector" + revisionSuffix(c.revision)},
		Validating: []string{"pavise-validator" + revisionSuffix(c.revision)},
		Log:        c.log.With("from", "certificates"),
	}
	if c.tls.Certificate != "" {
		config.Given, config.Mutating, config.Validating = func() ([]byte, error) { return os.ReadFile(c.caBundle) }, nil, nil
		var err error
		if c.given, err = servertls.New(c.tls, c.log, "h2", "http/1.1"); err != nil {
			return err
		}
	}
	var err error
	c.certs, err = certs.New(config)
	return err
}

// tlsConfig is that of every server.
func (c *clusterPlane) tlsConfig() *tls.Config {
	if c.given != nil {
		return c.given.Config()
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: c.certs.GetCertificate}
}

func (c *clusterPlane) watch() error {
	var err error
	if c.tokens, err = identity.New(identity.Config{
		Reviews: c.clients.AuthenticationV1().TokenReviews(), Pod: c.pod, Log: c.log.With("from", "identity"),
	}); err != nil {
		return err
	}
	if c.tracer, err = c.tracing.open(c.log); err != nil {
		return err
	}
	c.server = xds.NewServer(xds.ServerConfig{
		Socket: filepath.Join(c.runDir, "xds.sock"), Decisions: c.decision, Token: c.token, Pushes: pushes(c.tracer), Logger: c.log,
	})
	c.fleet = fleet.New(fleet.Config{Server: c.server, Options: xds.Options{Resolver: xds.DefaultResolver, Module: true, HideReasons: c.hideReasons}, Stage: c.tracer.Stage, Logger: c.log.With("from", "fleet")})
	c.source, err = source.New(source.Config{
		Options: source.Options{
			Revision: c.revision, NetworkPolicies: c.networkPolicies, ClusterNetworkPolicies: c.clusterNetworkPolicies,
			InForce: c.fleet.Set,
		},
		Cache: c.cache, Apply: c.apply, Problems: c.problems, Logger: c.log.With("from", "inventory"),
	})
	return err
}

// apply takes over what the cluster is now.
func (c *clusterPlane) apply(ctx context.Context, u fleet.Update) error {
	traced, end := c.tracer.Change(ctx, tracing.Number("joined", len(u.Nodes)), tracing.Number("left", len(u.Left)))
	report, err := c.fleet.Apply(traced, u)
	if report == nil {
		end(err)
	} else {
		end(err, tracing.Text("digest", c.fleet.Model().Digest), tracing.Number("translated", report.Translated),
			tracing.Number("problems", len(report.Problems)), tracing.Number("held", len(report.Held)))
		c.mu.Lock()
		c.taken, c.report = u.Set, report
		converted := c.converted
		c.mu.Unlock()
		c.status.Applied(u.Set, report, converted)
	}
	if err != nil {
		return err
	}
	if err := c.feeds.set(c.fleet.Set(), c.fleet.Model()); err != nil {
		c.log.Error("the feeds could not be taken; those of before stay", "error", err)
	}
	c.forget(u.Left)
	select {
	case c.changed <- struct{}{}:
	default:
	}
	return nil
}

func (c *clusterPlane) forget(nodes []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, node := range nodes {
		delete(c.following, node)
	}
}

func (c *clusterPlane) problems(list []api.Problem) {
	c.mu.Lock()
	c.converted = list
	set, report := c.taken, c.report
	c.mu.Unlock()
	if set != nil {
		c.status.Applied(set, report, list)
	}
	for _, p := range list {
		c.log.Warn(p.Message, "code", p.Code, "object", p.Object, "field", p.Field, "fix", p.Fix)
	}
}

// pod says which one bears a name at present.
func (c *clusterPlane) pod(namespace, name string) (uid string, known bool) {
	var p corev1.Pod
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := c.cache.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &p); err != nil {
		return "", false
	}
	return string(p.UID), true
}

// labelled are the namespaces whose pods need to know the authorities.
func (c *clusterPlane) labelled() []string {
	var list corev1.NamespaceList
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.cache.List(ctx, &list, client.MatchingLabels{injector.InjectLabel: "enabled"}); err != nil {
		c.log.Warn("the labelled namespaces are not known", "error", err)
		return nil
	}
	var names []string
	for i := range list.Items {
		n := &list.Items[i]
		if n.DeletionTimestamp == nil && cmp.Or(n.Labels[injector.RevisionLabel], "default") == c.revision {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return names
}

func (c *clusterPlane) namespaceOf(ctx context.Context, name string) (*corev1.Namespace, error) {
	var n corev1.Namespace
	if err := c.cache.Get(ctx, client.ObjectKey{Name: name}, &n); err != nil {
		// One that was made a moment ago is not in the cache yet.
		return c.clients.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	}
	return &n, nil
}

// secret reads a header of a feed from the namespace of the control plane, and keeps nothing.
func (c *clusterPlane) secret(ref api.SecretKeyRef) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := c.clients.CoreV1().Secrets(c.namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("secret %s/%s: %w", c.namespace, ref.Name, err)
	}
	v, ok := s.Data[ref.Key]
	if !ok {
		return nil, fmt.Errorf("secret %s/%s has no key %q", c.namespace, ref.Name, ref.Key)
	}
	return v, nil
}

func (c *clusterPlane) decision(d decisions.Record) {
	if d.Verdict == policy.Denied {
		c.denied.Add(1)
	}
	c.recent.add(d)
	c.lately.add(&d)
}

// Current implements admin.Source.
func (c *clusterPlane) Current() (*policy.Model, *api.Set) { return c.fleet.Model(), c.fleet.Set() }

// Feeds implements admin.Source.
func (c *clusterPlane) Feeds() *filter.Engine {
	if c.feeds.get() == nil {
		return nil
	}
	return c.feeds.engine
}

// Flows implements admin.Source.
func (c *clusterPlane) Flows() *flows.Store { return c.lately.flows }

// Anomalies implements admin.Source.
func (c *clusterPlane) Anomalies() *anomaly.Detector { return c.lately.anomalies }

// Decisions implements admin.Source.
func (c *clusterPlane) Decisions(n int) any { return c.recent.latest(n) }

var (
	_ admin.Source      = (*clusterPlane)(nil)
	_ admin.HasFeeds    = (*clusterPlane)(nil)
	_ admin.HasSidecars = (*clusterPlane)(nil)
)

// feedStatus is what statuses say of feeds; there need not be any yet.
type feedStatus struct{ k *feedKeeper }

func (f feedStatus) Status() []feeds.Status {
	list, _ := f.k.status()
	return list
}

func (f feedStatus) Snapshot() *snapshot.Snapshot {
	if m := f.k.get(); m != nil {
		return m.Snapshot()
	}
	return nil
}

func (f feedStatus) Trouble() error {
	if _, trouble := f.k.status(); trouble != "" {
		return errors.New(trouble)
	}
	return nil
}
