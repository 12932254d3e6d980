package explain

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/policygen"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
	"pavise.dev/pavise/xds/envoytest"
)

var (
	seed     = flag.Uint64("seed", uint64(time.Now().UnixNano()%1e9), "first seed")
	recorded = flag.Int("recorded", 10_000, "how many decisions to have recorded")
)

const perSet = 400

// TestEveryRecordedFlow: whatever a live Envoy decided on random requests under random
// policies, what was recorded of it is explained with the verdict and the reason that were
// enforced, of the audited policies too. A fact that decides and is not recorded fails here.
func TestEveryRecordedFlow(t *testing.T) {
	t.Logf("seed %d", *seed)
	hosts := map[string]string{}
	for _, base := range []string{"a.test", "b.a.test", "c.b.a.test", "d.test", "xn--bcher-kva.test", "under_score.test"} {
		hosts[base], hosts["z."+base] = "127.0.0.1", "127.0.1.7"
	}
	s := envoytest.Start(t, envoytest.Hosts(hosts))
	upstream := envoytest.Upstream(t)
	n, unasked := 0, map[string]int{}
	for sd := *seed; n < *recorded && !t.Failed(); sd++ {
		g := policygen.New(sd)
		m, _ := policy.Compile(g.Set(int(sd%90) + 1))
		for _, l := range m.Workload("default", "app").Listeners {
			l.Address, l.Upstream = netip.AddrPortFrom(s.Addr, l.Address.Port()), upstream
		}
		if _, err := xds.Translate(m, m.Workloads, xds.Options{Resolver: s.Resolver}); err != nil {
			continue // too many groups of Pass rules
		}
		s.Apply(t, m)
		store, err := flows.New(flows.Config{})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range m.Workload("default", "app").Listeners {
			for _, r := range record(t, s, g, l, sd) {
				e, err := admin.Explain(m, nil, nil, admin.Query{Record: &r})
				check(t, sd, &r, e, err)
				if err == nil && e.Decided.Unasked != "" {
					unasked[r.Reason]++
				}
				store.Add(&r)
				n++
			}
		}
		for f := range store.All(flows.Filter{}) {
			e, err := admin.Explain(m, nil, nil, admin.Query{Record: &f.Example})
			check(t, sd, &f.Example, e, err)
			if f.Verdict != f.Example.Verdict || f.Reason != f.Example.Reason {
				t.Errorf("the example of flow %+v is another's: %+v", f.Key, f.Example)
			}
		}
	}
	t.Logf("%d decisions; of them no rule was asked about: %v", n, unasked)
	for reason, k := range unasked {
		if k > n/20 {
			t.Errorf("%d of %d are explained by their own record: %s", k, n, reason)
		}
	}
}

func check(t *testing.T, sd uint64, r *decisions.Record, e *admin.Explanation, err error) {
	t.Helper()
	line, _ := r.MarshalJSON()
	switch {
	case err != nil:
		t.Errorf("seed %d: %v\n%s", sd, err, line)
	case e.Verdict != r.Verdict || e.ReasonID != r.Reason || e.Decided.Changed:
		t.Errorf("seed %d: explained as %s %s\n%s\n%+v", sd, e.Verdict, e.ReasonID, line, e.Trace)
	case e.Decided.Unasked != "" || r.AuditReason == "":
	case e.Audit == nil || e.Audit.Verdict != r.AuditVerdict || e.Audit.Reason.String() != r.AuditReason:
		t.Errorf("seed %d: audit explained as %+v\n%s", sd, e.Audit, line)
	}
}

// record sends requests or connections to a listener and returns what was recorded of them.
func record(t *testing.T, s *envoytest.Shield, g policygen.Gen, l *policy.Listener, sd uint64) (out []decisions.Record) {
	t.Helper()
	if l.Traffic == policy.TCP {
		return connect(t, s, g, l)
	}
	clients := map[netip.Addr]*envoytest.Client{}
	var ids []string
	for i := range perSet {
		req := g.HTTPRequest(l.Traffic == policy.Proxy)
		c := clients[req.Source]
		if c == nil {
			c = envoytest.NewClient(t, req.Source, l.Address)
			clients[req.Source] = c
		}
		id := fmt.Sprintf("%d-%s-%d", sd, l.Name, i)
		switch c.Send(req.HTTP.Method, envoytest.Wire(req, id, l.Traffic == policy.Proxy)).Status {
		case 0, 400: // Envoy's parser refused it, before it knew an id
		default:
			ids = append(ids, id)
		}
	}
	for _, c := range clients {
		c.Close()
	}
	for _, id := range ids {
		deadline := time.Now().Add(envoytest.Patience)
		for {
			if r, ok := s.ByID(id); ok {
				r.Bound()
				out = append(out, r)
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: Envoy reported no decision", id)
			}
			time.Sleep(time.Millisecond) // until the log arrives
		}
	}
	return out
}

// connected has the sources of connections that were opened.
var connected = map[string]bool{}

// connect opens connections to a listener that recognises nothing in them.
func connect(t *testing.T, s *envoytest.Shield, g policygen.Gen, l *policy.Listener) (out []decisions.Record) {
	t.Helper()
	var sources []string
	for range perSet / 10 {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(g.HTTPRequest(false).Source, 0)), Timeout: envoytest.Patience}
		c, err := d.Dial("tcp", l.Address.String())
		if err != nil {
			t.Fatal(err)
		}
		if source := c.LocalAddr().String(); !connected[source] { // its port may come again
			connected[source] = true
			sources = append(sources, source)
		}
		_ = c.Close()
	}
	for _, source := range sources {
		r := s.Await(t, "connection from "+source, func(r decisions.Record) bool {
			return r.Source == source && r.Listener == "default/app/tcp"
		})
		r.Bound()
		out = append(out, r)
	}
	return out
}
