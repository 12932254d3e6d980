package page

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	adminpage "pavise.dev/pavise/admin/page"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

const config = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  addresses: [192.0.2.10]
  transparent: {}
  inbound: [{name: http, port: 8080, upstream: "127.0.0.1:80"}]
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: catalogue, namespace: shop, labels: {app: catalogue}}
spec:
  addresses: [192.0.2.11]
  transparent: {}
  inbound: [{name: http, port: 8081, upstream: "127.0.0.1:81"}]
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: payments, namespace: bank, labels: {app: payments}}
spec:
  addresses: [192.0.2.12]
  inbound: [{name: http, port: 9090, upstream: "127.0.0.1:82"}]
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  ingress:
    - {name: no-admin, action: Deny, http: [{paths: [{prefix: /admin}]}]}
    - {name: rest, action: Allow, http: [{paths: [{prefix: /}]}]}
  egress:
    - {name: catalogue, action: Allow, to: [{podSelector: {matchLabels: {app: catalogue}}}]}
    - {name: api, action: Allow, to: [{domains: [api.example, "*.cdn.example"]}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: catalogue, namespace: shop}
spec:
  selector: {matchLabels: {app: catalogue}}
  ingress:
    - {name: web, action: Allow, from: [{podSelector: {matchLabels: {app: web}}}], http: [{methods: [GET], paths: [{prefix: /items}]}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: payments, namespace: bank}
spec:
  selector: {matchLabels: {app: payments}}
  ingress:
    - {name: catalogue, action: Allow, from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: catalogue}}}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: web-next, namespace: shop}
spec:
  mode: Audit
  selector: {matchLabels: {app: web}}
  ingress:
    - {name: none, action: Deny, from: [{cidrs: [203.0.113.0/24]}]}
`

// source is a process with everything that pages show.
type source struct {
	model    *policy.Model
	set      *api.Set
	engine   *filter.Engine
	store    *flows.Store
	detector *anomaly.Detector
	feeds    []feeds.Status
	changes  []feeds.Change
	nanos    atomic.Int64
}

func (s *source) Current() (*policy.Model, *api.Set) { return s.model, s.set }
func (s *source) Feeds() *filter.Engine              { return s.engine }
func (s *source) Flows() *flows.Store                { return s.store }
func (s *source) Anomalies() *anomaly.Detector       { return s.detector }
func (s *source) Decisions(int) any                  { return []decisions.Record{} }
func (s *source) FeedList() []feeds.Status           { return s.feeds }
func (s *source) FeedDir() string                    { return "" }
func (s *source) now() time.Time                     { return time.Unix(0, s.nanos.Load()) }
func (s *source) at(t time.Time)                     { s.nanos.Store(t.UnixNano()) }

func (s *source) FeedChanges(name string) ([]feeds.Change, error) {
	if name != "malware-domains" {
		return nil, nil
	}
	return s.changes, nil
}

func (s *source) Status() any {
	return map[string]any{
		"config": "/etc/pavise", "digest": s.model.Digest, "pid": 4711, "outOfForce": []string{"AccessPolicy shop/old"},
		"problems": []api.Problem{
			{Code: "PAV0101", Severity: api.Warning, Message: "no policy selects it", Object: "Workload shop/till", File: "shop.yaml", Line: 3, Fix: "write one"},
		},
	}
}

func (s *source) Sidecars() []admin.Sidecar {
	now := time.Now()
	return []admin.Sidecar{
		{
			Node: "shop/web-7d9c5b6f4-x2x8z", Workload: "shop/web", State: "in-force", Wanted: "1f0c9a3d5b7e", Acked: "1f0c9a3d5b7e",
			Since: now.Add(-5 * time.Hour), InForceAt: now.Add(-time.Minute), Snapshot: "sha256:0123456789abcdef", SnapshotTime: now.Add(-time.Hour),
		},
		{
			Node: "shop/web-7d9c5b6f4-l9k2m", Workload: "shop/web", State: "refused", Wanted: "2a2a2a2a2a2a", Acked: "1f0c9a3d5b7e", Pending: 2, NACKs: 4,
			NACK: "Error adding listener: bad regex", NACKTime: now.Add(-time.Second), Since: now.Add(-5 * time.Hour), InForceAt: now.Add(-2 * time.Hour),
		},
	}
}

// more are workloads of a namespace, each of which only the one before may reach.
func more(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "---\napiVersion: pavise.dev/v1alpha1\nkind: Workload\nmetadata: {name: w%03d, namespace: more, labels: {app: w%03d}}\n", i, i)
		fmt.Fprintf(&b, "spec:\n  addresses: [10.0.0.%d]\n  inbound: [{name: http, port: %d, upstream: 127.0.0.1:80}]\n", i+1, 2000+i)
		fmt.Fprintf(&b, "---\napiVersion: pavise.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: w%03d, namespace: more}\n", i)
		fmt.Fprintf(&b, "spec:\n  selector: {matchLabels: {app: w%03d}}\n  ingress: [{name: one, action: Allow, from: [{podSelector: {matchLabels: {app: w%03d}}}]}]\n", i, i-1)
	}
	return b.String()
}

func newSource(t *testing.T, config string) *source {
	t.Helper()
	set, problems := api.Parse("shop.yaml", []byte(config))
	if api.HasErrors(problems) {
		t.Fatal(problems)
	}
	s := &source{set: set, engine: newEngine(t)}
	if s.model, problems = policy.Compile(set); api.HasErrors(problems) {
		t.Fatal(problems)
	}
	var err error
	if s.store, err = flows.New(flows.Config{}); err != nil {
		t.Fatal(err)
	}
	if s.detector, err = anomaly.New(anomaly.Config{Learning: 2 * time.Hour, Now: s.now}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	day, soon := metav1.NewTime(now.Add(-26*time.Hour)), metav1.NewTime(now.Add(5*time.Minute))
	s.feeds = []feeds.Status{
		{Name: "malware-domains", Action: "Deny", Direction: "Both", Required: true, Format: "Domains", ThreatFeedStatus: api.ThreatFeedStatus{
			State: api.FeedCurrent, LastSuccess: &day, LastChange: &day, LastAttempt: &day, NextAttempt: &soon, Entries: 1234567, Added: 3, Removed: 1,
			Unreadable: 2, Guarded: 1, Digest: "sha256:" + strings.Repeat("ab", 32),
			Left: []api.FeedLeftOut{{Line: 9, Text: "10.0.0.0/8", Reason: "private: it is a network of our own"}},
		}},
		{Name: "scanners", Action: "Alert", Direction: "Ingress", ThreatFeedStatus: api.ThreatFeedStatus{State: api.FeedFailed, Error: "the server says 503"}},
	}
	for i := range 20 {
		s.changes = append(s.changes, feeds.Change{Time: now.Add(time.Duration(i-46) * time.Hour), Added: int64(i*i%7) * 1000, Removed: int64(i%5) * 900})
	}
	s.changes = append(s.changes, feeds.Change{
		Time: day.Time, Added: 3, Removed: 1, AddedEntries: []string{"evil.example", "=exact.example", "worse.example"}, RemovedEntries: []string{"good.example"},
	})
	s.happened(now)
	return s
}

// happened has three hours of traffic, and then what is not usual.
func (s *source) happened(now time.Time) {
	for at := now.Add(-3 * time.Hour); at.Before(now.Add(-time.Minute)); at = at.Add(5 * time.Minute) {
		s.at(at)
		s.add(decisions.Record{Source: "192.0.2.20:40000", Method: "GET", Host: "shop.example", Path: "/cart/17", Verdict: policy.Allowed, Reason: "namespace:shop/web#rest"})
		s.add(decisions.Record{Source: "192.0.2.21:40000", Method: "POST", Host: "shop.example", Path: "/orders", Verdict: policy.Allowed, Reason: "namespace:shop/web#rest"})
		s.add(decisions.Record{
			Listener: "shop/web/outbound", Direction: policy.Egress, From: decisions.Envoy, Source: "192.0.2.10:40001", Destination: "203.0.113.80:443",
			ServerName: "api.example", Names: decisions.JoinLines([]string{"api.example"}), Verdict: policy.Allowed, Reason: "namespace:shop/web#api",
		})
	}
	s.at(now.Add(-20 * time.Second))
	s.add(decisions.Record{
		From: decisions.DNS, Listener: "shop/web/dns", Direction: policy.Egress, Verdict: policy.Denied, Reason: "feed:malware-domains", Answer: "NXDOMAIN",
		Question: decisions.Question{Name: "bad.example.", Type: "A"},
		Feed:     decisions.Hit{Name: "malware-domains", Line: 7, Entry: "bad.example", Asked: "name"},
	})
	s.at(now)
	for i := range 30 {
		s.add(decisions.Record{
			Source: fmt.Sprintf("198.51.100.%d:4000", i+1), Method: "GET", Host: "shop.example", Path: "/new/" + strconv.Itoa(i),
			Verdict: policy.Allowed, Reason: "namespace:shop/web#rest",
		})
	}
	s.deny("shop.example")
	s.detector.Tick()
}

// add records a decision, of an inbound request unless it says otherwise.
func (s *source) add(r decisions.Record) {
	r.Time, r.Workload = s.now(), "shop/web"
	if r.Listener == "" {
		r.Listener, r.Direction, r.From, r.Destination = "shop/web/http", policy.Ingress, decisions.Envoy, "192.0.2.10:8080"
	}
	s.store.Add(&r)
	s.detector.Observe(&r)
}

// deny records a denial of a path at a host.
func (s *source) deny(host string) {
	s.at(time.Now())
	s.add(decisions.Record{
		Verdict: policy.Denied, Reason: "namespace:shop/web#no-admin", Policy: "shop/web", Rule: "no-admin", Source: "203.0.113.9:4000", RequestID: "7d1c7f7a",
		Method: "GET", Host: host, Path: "/admin/<script>document.title='owned'</script>", Status: 403,
	})
}

// newEngine lists a name and a network.
func newEngine(t *testing.T) *filter.Engine {
	t.Helper()
	list := []snapshot.Feed{{Name: "malware-domains", Action: "Deny", Direction: "Both", Loaded: true}}
	b, err := snapshot.NewBuilder(list, snapshot.KeyOf(list))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "snapshot")
	if err := b.AddDomain(0, []byte("bad.example"), snapshot.Self|snapshot.Below, 7); err != nil {
		t.Fatal(err)
	}
	if err := b.AddPrefix(0, netip.MustParsePrefix("203.0.113.128/25"), 8); err != nil {
		t.Fatal(err)
	}
	if _, err := snapshot.Save(path, b); err != nil {
		t.Fatal(err)
	}
	snap, err := snapshot.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	e := &filter.Engine{}
	e.Swap(snap)
	return e
}

// serve has the pages behind the checks of the admin endpoint, as processes have them.
func serve(t *testing.T) (*source, string) {
	t.Helper()
	s := newSource(t, config)
	return s, listen(t, s)
}

func listen(t *testing.T, s *source) string {
	t.Helper()
	srv, err := admin.Listen(t.Context(), "127.0.0.1:0", s, admin.Options{Pages: adminpage.Handler(s)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + srv.Addr().String()
}
