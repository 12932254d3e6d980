package main

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/feeds/replica"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/proxy/dns"
	"pavise.dev/pavise/proxy/filter"
	"pavise.dev/pavise/xds/relay"
)

// agentMetrics reads what the parts of an agent count when it is asked. The labels are
// names of feeds, outputs and kinds: their number is bounded by the configuration and by
// this code.
type agentMetrics struct{ a *agent }

// metric is a description, and how it is collected.
func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("pavise_"+name, help, labels, nil)
}

var (
	descEnvoyUp       = metric("envoy_up", "Whether Envoy runs.")
	descEnvoyRestarts = metric("envoy_restarts_total", "Starts of Envoy after the first.")
	descDenied        = metric("denied_total", "Decisions that were denials.")

	descConnected = metric("control_plane_connected", "Whether a stream to the control plane is open.")
	descReady     = metric("policies_ready", "Whether Envoy has had all its policies at some time.")
	descInForce   = metric("policies_in_force", "Whether Envoy has acknowledged all that it was given.")
	descSource    = metric("policies_source", "1 for where the policies in force came from.", "source")
	descNACKs     = metric("policies_refused_total", "Refusals, by who refused.", "by")
	descPinned    = metric("policies_pinned_timestamp_seconds", "When the last good policies on disk were written; 0 for none.")

	descSnapshotSince   = metric("feeds_snapshot_timestamp_seconds", "When the snapshot in force was written here; 0 for none.")
	descSnapshotSuccess = metric("feeds_last_success_timestamp_seconds", "When the server last confirmed what is in force; its age is how old that may be.")
	descSnapshotBytes   = metric("feeds_snapshot_bytes", "Size of the snapshot.")
	descFetched         = metric("feeds_fetched_total", "Snapshots that came, by how.", "how")
	descFetchedBytes    = metric("feeds_fetched_bytes_total", "Octets of snapshots and deltas that came.")
	descFetchFailed     = metric("feeds_failures_total", "Failures to bring a snapshot, by kind.", "kind")
	descHits            = metric("feeds_hits_total", "Look-ups that met a feed, by where and by what became of it.", "feed", "host", "action")
	descModule          = metric("feeds_in_force", "Whether Envoy decides by a snapshot.")
	descPanics          = metric("module_panics_total", "Panics that the module caught.")

	descDNS         = metric("dns_questions_total", "Questions, by what became of them.", "outcome")
	descDNSUpstream = metric("dns_upstream_seconds", "Time that upstreams took.", "upstream")
	descDNSFailures = metric("dns_upstream_failures_total", "Attempts without an answer.", "upstream")
	descDNSCache    = metric("dns_cache_entries", "Answers in the cache.")
	descNames       = metric("names_total", "Names of addresses, by what became of them.", "outcome")

	descDecisions = metric("decisions_total", "Decisions, by output and by what became of them.", "output", "verdict", "outcome")
	descQueued    = metric("decisions_queued", "Records that wait for an output.", "output")

	descTraced = metric("tracing_spans_total", "Spans of traces, by what became of them.", "outcome")

	descFlows        = metric("flows", "Flows that are kept.")
	descFlowBytes    = metric("flows_bytes", "What they take, as the store counts it.")
	descFlowsGone    = metric("flows_evicted_total", "Flows that made room for others, by verdict.", "verdict")
	descFlowsMerged  = metric("flows_merged_total", "Decisions in flows that stand for values that were too many.")
	descFeedEntries  = metric("feed_entries", "Entries in force.", "feed")
	descFeedState    = metric("feed_state", "1 for the state of a feed.", "feed", "state")
	descFeedSuccess  = metric("feed_last_success_timestamp_seconds", "When the source last confirmed what is in force; 0 for never.", "feed")
	descFeedsTrouble = metric("feeds_trouble", "Whether the feeds of before stay because the newest cannot be taken.")

	descAnomalies = metric("anomalies_total", "What was unusual, by kind.", "kind")
	descLearning  = metric("anomalies_learning", "Workloads of which it is not known yet what is usual.")
)

// scraped answers scrapes with what a collector and the Go runtime have.
func scraped(c prometheus.Collector) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// register makes the registry of an agent, and the counter of pages of Envoy that failed.
func (a *agent) register() (*prometheus.Registry, prometheus.Counter) {
	r := prometheus.NewRegistry()
	failed := prometheus.NewCounter(prometheus.CounterOpts{Name: "pavise_envoy_scrapes_failed_total", Help: "Pages of Envoy's metrics that were not had whole."})
	r.MustRegister(agentMetrics{a}, failed, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r, failed
}

// Describe says nothing, which makes it an unchecked collector: what there is depends on
// the feeds.
func (agentMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m agentMetrics) Collect(ch chan<- prometheus.Metric) {
	c := collector{ch}
	up := m.a.envoyUp.State()
	c.gauge(descEnvoyUp, truth(up.PID != 0))
	c.counter(descEnvoyRestarts, float64(up.Restarts))
	c.counter(descDenied, float64(m.a.denied.Load()))
	c.policies(m.a.relay.Status())
	if m.a.follower != nil {
		c.snapshot(m.a.follower.Status())
	}
	c.hits("dns", m.a.engine.Hits())
	if m.a.follower != nil {
		in, _ := moduleInForce(m.a.snapshot, nil, up.PID) // why it is not in force, the status says
		c.gauge(descModule, truth(in.Digest != ""))
		c.counter(descPanics, float64(in.Panics))
		c.hits("envoy", in.Hits)
	}
	if m.a.resolver != nil {
		c.resolver(m.a.resolver)
	}
	c.decisions(m.a.decisions.Stats())
	c.lately(m.a.lately)
}

type collector struct{ ch chan<- prometheus.Metric }

func (c collector) gauge(d *prometheus.Desc, v float64, labels ...string) {
	c.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (c collector) counter(d *prometheus.Desc, v float64, labels ...string) {
	c.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func stampOf(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func (c collector) policies(st relay.Status) {
	c.gauge(descConnected, truth(st.Connected))
	c.gauge(descReady, truth(st.Ready))
	c.gauge(descInForce, truth(st.InForce))
	for _, s := range []relay.Source{relay.None, relay.Disk, relay.ControlPlane} {
		c.gauge(descSource, truth(st.Source == s), string(s))
	}
	c.counter(descNACKs, float64(st.Counts.NACKs), "envoy")
	c.counter(descNACKs, float64(st.Counts.Refused), "agent")
	c.gauge(descPinned, stampOf(st.Pinned.At))
}

func (c collector) snapshot(st replica.State) {
	c.gauge(descSnapshotSince, stampOf(st.Since))
	c.gauge(descSnapshotSuccess, stampOf(st.LastSuccess))
	c.gauge(descSnapshotBytes, float64(st.Size))
	c.counter(descFetched, float64(st.Wholes), "whole")
	c.counter(descFetched, float64(st.Deltas), "delta")
	c.counter(descFetchedBytes, float64(st.Octets))
	for kind, n := range st.Failed {
		c.counter(descFetchFailed, float64(n), strings.ToLower(string(kind)))
	}
}

func (c collector) hits(host string, hits []filter.Hits) {
	for _, h := range hits {
		c.counter(descHits, float64(h.Denied), h.Feed, host, "deny")
		c.counter(descHits, float64(h.Alerted), h.Feed, host, "alert")
	}
}

func (c collector) resolver(r *resolver) {
	s := r.Stats()
	for outcome, n := range map[string]uint64{
		"malformed": s.Malformed, "unsupported": s.Unsupported, "blocked": s.Blocked, "private": s.Rebind, "upgrade": s.Upgrade,
		"alerted": s.Alerted, "cached": s.Cached, "stale": s.Stale, "forwarded": s.Forwarded, "merged": s.Merged,
		"limited": s.Limited, "overload": s.Overload, "failed": s.Failed, "unsent": s.Unsent, "dropped": s.Dropped,
	} {
		c.counter(descDNS, float64(n), outcome)
	}
	for _, u := range s.Upstreams {
		buckets, total := map[float64]uint64{}, uint64(0)
		for i, n := range u.Latency {
			total += n
			if i < len(dns.LatencyBounds) {
				buckets[dns.LatencyBounds[i].Seconds()] = total
			}
		}
		c.ch <- prometheus.MustNewConstHistogram(descDNSUpstream, total, u.Total.Seconds(), buckets, u.Name)
		c.counter(descDNSFailures, float64(u.Failures), u.Name)
	}
	c.gauge(descDNSCache, float64(s.Entries))
	t := r.table.Stats()
	for outcome, n := range map[string]uint64{"learnt": t.Learnt, "refused": t.Refused, "evicted": t.Evicted, "displaced": t.Displaced} {
		c.counter(descNames, float64(n), outcome)
	}
}

func (c collector) lately(l *lately) {
	f := l.flows.Stats()
	c.gauge(descFlows, float64(f.Flows))
	c.gauge(descFlowBytes, float64(f.Bytes))
	c.counter(descFlowsGone, float64(f.EvictedAllowed), "allow")
	c.counter(descFlowsGone, float64(f.EvictedDenied), "deny")
	c.counter(descFlowsMerged, float64(f.Merged))
	a := l.anomalies.Stats()
	for _, k := range anomaly.Kinds {
		c.counter(descAnomalies, float64(a.Raised[k]), string(k))
	}
	c.gauge(descLearning, float64(a.Learning))
}

func (c collector) decisions(s decisions.Stats) {
	for _, o := range s.Outputs {
		count := func(t decisions.Tally, outcome string) {
			c.counter(descDecisions, float64(t.Allow), o.Name, "allow", outcome)
			c.counter(descDecisions, float64(t.Deny), o.Name, "deny", outcome)
		}
		count(o.Written, "written")
		for why, t := range o.Dropped {
			count(t, string(why))
		}
		c.gauge(descQueued, float64(o.QueuedRecords), o.Name)
	}
}

// feedStates are all that a feed can be in.
var feedStates = []api.FeedState{
	api.FeedPending, api.FeedCurrent, api.FeedStale, api.FeedRefused, api.FeedFailed, api.FeedExpired, api.FeedSuspended,
}

func (c collector) feeds(list []feeds.Status, trouble string) {
	c.gauge(descFeedsTrouble, truth(trouble != ""))
	for _, f := range list {
		c.gauge(descFeedEntries, float64(f.Entries), f.Name)
		success := time.Time{}
		if f.LastSuccess != nil {
			success = f.LastSuccess.Time
		}
		c.gauge(descFeedSuccess, stampOf(success), f.Name)
		for _, s := range feedStates {
			c.gauge(descFeedState, truth(f.State == s), f.Name, string(s))
		}
	}
}
