package xds_test

import (
	"flag"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/internal/policygen"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
	"pavise.dev/pavise/xds/envoytest"
)

var (
	seed      = flag.Uint64("seed", 1, "first seed of the test against a live Envoy")
	livePairs = flag.Int("live-pairs", 6_000, "pairs of policy set and request to put to a live Envoy")
)

const perLiveSet = 400

// TestEnvoyAgreesWithEvaluate puts random policies and requests to a live Envoy and
// compares verdict and reason, enforced and audited, with policy.Evaluate.
func TestEnvoyAgreesWithEvaluate(t *testing.T) {
	t.Logf("seed %d", *seed)
	hosts := map[string]string{}
	for _, base := range []string{"a.test", "b.a.test", "c.b.a.test", "d.test", "xn--bcher-kva.test", "under_score.test"} {
		hosts[base], hosts["z."+base] = "127.0.0.1", "127.0.1.7"
	}
	s := envoytest.Start(t, envoytest.Hosts(hosts))
	upstream := envoytest.Upstream(t)
	n := 0
	for sd := *seed; n < *livePairs && !t.Failed(); sd++ {
		g := policygen.New(sd)
		m, _ := policy.Compile(g.Set(int(sd*7%90) + 1))
		w := m.Workload("default", "app")
		for _, l := range w.Listeners {
			l.Address = netip.AddrPortFrom(s.Addr, l.Address.Port())
			l.Upstream = upstream
		}
		if _, err := xds.Translate(m, m.Workloads, xds.Options{Resolver: s.Resolver}); err != nil {
			continue // too many groups of Pass rules, which has a test of its own
		}
		s.Apply(t, m)
		for _, l := range w.Listeners {
			if l.Traffic != policy.TCP {
				n += compareLive(t, s, g, l, sd)
			}
		}
	}
	t.Logf("%d pairs", n)
}

type sentRequest struct {
	id   string
	req  *policy.Request
	raw  string
	resp envoytest.Response
}

func compareLive(t *testing.T, s *envoytest.Shield, g policygen.Gen, l *policy.Listener, sd uint64) int {
	t.Helper()
	clients := map[netip.Addr]*envoytest.Client{}
	var sent []sentRequest
	for i := range perLiveSet {
		req := g.HTTPRequest(l.Traffic == policy.Proxy)
		c := clients[req.Source]
		if c == nil {
			c = envoytest.NewClient(t, req.Source, l.Address)
			clients[req.Source] = c
		}
		id := fmt.Sprintf("%d-%s-%d", sd, l.Name, i)
		raw := envoytest.Wire(req, id, l.Traffic == policy.Proxy)
		sent = append(sent, sentRequest{id, req, raw, c.Send(req.HTTP.Method, raw)})
	}
	for _, c := range clients {
		c.Close()
	}
	deadline := time.Now().Add(envoytest.Patience)
	for _, x := range sent {
		checkLive(t, s, l, x, deadline)
		if t.Failed() {
			return len(sent)
		}
	}
	return len(sent)
}

func checkLive(t *testing.T, s *envoytest.Shield, l *policy.Listener, x sentRequest, deadline time.Time) {
	t.Helper()
	if x.req.HTTP.Method != "CONNECT" && l.Traffic == policy.Proxy {
		// The user part of an absolute-form target is no part of the authority.
		x.req.HTTP.Authority = strings.TrimPrefix(x.req.HTTP.Authority, "u@")
	}
	if l.Traffic == policy.Proxy {
		x.req.Destination = destinationOf(x.req.HTTP.Authority)
	}
	want := l.Evaluate(x.req)
	if want.Reason.Kind == policy.MalformedRequest || x.resp.Status == 0 || x.resp.Status == 400 {
		// Envoy's own parser refused it: no rule may have allowed it.
		if x.resp.Status != 400 && x.resp.Status != 0 && x.resp.Status != 403 {
			t.Errorf("%s: malformed, yet Envoy answered %d to\n%s", x.id, x.resp.Status, x.raw)
		}
		return
	}
	for time.Now().Before(deadline) {
		d, ok := s.ByID(x.id)
		if !ok {
			time.Sleep(time.Millisecond) // until the log arrives
			continue
		}
		if strings.HasPrefix(d.Detail, "dns_resolution_failure") {
			return // no address, no verdict
		}
		if d.Verdict != want.Verdict || d.Reason != want.Reason.String() ||
			(want.Verdict == policy.Denied) != (x.resp.Status == 403) {
			t.Errorf("%s: envoy %s %s (status %d, %s, path %s host %s), evaluate %s %s\n%s", x.id, d.Verdict, d.Reason, x.resp.Status, d.Detail, d.Path, d.Host, want.Verdict, want.Reason, x.raw)
		}
		if want.Verdict == policy.Denied && xds.ReasonIn(x.resp.Header.Get(xds.ReasonHeader)) != want.Reason.String() {
			t.Errorf("%s: the client was told %q, not %q", x.id, x.resp.Header.Get(xds.ReasonHeader), want.Reason)
		}
		if want.Audit == nil && d.AuditVerdict != "" {
			t.Errorf("%s: audit: envoy %s %s, evaluate nothing\n%s", x.id, d.AuditVerdict, d.AuditReason, x.raw)
		}
		if want.Audit != nil && d.Detail != "path_normalization_failed" &&
			(d.AuditVerdict != want.Audit.Verdict || d.AuditReason != want.Audit.Reason.String()) {
			t.Errorf("%s: audit: envoy %s %s, evaluate %s %s\n%s", x.id, d.AuditVerdict, d.AuditReason, want.Audit.Verdict, want.Audit.Reason, x.raw)
		}
		return
	}
	t.Errorf("%s: Envoy reported no decision; status %d for\n%s", x.id, x.resp.Status, x.raw)
}

// destinationOf is what the hosts file of the test says.
func destinationOf(authority string) netip.Addr {
	host, _, _ := policy.CanonicalHost(authority)
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return a
	}
	if strings.HasPrefix(host, "z.") {
		return netip.MustParseAddr("127.0.1.7")
	}
	return netip.MustParseAddr("127.0.0.1")
}
