package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"pavise.dev/pavise/test/netlab"
)

// inForceRows are asked for after each fault: what passes, and what each part denies.
var inForceRows = []row{
	{"a name that is allowed", "GET api.example/v1 at api.example:80", api, ""},
	{"another path", "GET api.example/v2 at api.example:80", byDefault, ""},
	{"a name that is denied", "TLS a.partner.example at front.evil.example:443", notEvil, ""},
	{"an address that a feed denies", "TCP at 203.0.113.66:25", "deny feed:deny [deny {2|3} destination]", ""},
	{"a Host that a feed denies", "GET bad.example/ at 203.0.113.68:80", "deny feed:deny [deny 4 host]", ""},
}

// TestFaults breaks one part after the other, in this order, and looks that what was in
// force is in force.
func TestFaults(t *testing.T) {
	s := newSidecar(t, netlab.Options{})
	inForce := func(t *testing.T) {
		t.Helper()
		s.egress(t, inForceRows)
		if m, err := s.ask("udp", "www.bad.example", ipv4); err != nil || m.Rcode != dns.RcodeNameError {
			t.Errorf("a name that a feed denies is answered: %v, %v", m, err)
		}
	}
	pid := func() int { return s.agent.awaitStatus("Envoy runs", func(s *status) bool { return s.PID != 0 }).PID }
	snapshot := filepath.Join(s.agent.state, "feeds", "feeds.snapshot")

	// killEnvoy ends Envoy by force and waits for the next; what is denied must not pass
	// meanwhile.
	killEnvoy := func(t *testing.T) {
		t.Helper()
		old := pid()
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		noted := s.mark()
		await(t, "another Envoy decides", func() (string, bool) {
			m := s.try(s.Pod, application, netip.Addr{}, "GET api.example/v2", netip.AddrPortFrom(ipv4.host(200), 80))
			return m.view, strings.HasPrefix(m.view, "403 ")
		})
		if reached := s.notes(noted); len(reached) > 0 {
			t.Errorf("while Envoy was away, something passed: %q", reached)
		}
		st := s.agent.awaitStatus("it is another", func(s *status) bool { return s.PID != 0 && s.PID != old })
		if alive(old) || st.Restarts == 0 {
			t.Errorf("pid %d was to be replaced: %+v", old, st)
		}
	}

	var removed, good string // what the module said of the snapshot that is gone, and the one in force
	t.Run("Envoy is killed", func(t *testing.T) {
		killEnvoy(t)
		s.agent.awaitReady()
		inForce(t)
	})
	t.Run("the control plane is killed", func(t *testing.T) {
		s.control.kill()
		inForce(t)
	})
	t.Run("the agent is killed", func(t *testing.T) {
		old := pid()
		s.agent.kill()
		await(t, "Envoy ends with it", func() (string, bool) { return "", !alive(old) })
		s.closedTo(t, "without an agent")
	})
	t.Run("the agent starts while the control plane is away", func(t *testing.T) {
		s.agent = s.world.agent(agentOptions{})
		s.agent.awaitReady()
		if st, err := s.agent.status(); err != nil || st.Policies.Source != "disk" {
			t.Errorf("its policies are not from disk: %+v, %v", st, err)
		}
		inForce(t)
	})
	t.Run("Envoy is killed while the control plane is away", func(t *testing.T) {
		killEnvoy(t)
		s.agent.awaitReady()
		inForce(t)
	})
	t.Run("the snapshot is removed", func(t *testing.T) {
		if err := os.Remove(snapshot); err != nil {
			t.Fatal(err)
		}
		st := s.agent.awaitStatus("the module says so", func(s *status) bool { return s.FeedsInForce.Error != "" })
		removed, good = st.FeedsInForce.Error, st.FeedsInForce.Digest
		if good == "" {
			t.Errorf("the last good is not in force: %+v", st)
		}
		inForce(t)
	})
	t.Run("there is something else in its place", func(t *testing.T) {
		replace(t, snapshot, strings.Repeat("no snapshot ", 1000))
		st := s.agent.awaitStatus("the module says so", func(s *status) bool {
			return s.FeedsInForce.Error != "" && s.FeedsInForce.Error != removed
		})
		if st.FeedsInForce.Digest != good {
			t.Errorf("the last good is not in force: %+v", st)
		}
		if in := s.agent.metric("pavise_feeds_in_force"); in != "1" {
			t.Errorf("the metrics say %q, not that one is in force", in)
		}
		inForce(t)
	})
	t.Run("and Envoy starts with that", func(t *testing.T) {
		old := pid()
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.agent.awaitStatus("another Envoy runs, without a snapshot", func(s *status) bool {
			return s.PID != 0 && s.PID != old && s.FeedsInForce.Digest == ""
		})
		await(t, "the agent is not ready", func() (string, bool) {
			ok, say := s.agent.ready()
			return say, !ok && strings.Contains(say, "feeds: ")
		})
		if in := s.agent.metric("pavise_feeds_in_force"); in != "0" {
			t.Errorf("the metrics say %q, not that none is in force", in)
		}
		await(t, "Envoy decides", func() (string, bool) {
			m := s.try(s.Pod, application, netip.Addr{}, "GET any.example/", netip.AddrPortFrom(ipv4.host(68), 80))
			return m.view, strings.HasPrefix(m.view, "403 ")
		})
		s.egress(t, []row{
			{"what no feed lists", "GET api.example/v1 at api.example:80", "deny feeds-unavailable", ""},
			{"the same by TCP", "TCP at 203.0.113.68:25", "deny feeds-unavailable", ""},
		})
	})
	t.Run("all comes back", func(t *testing.T) {
		s.agent.stop()
		s.control = s.world.controlPlane()
		s.agent = s.world.agent(agentOptions{})
		s.agent.awaitReady()
		inForce(t)
	})
}
