package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/test/netlab"
)

// row is something that is done and what becomes of it.
type row struct {
	name string
	// do is WHAT at ADDRESS:PORT, see world.try. A name for an address is resolved first, and
	// so are the names behind "after".
	do string
	// want is VERDICT REASON, for a feed [NAME LINE ASKED] behind it, and for one that only
	// reports (NAME LINE ASKED).
	want string
	// view is what the client sees, where it is not what follows from want.
	view string
}

// eachFamily runs rows in all that the world has.
func (w *world) eachFamily(t *testing.T, f func(t *testing.T, f family)) {
	for _, x := range w.families {
		t.Run(x.String(), func(t *testing.T) { f(t, x) })
	}
}

// egress has the application do what the rows say.
func (s *sidecar) egress(t *testing.T, rows []row) {
	s.eachFamily(t, func(t *testing.T, f family) {
		for _, r := range rows {
			t.Run(r.name, func(t *testing.T) {
				do, names, _ := strings.Cut(r.do, " after ")
				for _, n := range strings.Fields(names) {
					if _, err := s.resolve(n, f); err != nil {
						t.Fatal(err)
					}
				}
				what, where, _ := strings.Cut(do, " at ")
				host, port, _ := strings.Cut(where, ":")
				to, err := netip.ParseAddrPort(where)
				if err == nil {
					to = netip.AddrPortFrom(f.of(host), to.Port())
				} else {
					addr, err := s.resolve(host, f)
					if err != nil {
						t.Fatal(err)
					}
					n, err := strconv.ParseUint(port, 10, 16)
					if err != nil {
						t.Fatal(err)
					}
					to = netip.AddrPortFrom(addr, uint16(n))
				}
				s.decide(t, s.Pod, application, netip.Addr{}, f, r, f.in(what), to, policy.Egress)
			})
		}
	})
}

// ingress has somebody outside do it. The address is a port of the pod, behind "from" that
// of the client.
func (s *sidecar) ingress(t *testing.T, rows []row) {
	s.eachFamily(t, func(t *testing.T, f family) {
		for _, r := range rows {
			t.Run(r.name, func(t *testing.T) {
				do, from, _ := strings.Cut(r.do, " from ")
				what, port, _ := strings.Cut(do, " at :")
				n, err := strconv.ParseUint(port, 10, 16)
				if err != nil {
					t.Fatal(err)
				}
				s.decide(t, s.Outside, root, f.of(from), f, r, f.in(what), netip.AddrPortFrom(f.of(netlab.Pod4.String()), uint16(n)), policy.Ingress)
			})
		}
	})
}

// decide does it and looks at all that there is to see: the client, the servers, the log.
func (s *sidecar) decide(t *testing.T, n *netlab.Namespace, u user, from netip.Addr, f family, r row, what string, to netip.AddrPort, way policy.Direction) {
	t.Helper()
	logged, noted := s.agent.mark(), s.mark()
	m := s.try(n, u, from, what, to)
	if m.from == "" {
		t.Fatalf("%s at %s: no connection: %s", what, to, m.view)
	}
	d, err := s.agent.find(logged, func(d *decisions.Record) bool { return d.Source == m.from })
	if err != nil {
		t.Fatalf("%s at %s: the client saw %q: %v; the log: %+v", what, to, m.view, err, s.agent.since(logged))
	}
	want := f.in(r.want)
	if got := words(&d); got != want {
		t.Errorf("%s at %s: %s, want %s\n%+v", what, to, got, want, d)
	}
	if d.Workload != node || d.Direction != way || d.Destination != to.String() {
		t.Errorf("the log says %s, %s, to %s; want %s, %s, to %s", d.Workload, d.Direction, d.Destination, node, way, to)
	}
	view := f.in(r.view)
	denied := strings.HasPrefix(want, "deny")
	kind, rest, _ := strings.Cut(what, " ")
	http := !slices.Contains([]string{"TLS", "TCP", "MUTE"}, kind)
	switch server := map[policy.Direction]string{policy.Egress: "outside", policy.Ingress: "app"}[way]; {
	case view != "":
	case denied && http:
		view = "403 " + d.Reason
		if strings.HasPrefix(m.view, "403 ") && strings.Contains(m.view, "["+d.Reason+"]") {
			view = m.view // in Envoy's words
		}
	case denied:
		view = closed
	case kind == "H2":
		view = fmt.Sprintf("%s %s GET %s", server, to, rest)
	case http:
		url, _, _ := strings.Cut(rest, " with ")
		view = fmt.Sprintf("%s %s %s %s", server, to, kind, url)
	case kind == "TLS":
		view = strings.TrimSpace(fmt.Sprintf("%s %s %s", server, to, rest))
	default:
		view = fmt.Sprintf("%s %s", server, to)
	}
	if m.view != view {
		t.Errorf("%s at %s: the client saw %q, want %q", what, to, m.view, view)
	}
	if reached := s.notes(noted); denied && len(reached) > 0 {
		t.Errorf("%s at %s was denied, and reached a server: %q", what, to, reached)
	}
}

// words are a decision as rows write it.
func words(d *decisions.Record) string {
	s := string(d.Verdict) + " " + d.Reason
	if h := d.Feed; h.Name != "" {
		s += fmt.Sprintf(" [%s %d %s]", h.Name, h.Line, h.Asked)
	}
	if h := d.Alert; h.Name != "" {
		s += fmt.Sprintf(" (%s %d %s)", h.Name, h.Line, h.Asked)
	}
	return s
}
