package relay_test

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"pavise.dev/pavise/xds/relay"
)

// begun is a small Envoy that has all it needs, of version "1", from a scripted control
// plane.
func begun(t *testing.T, change func(*relay.Config)) (*relayed, *script, *fakeEnvoy, *planeStream) {
	t.Helper()
	dir := shortDir(t)
	s := startScript(t, dir, nil, nil)
	r := newRelay(t, dir, change)
	e := dialEnvoy(t, r.config.Socket)
	e.begin(cds, nil)
	p := s.stream()
	serveAll(e, p, "1")
	r.await(t, "version 1 is pinned", func(st relay.Status) bool { return st.InForce && st.Pinned.Digest == "1" && st.Pinned.OnDisk })
	return r, s, e, p
}

// TestAnswersAreEnvoys: what Envoy answers reaches the control plane as it is, under the
// control plane's nonces; a new stream begins with what Envoy has acknowledged.
func TestAnswersAreEnvoys(t *testing.T) {
	r, s, e, p := begun(t, nil)
	p.give(lds, "l2", "2", res(lds, "l", "2"))
	e.nack(e.expect(lds, "l@2"), "bad listener")
	if q := p.answer(lds, "l2"); q.GetErrorDetail().GetMessage() != "bad listener" || q.GetErrorDetail().GetCode() != 13 {
		t.Errorf("the refusal arrived as %v", q)
	}
	p.give(ecds, "e2", "2", res(ecds, "p", "2"))
	e.take(ecds, "p@2")
	if q := p.answer(ecds, "e2"); q.GetErrorDetail() != nil {
		t.Errorf("an ACK arrived as %v", q)
	}
	e.say(&request{TypeUrl: ecds, ResourceNamesSubscribe: []string{"q"}, ResourceNamesUnsubscribe: []string{"p"}})
	if q := p.next(); !slices.Equal(q.GetResourceNamesSubscribe(), []string{"q"}) || !slices.Equal(q.GetResourceNamesUnsubscribe(), []string{"p"}) {
		t.Errorf("what Envoy asks for arrived as %v", q)
	}
	p.give(ecds, "e3", "2", res(ecds, "q", "1"))
	e.take(ecds, "q@1")
	p.answer(ecds, "e3")

	p.finish <- status.Error(codes.Unavailable, "going away")
	p = s.stream()
	for i, want := range []struct {
		typ   string
		has   map[string]string
		names []string
	}{{cds, map[string]string{"c": "1"}, nil}, {lds, map[string]string{"l": "1"}, nil}, {ecds, map[string]string{"q": "1"}, []string{"q"}}} {
		q := p.next()
		if q.GetTypeUrl() != want.typ || !maps.Equal(q.GetInitialResourceVersions(), want.has) || !slices.Equal(q.GetResourceNamesSubscribe(), want.names) {
			t.Errorf("the new stream asks %v, and should ask %v", q, want)
		}
		if (q.GetNode() != nil) != (i == 0) || i == 0 && (q.GetNode().GetId() != node || q.GetNode().GetUserAgentName() != "envoy") {
			t.Errorf("request %d has node %v", i, q.GetNode())
		}
	}
	// That nothing has changed is no news to Envoy, and what was refused is still wanted.
	p.give(cds, "c9", "2")
	if q := p.answer(cds, "c9"); q.GetErrorDetail() != nil {
		t.Errorf("answered %v", q)
	}
	p.give(lds, "l9", "2", res(lds, "l", "2"))
	e.nack(e.expect(lds, "l@2"), "bad listener")
	if q := p.answer(lds, "l9"); q.GetErrorDetail() == nil {
		t.Errorf("answered %v", q)
	}
	if st := r.Status(); st.Counts.NACKs != 2 || st.NACK == nil || !st.Ready || st.InForce {
		t.Errorf("the status is %+v", st)
	}
	// Longer than it takes for what is in force to be pinned.
	for start := time.Now(); time.Since(start) < 500*time.Millisecond; time.Sleep(20 * time.Millisecond) {
		if st := r.Status(); st.Pinned.Digest != "1" || st.InForce {
			t.Fatalf("a set was pinned of which a part was refused: %+v", st)
		}
	}
	// Withdrawn while no stream was open: the next one says nothing about it.
	p.finish <- nil
	p = s.stream()
	for range 3 {
		p.next()
	}
	p.give(cds, "c", "3")
	p.give(lds, "l", "3")
	r.await(t, "the refusal is forgotten", func(st relay.Status) bool { return st.InForce && st.NACK == nil && st.Digest == "3" })
}

// TestRefusedTogether: of two that were refused in one response one was good, and Envoy
// may have it. After the other is mended, the good one has to be acknowledged too.
func TestRefusedTogether(t *testing.T) {
	r, s, e, p := begun(t, nil)
	p.give(lds, "l2", "2", res(lds, "l", "2"), res(lds, "m", "2"))
	e.nack(e.expect(lds, "l@2", "m@2"), "m is bad")
	p.answer(lds, "l2")
	p.give(lds, "l3", "3", res(lds, "m", "3"))
	e.take(lds, "m@3")
	p = s.stream()
	p.next()
	if q := p.next(); !maps.Equal(q.GetInitialResourceVersions(), map[string]string{"l": "1", "m": "3"}) {
		t.Errorf("the new stream begins with %v", q)
	}
	p.give(lds, "l4", "3", res(lds, "l", "2"))
	e.take(lds, "l@2")
	st := r.await(t, "all is in force and pinned", func(st relay.Status) bool { return st.InForce && st.Pinned.Digest == "3" })
	if st.NACK != nil {
		t.Errorf("the refusal is still shown: %+v", st.NACK)
	}
}

// TestHostileControlPlane sends what no control plane should. Envoy must not see it, the
// control plane must be told, and what is in force stands.
func TestHostileControlPlane(t *testing.T) {
	long := strings.Repeat("x", 1025)
	many := make([]*discoveryv3.Resource, 100_001)
	for i := range many {
		many[i] = res(lds, fmt.Sprint(i), "1")
	}
	mortal := res(lds, "l", "2")
	mortal.Ttl = durationpb.New(time.Second)
	r, _, e, p := begun(t, nil)
	for i, c := range []struct {
		response *response
		says     string
	}{
		{&response{Resources: []*discoveryv3.Resource{res(lds, "", "2")}}, "its name has 0 octets"},
		{&response{Resources: []*discoveryv3.Resource{res(lds, long, "2")}}, "its name has 1025 octets"},
		{&response{Resources: []*discoveryv3.Resource{res(lds, "good", "2"), res(lds, "l", "")}}, `"l" has a version of 0 octets`},
		{&response{Resources: []*discoveryv3.Resource{{Name: "l", Version: "2"}}}, `"l" has no body`},
		{&response{Resources: []*discoveryv3.Resource{res(cds, "l", "2")}}, `"l" is of type`},
		{&response{Resources: []*discoveryv3.Resource{res(lds, "l", "2"), res(lds, "l", "3")}}, `"l" is there twice`},
		{&response{Resources: []*discoveryv3.Resource{res(lds, "l", "2")}, RemovedResources: []string{"l"}}, `"l" is both given and removed`},
		{&response{Resources: []*discoveryv3.Resource{mortal}}, "lifetime"},
		{&response{RemovedResources: []string{""}}, "its name has 0 octets"},
		{&response{Resources: many}, "100001 resources in one response"},
		{&response{Resources: many[:100_000]}, "more than 100000 resources of type Listener"},
	} {
		c.response.TypeUrl, c.response.Nonce = lds, fmt.Sprint("h", i)
		if i > 3 {
			p.give(lds, fmt.Sprint("g", i), "1", res(lds, "l", "1")) // one that is taken, so that refusals do not slow down
			e.take(lds, "l@1")
			p.answer(lds, fmt.Sprint("g", i))
		}
		p.say(c.response)
		q := p.answer(lds, c.response.GetNonce())
		if m := q.GetErrorDetail().GetMessage(); !strings.HasPrefix(m, "relay: ") || !strings.Contains(m, c.says) {
			t.Errorf("row %d: the control plane was told %q, and should be told %q", i, m, c.says)
		}
		if st := r.Status(); st.Counts.Refused != i+1 || st.NACK == nil || !st.Ready {
			t.Errorf("row %d: the status is %+v", i, st)
		}
	}
	p.give(cds, "unasked", "1")
	p.say(&response{TypeUrl: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", Nonce: "s", Resources: many[:1]})
	r.await(t, "a type that nobody asked for is counted", func(st relay.Status) bool { return st.Counts.Ignored == 1 })
	// The last good stands, and what comes next is Envoy's next.
	p.answer(cds, "unasked")
	p.give(lds, "last", "9", res(lds, "l", "9"))
	e.take(lds, "l@9")
	p.answer(lds, "last")
	r.await(t, "the next update is in force", func(st relay.Status) bool { return st.InForce && st.Digest == "9" && st.NACK == nil })
}

// TestNACKStorm has a control plane that offers what was refused again and again.
func TestNACKStorm(t *testing.T) {
	_, _, e, p := begun(t, nil)
	start := time.Now()
	for i := range 6 {
		nonce := fmt.Sprint(i)
		p.give(lds, nonce, "2", res(lds, "l", "2"))
		e.nack(e.expect(lds, "l@2"), "no")
		p.answer(lds, nonce)
	}
	if took := time.Since(start); took < 600*time.Millisecond {
		t.Errorf("six refusals in %v: nothing slows them down", took)
	}
}

// TestStartsFromDisk has control planes that are there and of no use.
func TestStartsFromDisk(t *testing.T) {
	for name, start := range map[string]func(*testing.T, string){
		"accepts and says nothing": func(t *testing.T, dir string) { startScript(t, dir, nil, nil) },
		"accepts and does not read": func(t *testing.T, dir string) {
			l, err := net.Listen("unix", filepath.Join(dir, "plane.sock"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
		},
		"ends every stream": func(t *testing.T, dir string) {
			s := startScript(t, dir, nil, nil)
			done := make(chan struct{})
			go func() {
				for {
					select {
					case p := <-s.streams:
						p.finish <- status.Error(codes.Unauthenticated, "who are you")
					case <-done:
						return
					}
				}
			}()
			t.Cleanup(func() { close(done) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, e, _ := begun(t, nil)
			e.quit()
			r.stop()
			other := shortDir(t)
			start(t, other)
			r = newRelay(t, other, func(c *relay.Config) { c.Dir = r.config.Dir })
			e = dialEnvoy(t, r.config.Socket)
			e.begin(cds, nil)
			e.take(cds, "c@1")
			e.begin(lds, nil)
			l := e.expect(lds, "l@1")
			e.begin(ecds, nil, "p", "unknown")
			e.take(ecds, "p@1")
			e.ack(l)
			r.await(t, "it is said what is not there", func(st relay.Status) bool { return strings.Contains(st.Lacking, "unknown") })
			e.say(&request{TypeUrl: ecds, ResourceNamesUnsubscribe: []string{"unknown"}})
			st := r.await(t, "the pinned set is in force", inForce)
			if st.Source != relay.Disk || st.Digest != "1" || st.Counts.Restored != 1 || !st.Ready {
				t.Errorf("the status is %+v", st)
			}
		})
	}
}

// TestControlPlaneDiesHalfWay: what it gave until then, and what is pinned, must not be
// mixed.
func TestControlPlaneDiesHalfWay(t *testing.T) {
	r, s, e, _ := begun(t, nil)
	e.quit()
	r.await(t, "Envoy is gone", func(st relay.Status) bool { return !st.Envoy })
	e = dialEnvoy(t, r.config.Socket)
	e.begin(cds, nil)
	p := s.stream()
	p.next()
	p.give(cds, "c", "2", res(cds, "c", "2"), res(cds, "new", "2"))
	e.take(cds, "c@2", "new@2")
	e.begin(lds, nil) // and nothing comes
	e.take(cds, "c@1", "-new")
	l := e.expect(lds, "l@1")
	e.begin(ecds, nil, "p")
	e.take(ecds, "p@1")
	e.ack(l)
	p = s.stream() // on which it is told what Envoy has
	if q := p.next(); !maps.Equal(q.GetInitialResourceVersions(), map[string]string{"c": "1"}) {
		t.Errorf("the new stream begins with %v", q)
	}
	p.next()
	p.next()
	p.give(cds, "c", "2", res(cds, "c", "2"), res(cds, "new", "2"))
	e.take(cds, "c@2", "new@2")
	r.await(t, "version 2 is in force", func(st relay.Status) bool {
		return st.InForce && st.Digest == "2" && st.Source == relay.ControlPlane && st.Pinned.Digest == "2"
	})
}

// TestUnknownVersions is an Envoy that lives longer than its relay, and whose resources the
// new relay does not have: it asks for them, so that it can pin them.
func TestUnknownVersions(t *testing.T) {
	dir := shortDir(t)
	s := startScript(t, dir, nil, nil)
	r := newRelay(t, dir, nil)
	e := dialEnvoy(t, r.config.Socket)
	e.begin(cds, nil)
	e.begin(lds, map[string]string{"l": "7"})
	p := s.stream()
	p.next()
	if q := p.next(); !maps.Equal(q.GetInitialResourceVersions(), map[string]string{"l": ""}) {
		t.Errorf("asked %v", q)
	}
	p.give(cds, "c", "7")
	e.take(cds)
	st := r.await(t, "it is said what the relay lacks", func(st relay.Status) bool { return strings.Contains(st.Lacking, `"l"`) })
	if !st.Ready || st.Counts.Restored != 0 {
		t.Errorf("the status is %+v", st)
	}
	p.give(lds, "l", "7", res(lds, "l", "7"))
	e.take(lds, "l@7")
	r.await(t, "it is pinned", func(st relay.Status) bool { return st.InForce && st.Pinned.Digest == "7" })
}

// TestHostileEnvoy asks for what no Envoy should.
func TestHostileEnvoy(t *testing.T) {
	dir := shortDir(t)
	startScript(t, dir, nil, nil)
	r := newRelay(t, dir, nil)
	me := &corev3.Node{Id: node}
	for name, c := range map[string]struct {
		say  *request
		says string
	}{
		"another node":  {&request{TypeUrl: cds, Node: &corev3.Node{Id: "other/app"}}, `of node "shop/app", and not of "other/app"`},
		"no node":       {&request{TypeUrl: cds}, `and not of ""`},
		"a nameless":    {&request{TypeUrl: ecds, Node: me, ResourceNamesSubscribe: []string{""}}, "its name has 0 octets"},
		"a long name":   {&request{TypeUrl: ecds, Node: me, ResourceNamesSubscribe: []string{strings.Repeat("x", 2000)}}, "its name has 2000 octets"},
		"a long having": {&request{TypeUrl: lds, Node: me, InitialResourceVersions: map[string]string{"l": strings.Repeat("x", 2000)}}, "with 2000 octets"},
	} {
		before := r.Status().Counts.Rejected
		e := dialEnvoy(t, r.config.Socket)
		e.say(c.say)
		<-e.gone
		if s := status.Convert(e.err); s.Code() != codes.InvalidArgument || !strings.Contains(s.Message(), c.says) {
			t.Errorf("%s: the stream ended with %v", name, e.err)
		}
		r.await(t, "it is counted", func(st relay.Status) bool { return st.Counts.Rejected == before+1 && !st.Envoy })
		e.quit()
	}
	e := dialEnvoy(t, r.config.Socket)
	e.begin("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", nil, "key")
	e.begin(cds, nil)
	e.say(&request{TypeUrl: cds, ResponseNonce: "77"})
	r.await(t, "a type that is not relayed and an answer to nothing are counted", func(st relay.Status) bool { return st.Counts.Ignored == 2 })
	other := dialEnvoy(t, r.config.Socket)
	<-other.gone
	if status.Code(other.err) != codes.AlreadyExists {
		t.Errorf("a second Envoy got %v", other.err)
	}
}

// TestDiskFails: what cannot be written is kept in memory, and said.
func TestDiskFails(t *testing.T) {
	r, _, e, p := begun(t, nil)
	if err := os.RemoveAll(r.config.Dir); err != nil {
		t.Fatal(err)
	}
	p.give(ecds, "e2", "2", res(ecds, "p", "2"))
	e.take(ecds, "p@2")
	r.await(t, "the error is shown", func(st relay.Status) bool { return st.Pinned.Error != "" })
	st := r.await(t, "it is kept in memory", func(st relay.Status) bool { return st.InForce })
	if st.Pinned.Digest != "2" || st.Pinned.OnDisk || !strings.Contains(st.Pinned.Error, r.config.Dir) {
		t.Errorf("the status is %+v", st)
	}
}
