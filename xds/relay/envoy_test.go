package relay_test

import (
	"crypto/tls"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"pavise.dev/pavise/xds"
	"pavise.dev/pavise/xds/relay"
)

const policyName = "shop/app/http/policy"

func onDisk(r *relayed, set *xds.Resources) bool {
	st := r.Status()
	return st.Pinned.Digest == set.Digest && st.Pinned.OnDisk
}

// refusedBy makes a policy of one that Envoy refuses.
func refusedBy(t *testing.T, r *xds.Resources) *xds.Resources {
	t.Helper()
	var rbac httprbacv3.RBAC
	if err := r.Extensions[policyName].TypedConfig.UnmarshalTo(&rbac); err != nil {
		t.Fatal(err)
	}
	rbac.Matcher.GetMatcherList().Matchers[0].Predicate.GetSinglePredicate().GetValueMatch().GetSafeRegex().Regex = "(" // no expression
	broken, err := anypb.New(&rbac)
	if err != nil {
		t.Fatal(err)
	}
	out := *r
	out.Extensions = maps.Clone(r.Extensions)
	out.Extensions[policyName] = &corev3.TypedExtensionConfig{Name: policyName, TypedConfig: broken}
	out.Digest = "bad"
	return &out
}

// TestControlPlaneAway is istio 11130 and the cold start of Envoy: with the control plane
// gone, an Envoy goes on, and one that starts has the listeners of the last good.
func TestControlPlaneAway(t *testing.T) {
	dir, addr, up := shortDir(t), loopback(), upstream(t)
	ca := newAuthority(t)
	served := &tls.Config{Certificates: []tls.Certificate{ca.pair("plane.test")}, NextProtos: []string{"h2"}}
	l, err := tls.Listen("tcp", "127.0.0.1:0", served)
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	first := resources(t, addr, up, "/first")
	control := startPlane(t, dir, first, l)
	logged := &collected{}
	r := newRelay(t, dir, func(c *relay.Config) {
		c.Target, c.TLS = at, relay.TLS{CAFile: ca.file(t), ServerName: "plane.test"}
		c.AccessLog = logged.add
	})
	e := startEnvoy(t, r.config.Socket)
	decides(t, addr, "/first")
	r.await(t, "all is in force", inForce)
	until(t, "the control plane knows", func() bool { return control.Status(node).InForce() })
	until(t, "the set is on disk", func() bool { return onDisk(r, first) })
	until(t, "the request is logged", func() bool { found, _ := logged.find("/first"); return found })
	if _, named := logged.find("/first"); !named {
		t.Error("access logs do not say which listener they are of")
	}

	control.stop()
	r.await(t, "the loss is seen", func(st relay.Status) bool { return !st.Connected && st.LastError != "" })
	decides(t, addr, "/first")
	e.stop()
	r.await(t, "Envoy is gone", func(st relay.Status) bool { return !st.Envoy })
	start := time.Now()
	e = startEnvoy(t, r.config.Socket)
	decides(t, addr, "/first")
	t.Logf("a restarted Envoy decided after %v without control plane", time.Since(start).Round(time.Millisecond))
	st := r.await(t, "the pinned set is in force", inForce)
	if st.Source != relay.Disk || !st.Ready || st.Digest != first.Digest || e.get("/ready") != "LIVE\n" {
		t.Errorf("the status does not show it: %+v", st)
	}

	before := e.updates(t)
	again := func() net.Listener {
		l, err := tls.Listen("tcp", at, served)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	control = startPlane(t, dir, first, again())
	r.await(t, "the control plane is back", func(st relay.Status) bool { return st.Source == relay.ControlPlane && st.Connected })
	until(t, "the control plane knows", func() bool { return control.Status(node).InForce() })
	if after := e.updates(t); !maps.Equal(before, after) {
		t.Errorf("the same set was sent again:\n%v\n%v", before, after)
	}
	control.stop()

	second := resources(t, addr, up, "/second")
	control = startPlane(t, dir, second, again())
	r.await(t, "the control plane is back", func(st relay.Status) bool { return st.Connected })
	start = time.Now()
	until(t, "the new policy is in force", func() bool { return ask(addr, "/second") == 200 })
	// Tens of milliseconds; the bound is for a busy machine.
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the new policy took %v", took)
	} else {
		t.Logf("the new policy decided %v after the control plane was back", took.Round(time.Millisecond))
	}
	until(t, "the new set is on disk", func() bool { return onDisk(r, second) })
	const lds = "listener_manager.lds.update_success"
	if after := e.updates(t); before[lds] != after[lds] {
		t.Errorf("a change of policy updated listeners: %s, then %s", before[lds], after[lds])
	}
	until(t, "the control plane knows", func() bool { return control.Status(node).InForce() })
}

// TestRefusedUpdate offers a policy that Envoy refuses. The last good stands, through a
// restart of Envoy too, though the control plane goes on offering the bad one; the control
// plane sees the refusal, and what was refused is not pinned.
func TestRefusedUpdate(t *testing.T) {
	dir, addr, up := shortDir(t), loopback(), upstream(t)
	good := resources(t, addr, up, "/good")
	control := startPlane(t, dir, good, nil)
	// It is the refusal that has the pinned set served, not that nothing is heard.
	r := newRelay(t, dir, func(c *relay.Config) { c.FallbackAfter = time.Hour })
	e := startEnvoy(t, r.config.Socket)
	decides(t, addr, "/good")
	until(t, "the good set is pinned", func() bool { return onDisk(r, good) })

	if err := control.Set(t.Context(), node, refusedBy(t, resources(t, addr, up, "/bad"))); err != nil {
		t.Fatal(err)
	}
	until(t, "the control plane sees the refusal", func() bool { return control.Status(node).NACK != nil })
	if n := control.Status(node).NACK; n.Message == "" || len(n.Resources) != 1 || n.Resources[0] != policyName {
		t.Errorf("the control plane sees %+v", n)
	}
	st := r.Status()
	if st.NACK == nil || !strings.Contains(st.NACK.Message, "(") || st.InForce || !st.Ready || st.Counts.NACKs != 1 {
		t.Errorf("the status of the relay is %+v", st)
	}
	ext := st.Types["type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"]
	if ext.Wanted[policyName] == ext.Acked[policyName] || ext.Acked[policyName] == "" {
		t.Errorf("wanted and acknowledged are not told apart: %+v", ext)
	}
	decides(t, addr, "/good")

	e.stop()
	r.await(t, "Envoy is gone", func(st relay.Status) bool { return !st.Envoy })
	startEnvoy(t, r.config.Socket)
	decides(t, addr, "/good")
	st = r.await(t, "the refusal is known again", func(st relay.Status) bool { return st.NACK != nil && st.Connected && st.Ready })
	if st.Counts.Restored != 1 || st.Pinned.Digest != good.Digest {
		t.Errorf("the status of the relay is %+v", st)
	}
	until(t, "the control plane sees it too", func() bool { s := control.Status(node); return s.Connected && s.NACK != nil })

	if err := control.Set(t.Context(), node, resources(t, addr, up, "/mended")); err != nil {
		t.Fatal(err)
	}
	decides(t, addr, "/mended")
	r.await(t, "the refusal is forgotten", func(st relay.Status) bool { return st.InForce && st.NACK == nil })
}

// TestCorruptFile starts an Envoy without control plane and with a file that was altered:
// it waits, closed, and the status says why. With the control plane all is mended.
func TestCorruptFile(t *testing.T) {
	dir, addr, up := shortDir(t), loopback(), upstream(t)
	set := resources(t, addr, up, "/a")
	control := startPlane(t, dir, set, nil)
	r := newRelay(t, dir, nil)
	e := startEnvoy(t, r.config.Socket)
	until(t, "the set is pinned", func() bool { return onDisk(r, set) })
	e.stop()
	r.stop()
	control.stop()
	file := filepath.Join(r.config.Dir, "resources")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}

	r = newRelay(t, dir, nil)
	if st := r.Status(); !strings.Contains(st.Pinned.Error, file) || !strings.Contains(st.Pinned.Error, "altered") || st.Pinned.Digest != "" {
		t.Errorf("the file is shown as %+v", st.Pinned)
	}
	startEnvoy(t, r.config.Socket)
	st := r.await(t, "it is said why Envoy waits", func(st relay.Status) bool { return st.Envoy && strings.Contains(st.Lacking, "nothing on disk") })
	if st.Ready || st.InForce || st.Source != relay.None || ask(addr, "/a") != 0 {
		t.Errorf("it is open, or says so: %+v", st)
	}
	startPlane(t, dir, set, nil)
	decides(t, addr, "/a")
	st = r.await(t, "the set is pinned again", func(st relay.Status) bool { return st.Pinned.Digest == set.Digest && st.Pinned.Error == "" })
	if !st.Ready {
		t.Errorf("not ready: %+v", st)
	}
}

// TestNewProcess starts relay and Envoy anew without control plane, as a node that boots
// does.
func TestNewProcess(t *testing.T) {
	dir, addr, up := shortDir(t), loopback(), upstream(t)
	set := resources(t, addr, up, "/a")
	control := startPlane(t, dir, set, nil)
	r := newRelay(t, dir, nil)
	e := startEnvoy(t, r.config.Socket)
	until(t, "the set is pinned", func() bool { return onDisk(r, set) })
	control.stop()
	// The relay alone, first: Envoy keeps what it has, and the relay knows it again.
	r.stop()
	r = newRelay(t, dir, nil)
	st := r.await(t, "Envoy is back", inForce)
	if st.Source != relay.Disk || st.Counts.Restored != 0 || st.Digest != set.Digest {
		t.Errorf("an Envoy that has all was given it again: %+v", st)
	}
	decides(t, addr, "/a")
	e.stop()
	r.stop()
	r = newRelay(t, dir, nil)
	startEnvoy(t, r.config.Socket)
	decides(t, addr, "/a")
	r.await(t, "all is in force", inForce)
}

// TestSecondEnvoy is refused, and the first goes on.
func TestSecondEnvoy(t *testing.T) {
	dir, addr, up := shortDir(t), loopback(), upstream(t)
	startPlane(t, dir, resources(t, addr, up, "/a"), nil)
	r := newRelay(t, dir, nil)
	startEnvoy(t, r.config.Socket)
	decides(t, addr, "/a")
	second := startEnvoy(t, r.config.Socket)
	st := r.await(t, "the second is refused", func(st relay.Status) bool { return st.Counts.Rejected > 0 })
	if !st.InForce && st.Lacking != "all is there, since a moment" || second.get("/ready") == "LIVE\n" {
		t.Errorf("the first was disturbed, or the second served: %+v", st)
	}
	decides(t, addr, "/a")
}
