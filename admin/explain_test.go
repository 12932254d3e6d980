package admin

import (
	"net/netip"
	"path/filepath"
	"testing"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

const explained = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app, namespace: shop, labels: {app: app}}
spec:
  addresses: [192.0.2.10]
  transparent: {}
  inbound: [{name: http, port: 8080, upstream: "127.0.0.1:80"}]
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: out, namespace: shop}
spec:
  selector: {matchLabels: {app: app}}
  egress:
    - {name: api, action: Allow, to: [{domains: [api.example, bad.example]}]}
`

// engine lists one address and one name in a feed that denies, and one in one that alerts.
func engine(t testing.TB) *filter.Engine {
	t.Helper()
	feeds := []snapshot.Feed{
		{Name: "bad", Action: "Deny", Direction: "Both", Loaded: true},
		{Name: "odd", Action: "Alert", Direction: "Egress", Loaded: true},
	}
	b, err := snapshot.NewBuilder(feeds, snapshot.KeyOf(feeds))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		b.AddPrefix(0, netip.MustParsePrefix("198.51.100.0/24"), 3),
		b.AddDomain(0, []byte("bad.example"), snapshot.Self|snapshot.Below, 7),
		b.AddDomain(1, []byte("api.example"), snapshot.Self, 1),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "snapshot")
	if _, err := snapshot.Save(path, b); err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var e filter.Engine
	e.Swap(s)
	return &e
}

// TestExplainAsksTheFeedsFirst: what a feed lists is denied by it, whatever the rules say;
// what is redirected is asked about as it would arrive.
func TestExplainAsksTheFeedsFirst(t *testing.T) {
	set, problems := api.Parse("t.yaml", []byte(explained))
	if api.HasErrors(problems) {
		t.Fatal(problems)
	}
	m, _ := policy.Compile(set)
	e := engine(t)
	for _, c := range []struct {
		name  string
		query Query
		want  string
		feed  *FeedHit
		alert *FeedHit
	}{
		{"a name", Query{Listener: "outbound", URL: "http://www.bad.example/x"}, "feed:bad", &FeedHit{"bad", 7, "bad.example", "host"}, nil},
		{"a name in TLS", Query{Listener: "outbound", URL: "https://www.bad.example/x"}, "feed:bad", &FeedHit{"bad", 7, "bad.example", "serverName"}, nil},
		{"an address", Query{Listener: "outbound", Destination: "198.51.100.7:22"}, "feed:bad", &FeedHit{"bad", 3, "198.51.100.0/24", "destination"}, nil},
		{"a source", Query{Listener: "http", Source: "198.51.100.7", URL: "http://shop.example/"}, "feed:bad", &FeedHit{"bad", 3, "198.51.100.0/24", "source"}, nil},
		{"an alert and an allow", Query{Listener: "outbound", URL: "http://api.example/x"}, "namespace:shop/out#api", nil, &FeedHit{"odd", 1, "api.example", "host"}},
		{"a name that nobody resolved", Query{Listener: "outbound", URL: "http://api.example/x", Names: []string{}}, "default-deny:shop/out", nil, &FeedHit{"odd", 1, "api.example", "host"}},
		{"a host without a form", Query{Listener: "outbound", URL: "http://0x7f.1/"}, "malformed-host", nil, nil},
		{"nothing is listed", Query{Listener: "http", Source: "192.0.2.7", URL: "http://shop.example/"}, "default-allow", nil, nil},
	} {
		x, err := Explain(m, set, e, c.query)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if x.ReasonID != c.want || !same(x.Feed, c.feed) || !same(x.Alert, c.alert) {
			t.Errorf("%s: %s %+v %+v, want %s %+v %+v", c.name, x.ReasonID, x.Feed, x.Alert, c.want, c.feed, c.alert)
		}
	}
	if x, err := Explain(m, set, nil, Query{Listener: "http", Source: "198.51.100.7", URL: "http://shop.example/"}); err != nil || x.ReasonID != "default-allow" {
		t.Errorf("without feeds: %+v, %v", x, err)
	}
}

func same(a, b *FeedHit) bool { return a == b || a != nil && b != nil && *a == *b }

// TestReasonsAreTheFilters: package filter knows no policies, and names its reasons itself.
func TestReasonsAreTheFilters(t *testing.T) {
	for got, want := range map[string]policy.ReasonKind{
		filter.ReasonListed: policy.ByFeed + ":", filter.ReasonNotLoaded: policy.FeedNotLoaded + ":", filter.ReasonUnavailable: policy.FeedsUnavailable,
	} {
		if got != string(want) {
			t.Errorf("%s in one package, %s in the other", got, want)
		}
	}
}
