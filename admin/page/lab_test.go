package page

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const config = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  addresses: [192.0.2.10, "2001:db8::10"]
  transparent: {}
  inbound: [{name: http, port: 8080, upstream: "127.0.0.1:80"}]
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: till, namespace: shop, labels: {app: till}}
spec:
  addresses: [192.0.2.11]
  inbound: [{name: http, port: 9090, upstream: "127.0.0.1:81"}]
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  ingress:
    - {name: no-admin, action: Deny, http: [{paths: [{prefix: /admin}]}]}
    - name: read
      action: Allow
      from: [{cidrs: [192.0.2.0/24]}]
      http: [{methods: [GET], paths: [{prefix: /}], headers: [{name: x-role, exact: "<script>alert(1)</script>"}]}]
  egress:
    - {name: api, action: Allow, to: [{domains: [api.example, "*.cdn.example"]}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: web-next, namespace: shop}
spec:
  mode: Audit
  selector: {matchLabels: {app: web}}
  ingress:
    - {name: none, action: Deny, from: [{cidrs: [192.0.2.0/28]}]}
`

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// What strangers can choose.
const (
	script  = `<script>alert("x")</script>`
	turned  = "safe\u202egpj.exe\u2066"
	escapes = "a\x1b[31mred\x00\xff"
)

var long = strings.Repeat("long-name.", 60)

// lab is a source of everything, with hostile values wherever a stranger chooses.
type lab struct {
	model     *policy.Model
	set       *api.Set
	engine    *filter.Engine
	store     *flows.Store
	detector  *anomaly.Detector
	status    any
	list      []feeds.Status
	carriers  []admin.Sidecar
	changes   []feeds.Change
	nanos     atomic.Int64
	failPast  error
	feedsPath string
}

func (l *lab) Current() (*policy.Model, *api.Set) { return l.model, l.set }
func (l *lab) Feeds() *filter.Engine              { return l.engine }
func (l *lab) Status() any                        { return l.status }
func (l *lab) Flows() *flows.Store                { return l.store }
func (l *lab) Anomalies() *anomaly.Detector       { return l.detector }
func (l *lab) FeedList() []feeds.Status           { return l.list }
func (l *lab) FeedDir() string                    { return l.feedsPath }
func (l *lab) Sidecars() []admin.Sidecar          { return l.carriers }
func (l *lab) now() time.Time                     { return time.Unix(0, l.nanos.Load()).UTC() }
func (l *lab) at(t time.Time)                     { l.nanos.Store(t.UnixNano()) }
func (l *lab) handler() http.Handler              { return handler(l, l.now) }
func (l *lab) FeedChanges(name string) ([]feeds.Change, error) {
	if name == "bad" {
		return l.changes, l.failPast
	}
	return nil, nil
}

// bare is a process that has nothing.
type bare struct{}

func (bare) Current() (*policy.Model, *api.Set) { return nil, nil }
func (bare) Feeds() *filter.Engine              { return nil }
func (bare) Status() any                        { return map[string]any{} }
func (bare) Flows() *flows.Store                { return nil }
func (bare) Anomalies() *anomaly.Detector       { return nil }

func must[T any](t testing.TB) func(T, error) T {
	return func(x T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{}
	set, problems := api.Parse("shop.yaml", []byte(config))
	if api.HasErrors(problems) {
		t.Fatal(problems)
	}
	l.set = set
	if l.model, problems = policy.Compile(set); api.HasErrors(problems) {
		t.Fatal(problems)
	}
	l.engine = newEngine(t)
	l.store = must[*flows.Store](t)(flows.New(flows.Config{Now: l.now}))
	l.detector = must[*anomaly.Detector](t)(anomaly.New(anomaly.Config{Learning: 2 * time.Hour, Now: l.now}))
	l.happened()
	l.status = map[string]any{
		"config": "/etc/pavise/" + script, "broken": true, "digest": "d16e57",
		"problems": []api.Problem{
			{Code: "unused-workload", Severity: api.Warning, Message: "no policy selects it", Object: "Workload shop/till"},
			{Code: "bad-regex", Severity: api.Error, File: "a.yaml", Line: 3, Message: script, Fix: turned, Object: "AccessPolicy shop/" + long},
		},
		"outOfForce": []string{"AccessPolicy shop/x"}, "lastGood": []string{"AccessPolicy shop/y"}, "held": map[string]string{"shop/web": script},
		"feedTrouble": "disk is full", "envoy": map[string]any{"connected": true, "pending": 0}, "pid": 4711, "nested": map[string]any{"list": []int{1, 2}},
	}
	day := metav1.NewTime(noon.Add(-26 * time.Hour))
	soon := metav1.NewTime(noon.Add(5 * time.Minute))
	l.list = []feeds.Status{
		{Name: "odd" + script, Action: "Alert", Direction: "Egress", ThreatFeedStatus: api.ThreatFeedStatus{State: api.FeedFailed, Error: turned}},
		{Name: "bad", Action: "Deny", Direction: "Both", Required: true, Format: "Text", ThreatFeedStatus: api.ThreatFeedStatus{
			State: api.FeedCurrent, LastSuccess: &day, LastAttempt: &day, NextAttempt: &soon, Entries: 1234567, Added: 3, Removed: 1,
			Unreadable: 2, Guarded: 1, Digest: "sha256:" + strings.Repeat("ab", 32),
			Left: []api.FeedLeftOut{{Line: 9, Text: script, Reason: "private: it is an address of " + turned}},
		}},
	}
	l.changes = []feeds.Change{
		{Time: noon.Add(-50 * time.Hour), Added: 1000000},
		{Time: noon.Add(-26 * time.Hour), Added: 3, Removed: 1, AddedEntries: []string{script, "=evil.example", "198.51.100.0/24"}, RemovedEntries: []string{turned}},
	}
	l.carriers = []admin.Sidecar{
		{Node: "shop/web-1", Workload: "shop/web", State: inForce, Wanted: "aaaa", Acked: "aaaa", Since: noon.Add(-time.Hour), InForceAt: noon.Add(-time.Minute)},
		{
			Node: "shop/web-2", Workload: "shop/web", State: "refused", Wanted: "bbbb", Acked: "aaaa", Pending: 2, NACKs: 4, NACK: script,
			NACKTime: noon.Add(-time.Second), Snapshot: "sha256:0123456789abcdef", SnapshotTime: noon.Add(-2 * time.Hour),
		},
	}
	return l
}

// happened has the same traffic for three hours, and then what is hostile.
func (l *lab) happened() {
	for t := noon.Add(-3 * time.Hour); t.Before(noon.Add(-time.Minute)); t = t.Add(5 * time.Minute) {
		l.at(t)
		l.add(decisions.Record{Source: "192.0.2.20:40000", Method: "GET", Host: "shop.example", Path: "/cart/17", Verdict: policy.Allowed, Reason: "namespace:shop/web#read"})
	}
	for i, path := range []string{"/admin/" + script, "/admin/" + turned, "/" + escapes, "/" + long, "/admin"} {
		l.at(noon.Add(-time.Duration(40+i) * time.Second))
		l.add(decisions.Record{
			Source: "203.0.113." + strconv.Itoa(i+1) + ":4000", Method: "GET", Host: "shop.example" + script, Path: path, Verdict: policy.Denied,
			Reason: "namespace:shop/web#no-admin", Policy: "shop/web", Rule: "no-admin", RequestID: "request-" + strconv.Itoa(i), Status: 403,
			AuditVerdict: policy.Allowed, AuditReason: script,
		})
	}
	l.at(noon.Add(-30 * time.Second))
	l.add(decisions.Record{
		Source: "203.0.113.77:4000", Method: "GET", Host: turned, Path: "/new", Verdict: policy.Allowed, Reason: "namespace:shop/web#read",
		Alert: decisions.Hit{Name: "odd" + script, Line: 7, Entry: script, Asked: "source"},
	})
	l.at(noon.Add(-20 * time.Second))
	l.add(decisions.Record{
		From: decisions.DNS, Listener: "shop/web/dns", Direction: policy.Egress, Verdict: policy.Denied, Reason: "feed:bad", Answer: "NXDOMAIN",
		Question: decisions.Question{Name: "bad.example.", Type: "A"}, Feed: decisions.Hit{Name: "bad", Line: 7, Entry: "bad.example", Asked: "name"},
	})
	l.at(noon.Add(-10 * time.Second))
	l.add(decisions.Record{
		From: decisions.Envoy, Listener: "shop/web/outbound", Direction: policy.Egress, Source: "192.0.2.10:40001", Destination: "203.0.113.80:443",
		ServerName: "api.example", Names: decisions.JoinLines([]string{"api.example"}), Verdict: policy.Allowed, Reason: "namespace:shop/web#api",
	})
	l.at(noon)
	l.detector.Tick()
}

func (l *lab) add(r decisions.Record) {
	r.Time, r.Workload = l.now(), "shop/web"
	if r.Listener == "" {
		r.Listener, r.Direction, r.From, r.Destination = "shop/web/http", policy.Ingress, decisions.Envoy, "192.0.2.10:8080"
	}
	l.store.Add(&r)
	l.detector.Observe(&r)
}

// newEngine lists one address and one name in a feed that denies.
func newEngine(t testing.TB) *filter.Engine {
	t.Helper()
	list := []snapshot.Feed{{Name: "bad", Action: "Deny", Direction: "Both", Loaded: true}}
	b := must[*snapshot.Builder](t)(snapshot.NewBuilder(list, snapshot.KeyOf(list)))
	for _, err := range []error{
		b.AddPrefix(0, netip.MustParsePrefix("198.51.100.0/24"), 3),
		b.AddDomain(0, []byte("bad.example"), snapshot.Self|snapshot.Below, 7),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "snapshot")
	must[snapshot.Info](t)(snapshot.Save(path, b))
	e := &filter.Engine{}
	e.Swap(must[*snapshot.Snapshot](t)(snapshot.Open(path)))
	return e
}

// get asks for a page.
func get(h http.Handler, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, http.NoBody))
	return w
}

// flowID is that of the newest flow that matches.
func (l *lab) flowID(t testing.TB, f flows.Filter) string {
	t.Helper()
	page := must[flows.Page](t)(l.store.Query(f, flows.Cursor{}, 1))
	if len(page.Flows) == 0 {
		t.Fatalf("no flow is like %+v", f)
	}
	return page.Flows[0].ID
}

// alertID is that of the newest alert.
func (l *lab) alertID(t testing.TB) string {
	t.Helper()
	page := must[anomaly.Page](t)(l.detector.Alerts(anomaly.Filter{}, "", 1))
	if len(page.Alerts) == 0 {
		t.Fatal("there is no alert")
	}
	return page.Alerts[0].ID
}
