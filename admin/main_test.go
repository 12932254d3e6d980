package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// canary is in every place where a secret may be.
const canary = "canary-7d1e9c-this-is-a-secret-of-32-octets"

const shop = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  serviceAccount: web
  addresses: [192.0.2.10]
  transparent: {}
  inbound: [{name: http, port: 8080, upstream: "127.0.0.1:80"}]
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: db, namespace: shop, labels: {app: db}}
spec:
  addresses: [192.0.2.20]
  transparent: {}
  inbound: [{name: pg, port: 5432, protocol: TCP, upstream: "127.0.0.1:5433"}]
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: cron, namespace: jobs, labels: {app: cron}}
spec:
  addresses: [192.0.2.30]
  transparent: {}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: db, namespace: shop}
spec:
  selector: {matchLabels: {app: db}}
  ingress:
    - {name: web, action: Allow, from: [{podSelector: {matchLabels: {app: web}}}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  ingress:
    - {name: read, action: Allow, http: [{methods: [GET], paths: [{prefix: /}]}]}
    - {name: jobs, action: Allow, from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: jobs}}}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: cron, namespace: jobs}
spec:
  selector: {matchLabels: {app: cron}}
  egress:
    - {name: web, action: Allow, to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}, podSelector: {matchLabels: {app: web}}}]}
---
apiVersion: pavise.dev/v1alpha1
kind: ThreatFeed
metadata: {name: bad}
spec:
  url: "https://feeds.example/list?key=` + canary + `"
  format: Hosts
  headers: [{name: x-api-key, value: "` + canary + `"}]
---
apiVersion: pavise.dev/v1alpha1
kind: ThreatFeed
metadata: {name: odd}
spec: {url: "https://feeds.example/odd", format: Hosts, action: Alert}
`

// lab is a process with everything that a Source may have.
type lab struct {
	bare
	dir string
}

// bare is one with nothing but what it has to.
type bare struct {
	model  *policy.Model
	set    *api.Set
	engine *filter.Engine
	store  *flows.Store
	odd    *anomaly.Detector
	recent []decisions.Record
}

func (b *bare) Current() (*policy.Model, *api.Set) { return b.model, b.set }
func (b *bare) Feeds() *filter.Engine              { return b.engine }
func (b *bare) Status() any                        { return map[string]any{"inForce": true} }
func (b *bare) Decisions(n int) any                { return b.recent[:min(n, len(b.recent))] }
func (b *bare) Flows() *flows.Store                { return b.store }
func (b *bare) Anomalies() *anomaly.Detector       { return b.odd }

func (l *lab) FeedDir() string { return l.dir }
func (l *lab) FeedList() []feeds.Status {
	return feeds.ReadStatus(l.dir, feeds.FromSet(l.set), time.Now())
}

// Sidecars are in no order; those of standalone mode have no namespace.
func (l *lab) Sidecars() []Sidecar {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return []Sidecar{
		{Node: "shop/web-2", Workload: "shop/web", State: "refused", Wanted: "b", Acked: "a", Pending: 2, NACK: strings.Repeat("no ", 4000), NACKTime: at, NACKs: 3},
		{Node: "standalone", State: "pending", Wanted: "b"},
		{Node: "jobs/cron-1", Workload: "jobs/cron", State: "away", Wanted: "a", Acked: "a"},
		{Node: "shop/web-1", Workload: "shop/web", State: "in-force", Wanted: "a", Acked: "a", Since: at, InForceAt: at, Snapshot: "sha256:1", SnapshotTime: at},
		{Node: "shop/gone-1", State: "away"},
	}
}

func (l *lab) EnvoyConfig(context.Context) ([]byte, error) {
	return []byte(`{"configs": [
		{"@type": "bootstrap", "bootstrap": {"node": {"id": "shop/web"}, "grpc": {"initial_metadata": [{"key": "authorization", "value": "` + canary + `"}]}}},
		{"@type": "listeners", "dynamic_listeners": [{"name": "in", "active_state": {"version_info": "1", "listener": {"name": "in"}}}, {"name": "out"}]},
		{"@type": "secrets", "dynamic_active_secrets": [{"name": "s", "secret": {"tls_certificate": {"private_key": {"inline_string": "` + canary + `"}}}}]}
	]}`), nil
}

func (l *lab) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "pavise_up 1") })
}

// record i of what happened: some of it denied, some of it a scan.
func record(i int) decisions.Record {
	r := decisions.Record{
		Time: time.Now(), From: decisions.Envoy, Workload: "shop/web", Listener: "shop/web/http", Direction: policy.Ingress,
		Verdict: policy.Allowed, Reason: "namespace:shop/web#read", Policy: "shop/web", Rule: "read",
		Source: "192.0.2.30:40000", Destination: "192.0.2.10:8080", Method: "GET", Host: "shop.example", Path: fmt.Sprintf("/p%c", 'a'+i%16),
		RequestID: fmt.Sprintf("request-%d", i),
	}
	if i%3 == 0 {
		r.Verdict, r.Reason, r.Policy, r.Rule, r.Method = policy.Denied, "default-deny:shop/web", "", "", "POST"
	}
	if i%4 == 0 {
		r.Workload, r.Listener, r.Destination, r.Method, r.Host, r.Path = "shop/db", "shop/db/pg", "192.0.2.20:5432", "", "", ""
	}
	return r
}

func newLab(t testing.TB) *lab {
	t.Helper()
	set, problems := api.Parse("t.yaml", []byte(shop))
	if api.HasErrors(problems) {
		t.Fatal(problems)
	}
	m, problems := policy.Compile(set)
	if api.HasErrors(problems) {
		t.Fatal(problems)
	}
	store, err := flows.New(flows.Config{MaxBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	d, err := anomaly.New(anomaly.Config{MaxBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{bare{model: m, set: set, engine: engine(t), store: store, odd: d}, t.TempDir()}
	for i := range 48 {
		r := record(i)
		store.Add(&r)
		d.Observe(&r)
		l.recent = append(l.recent, r)
	}
	return l
}

// example is a request of a route that it can answer.
func example(r *route, l *lab) *http.Request {
	path := strings.NewReplacer("{namespace}", "shop", "{name}", "web", "{id}", "request-3").Replace(r.path)
	query := ""
	switch r.path {
	case "/api/v1/feeds/{name}":
		path = "/api/v1/feeds/bad"
	case "/api/v1/flows/{id}":
		for f := range l.store.All(flows.Filter{}) {
			path = "/api/v1/flows/" + f.ID
			break
		}
	case "/api/v1/lookup":
		query = "?q=www.bad.example"
	case "/api/v1/baselines":
		query = "?workload=shop/web"
	case "/debug/pprof/profile", "/debug/pprof/trace":
		query = "?seconds=1"
	}
	body := ""
	switch r.body.(type) {
	case Query:
		body = `{"workload": "shop/web", "listener": "http", "url": "http://shop.example/"}`
	case Proposal:
		text, _ := json.Marshal(Proposal{Objects: []string{"apiVersion: pavise.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: web, namespace: shop}\n" +
			"spec:\n  selector: {matchLabels: {app: web}}\n  ingress: [{name: none, action: Deny}]\n"}})
		body = string(text)
	}
	req := httptest.NewRequestWithContext(context.Background(), r.method, "http://127.0.0.1"+path+query, strings.NewReader(body))
	return req
}

// bounded ends what never ends by itself.
func bounded(req *http.Request, r *route) (*http.Request, context.CancelFunc) {
	if r.path != "/api/v1/follow" {
		return req, func() {}
	}
	ctx, cancel := context.WithTimeout(req.Context(), 50*time.Millisecond)
	return req.WithContext(ctx), cancel
}

// deadlines makes a recorder take deadlines, as a connection does.
type deadlines struct{ *httptest.ResponseRecorder }

func (deadlines) SetWriteDeadline(time.Time) error { return nil }

func ask(h http.Handler, req *http.Request, r *route) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	req, cancel := bounded(req, r)
	defer cancel()
	h.ServeHTTP(deadlines{w}, req)
	return w
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what it was; look at the difference after -update", path)
	}
}
