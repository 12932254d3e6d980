package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pavise.dev/pavise/test/netlab"
)

// closedTo tries what would be allowed and what would not, and fails if anything passes.
func (w *world) closedTo(t *testing.T, when string) {
	t.Helper()
	noted := w.mark()
	for _, f := range w.families {
		for _, what := range []string{"GET api.example/v1", "MUTE"} {
			if m := w.try(w.Pod, application, netip.Addr{}, what, netip.AddrPortFrom(f.host(10), 80)); m.view != refused && m.view != closed {
				t.Errorf("%s: %s over %s: the application saw %q", when, what, f, m.view)
			}
		}
		in := netip.AddrPortFrom(f.of(netlab.Pod4.String()), 9090)
		if m := w.try(w.Outside, root, netip.Addr{}, "MUTE", in); m.view != refused && m.view != closed {
			t.Errorf("%s: to the application over %s: somebody outside saw %q", when, f, m.view)
		}
	}
	if reached := w.notes(noted); len(reached) > 0 {
		t.Errorf("%s: something passed: %q", when, reached)
	}
}

// TestStart catches an application that leaks before its sidecar is there, and an agent
// that calls itself ready before all is in force.
func TestStart(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	w.redirect()
	w.closedTo(t, "before the sidecar")
	if m, err := w.ask("udp", "api.example", ipv4); err == nil {
		t.Errorf("before the sidecar, somebody answers: %s", said(m))
	}

	a := w.agent(agentOptions{})
	await(t, "the agent says what it waits for", func() (string, bool) {
		ok, say := a.ready()
		if ok {
			t.Fatal("the agent is ready without policies")
		}
		return say, strings.HasPrefix(say, "503 ") && strings.Contains(say, "policies: ") && strings.Contains(say, "feeds: ")
	})
	if code, say, _ := w.get("http://10.77.0.2:15021/healthz/live"); code != 200 {
		t.Errorf("it is not alive: %d %s", code, say)
	}
	w.closedTo(t, "without policies")

	w.controlPlane()
	a.awaitReady()
	addr, err := w.resolve("api.example", ipv4)
	if err != nil {
		t.Fatal(err)
	}
	if m := w.try(w.Pod, application, netip.Addr{}, "GET api.example/v1", netip.AddrPortFrom(addr, 80)); !strings.HasPrefix(m.view, "outside ") {
		t.Errorf("in force: the application saw %q", m.view)
	}
	pid := a.awaitStatus("Envoy runs", func(s *status) bool { return s.PID != 0 }).PID
	a.stop()
	if a.code() != 0 {
		t.Errorf("the agent ended with %d", a.code())
	}
	if alive(pid) {
		t.Errorf("Envoy, pid %d, outlives the agent", pid)
	}
	w.closedTo(t, "after the sidecar")
}

// TestWithoutModule catches a sidecar that opens because what asks the feeds is missing.
func TestWithoutModule(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	w.redirect()
	w.controlPlane()
	alone := filepath.Join(w.dir, "pavise") // with no module beside it
	if err := share(w.pavise, alone); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(alone, 0o755); err != nil {
		t.Fatal(err)
	}
	a := w.agent(agentOptions{binary: alone})
	if !a.ended(limit) {
		t.Fatal("an agent that is to ask the feeds starts without the module")
	}
	if a.code() != 3 || !strings.Contains(a.log.String(), "libpavise.so") {
		t.Errorf("it ended with %d: %s", a.code(), a.log)
	}

	a = w.agent(agentOptions{binary: alone, bare: true})
	await(t, "the agent says what Envoy lacks", func() (string, bool) {
		ok, say := a.ready()
		if ok {
			t.Fatal("it is ready without the module")
		}
		return say, strings.Contains(say, "policies: refused by Envoy: ")
	})
	w.closedTo(t, "without the module")
}
