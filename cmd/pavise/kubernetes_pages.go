//go:build !sidecar

package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/injector"
	"pavise.dev/pavise/internal/tracing"
	"pavise.dev/pavise/proxy/health"
	"pavise.dev/pavise/xds"
)

// pages are for the kubelet and for Prometheus.
func (c *clusterPlane) pages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", c.Metrics())
	mux.Handle("GET /healthz", health.Live())
	mux.Handle("GET /readyz", health.Ready(
		health.Check{Name: "inventory", Holds: c.complete},
		health.Check{Name: "certificate", Holds: c.certificateHolds},
	))
	return mux
}

// Metrics implements admin.HasMetrics.
func (c *clusterPlane) Metrics() http.Handler { return c.stats }

func (c *clusterPlane) certificateHolds() error {
	if expiry := c.expiry(); !expiry.IsZero() && !time.Now().Before(expiry) {
		return errors.New("it expired at " + expiry.Format(time.RFC3339))
	}
	return nil
}

// expiry of the certificate that is served.
func (c *clusterPlane) expiry() time.Time {
	if c.given != nil {
		at, _ := c.given.State()
		return at
	}
	return c.certs.Expiry()
}

// trouble is what is wrong with the certificates, empty if nothing is.
func (c *clusterPlane) trouble() string {
	if c.given != nil {
		if _, err := c.given.State(); err != "" {
			return err
		}
	}
	return c.certs.Problem()
}

// clusterMetrics reads what the parts of a control plane count when it is asked. The labels are
// names of feeds, states and reasons: their number is bounded by the configuration and by this
// code. No label is a pod, a workload or a policy.
type clusterMetrics struct{ c *clusterPlane }

var (
	descSidecars    = metric("control_plane_sidecars", "Sidecars that were given resources by this replica or are connected to it, by state.", "state")
	descStreams     = metric("control_plane_streams", "Streams of resources that are open.")
	descSyncing     = metric("control_plane_streams_syncing", "Streams that are given their first resources.")
	descWaiting     = metric("control_plane_streams_waiting", "Streams that wait for that.")
	descPlaneNACKs  = metric("control_plane_refusals", "Refusals by the sidecars that are known.")
	descLeading     = metric("control_plane_leading", "Whether this replica writes to the API server.")
	descObjects     = metric("control_plane_objects", "What the inventory has, by kind.", "kind")
	descEvents      = metric("control_plane_events_total", "Events of the API server.")
	descUpdates     = metric("control_plane_updates_total", "Updates of what sidecars are given, by outcome.", "outcome")
	descProblems    = metric("control_plane_problems", "Problems with objects, by severity.", "severity")
	descNotNewest   = metric("control_plane_objects_last_good", "Objects of which an earlier version is in force.")
	descOutOfForce  = metric("control_plane_objects_out_of_force", "Objects of which no version is in force.")
	descUnshielded  = metric("control_plane_unshielded_pods", "Pods of namespaces labelled for this revision that have no sidecar; those on the host's network are not counted.")
	descHeld        = metric("control_plane_workloads_held", "Workloads that are given nothing new.")
	descReviews     = metric("token_reviews_total", "Tokens of sidecars, by what became of them.", "outcome")
	descReviewing   = metric("token_reviews_waiting", "Tokens that wait for a review.")
	descExpiry      = metric("certificate_expiry_timestamp_seconds", "When the certificate expires; 0 for none.")
	descCertTrouble = metric("certificate_trouble", "Whether something is wrong with the certificates or with handing them out.")
	descAdmission   = metric("admission_total", "Answers to the API server, by what was asked and what became of it.", "path", "outcome", "reason")
)

// Describe says nothing, which makes it an unchecked collector.
func (clusterMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m clusterMetrics) Collect(ch chan<- prometheus.Metric) {
	c, p := collector{ch}, m.c
	c.sidecars(p.server)
	c.gauge(descLeading, truth(p.leading.Load()))
	st := p.source.Stats()
	for kind, n := range map[string]int{"pod": st.Pods, "workload": st.Workloads, "sidecar": st.Nodes} {
		c.gauge(descObjects, float64(n), kind)
	}
	c.gauge(descUnshielded, float64(len(p.unshielded())))
	c.counter(descEvents, float64(st.Events))
	c.counter(descUpdates, float64(st.Updates), "applied")
	c.counter(descUpdates, float64(st.Failures), "failed")
	c.report(p)
	t := p.tokens.Stats()
	for outcome, n := range map[string]uint64{
		"reviewed": t.Reviews - t.Failures - t.Refusals, "refused": t.Refusals, "failed": t.Failures, "known": t.Hits, "malformed": t.Malformed, "turned-away": t.Full,
	} {
		c.counter(descReviews, float64(n), outcome)
	}
	c.gauge(descReviewing, float64(t.Waiting))
	c.gauge(descExpiry, stampOf(p.expiry()))
	c.gauge(descCertTrouble, truth(p.trouble() != ""))
	for _, a := range p.admitted.Counts() {
		c.counter(descAdmission, float64(a.N), a.Path, a.Outcome, a.Reason)
	}
	c.counter(descDenied, float64(p.denied.Load()))
	c.traces(p.tracer)
	c.feeds(p.feeds.status())
}

func (c collector) traces(t *tracing.Tracer) {
	if t != nil {
		c.counter(descTraced, float64(t.Sent()), "sent")
		c.counter(descTraced, float64(t.Dropped()), "dropped")
	}
}

// folderPlaneMetrics are those of a control plane of a folder, under the same names.
type folderPlaneMetrics struct{ c *controlPlane }

// Describe says nothing, which makes it an unchecked collector.
func (folderPlaneMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m folderPlaneMetrics) Collect(ch chan<- prometheus.Metric) {
	c, p := collector{ch}, m.c
	c.sidecars(p.server)
	expiry, trouble := p.tlsFiles.State()
	c.gauge(descExpiry, stampOf(expiry))
	c.gauge(descCertTrouble, truth(trouble != ""))
	c.counter(descDenied, float64(p.denied.Load()))
	c.traces(p.tracer)
	c.feeds(p.feeds.status())
	c.lately(p.lately)
}

// unshielded are the pods that would have a sidecar if they were made now: they were made before
// their namespace was labelled, or while nobody answered the webhook.
func (c *clusterPlane) unshielded() (names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, namespace := range c.labelled() {
		var pods corev1.PodList
		if err := c.cache.List(ctx, &pods, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			c.log.Warn("the pods of a namespace are not known", "namespace", namespace, "error", err)
			continue
		}
		for i := range pods.Items {
			p := &pods.Items[i]
			ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
			if p.Labels[injector.RevisionLabel] == "" && !ended && !p.Spec.HostNetwork && p.DeletionTimestamp == nil {
				names = append(names, p.Namespace+"/"+p.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func (c collector) sidecars(server *xds.Server) {
	states := map[string]int{"in-force": 0, "pending": 0, "refused": 0, "away": 0}
	refusals := 0
	for _, n := range server.Nodes() {
		refusals += n.NACKs
		states[sidecarState(n.Status)]++
	}
	for state, n := range states {
		c.gauge(descSidecars, float64(n), state)
	}
	c.gauge(descPlaneNACKs, float64(refusals))
	l := server.Load()
	c.gauge(descStreams, float64(l.Streams))
	c.gauge(descSyncing, float64(l.Syncing))
	c.gauge(descWaiting, float64(l.Waiting))
}

func (c collector) report(p *clusterPlane) {
	p.mu.Lock()
	r, converted := p.report, p.converted
	p.mu.Unlock()
	count := map[api.Severity]int{api.Error: 0, api.Warning: 0}
	for _, list := range [][]api.Problem{r.Problems, converted} {
		for i := range list {
			count[list[i].Severity]++
		}
	}
	for severity, n := range count {
		c.gauge(descProblems, float64(n), string(severity))
	}
	c.gauge(descNotNewest, float64(len(r.LastGood)))
	c.gauge(descOutOfForce, float64(len(r.OutOfForce)))
	c.gauge(descHeld, float64(len(r.Held)))
}

// Status implements admin.Source.
func (c *clusterPlane) Status() any {
	c.mu.Lock()
	r, converted := c.report, c.converted
	c.mu.Unlock()
	s := clusterState{
		Cluster: c.namespace + "/" + c.revision, Replica: c.identity, Leading: c.leading.Load(), Digest: c.fleet.Model().Digest,
		Sidecars: map[string]int{}, Problems: slices.Concat(r.Problems, converted),
		LastGood: r.LastGood, OutOfForce: r.OutOfForce, Held: r.Held, Certificate: c.expiry(), Trouble: c.trouble(),
	}
	inventory := c.source.Stats()
	s.Pods, s.Workloads = inventory.Pods, inventory.Workloads
	if err := c.complete(); err != nil {
		s.Missing = err.Error()
	}
	for _, n := range c.server.Nodes() {
		s.Sidecars[sidecarState(n.Status)]++
	}
	s.Unshielded = c.unshielded()
	s.Feeds, s.FeedTrouble = c.feeds.status()
	return s
}
