package xds_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
	"pavise.dev/pavise/xds/envoytest"
)

// model compiles YAML; ADDR and UPSTREAM in it stand for the addresses of the test.
func model(t testing.TB, s *envoytest.Shield, upstream netip.AddrPort, text string) *policy.Model {
	t.Helper()
	text = strings.NewReplacer("ADDR", s.Addr.String(), "UPSTREAM", upstream.String()).Replace(text)
	set, problems := api.Parse("test.yaml", []byte(text))
	m, more := policy.Compile(set)
	if all := slices.Concat(problems, more); api.HasErrors(all) {
		t.Fatalf("%v", all)
	}
	return m
}

const workload = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app, namespace: shop}
spec:
  inbound:
    - {name: http, address: ADDR, port: 8080, upstream: "UPSTREAM"}
    - {name: tcp, protocol: TCP, address: ADDR, port: 8081, upstream: "UPSTREAM"}
---
`

func allowPath(path string) string {
	return workload + fmt.Sprintf(`
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p, namespace: shop}
spec:
  ingress:
    - {name: path, action: Allow, ports: [{port: 8080}], http: [{paths: [{exact: %q}]}]}
    - {name: tcp, action: Allow, ports: [{port: 8081}], from: [{cidrs: [127.0.0.1, 127.0.0.%d]}]}
`, path, len(path))
}

// stats reads counters of the live Envoy.
func stats(t *testing.T, s *envoytest.Shield, filter string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), envoytest.Patience)
	defer cancel()
	b, err := s.Admin.Get(ctx, "/stats?filter="+filter)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			out[k] = v
		}
	}
	return out
}

// TestPolicyChangeDrainsNothing keeps an HTTP and a TCP connection open over a hundred
// changes of policy: neither may be closed, and each change must be in force.
func TestPolicyChangeDrainsNothing(t *testing.T) {
	s := envoytest.Start(t)
	upstream := echo(t)
	web := envoytest.Upstream(t)
	apply := func(path string) {
		m := model(t, s, web, allowPath(path))
		m.Workload("shop", "app").Listeners[1].Upstream = upstream
		s.Apply(t, m)
	}
	apply("/start")
	tcp, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}).Dial("tcp", netip.AddrPortFrom(s.Addr, 8081).String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	pingPong(t, tcp)
	c := envoytest.NewClient(t, netip.MustParseAddr("127.0.0.1"), netip.AddrPortFrom(s.Addr, 8080))
	for i := range 100 {
		path := "/" + strings.Repeat("x", i+1)
		apply(path)
		if got := c.Send("GET", "GET "+path+" HTTP/1.1\r\nHost: shop\r\n\r\n").Status; got != 200 {
			t.Fatalf("change %d is acknowledged but not in force: status %d", i, got)
		}
		pingPong(t, tcp)
	}
	st := stats(t, s, "listener_manager")
	if st["listener_manager.total_listeners_draining"] != "0" {
		t.Errorf("listeners drain: %v", st)
	}
	// One of the client, one for each look whether the listener accepts.
	if got := stats(t, s, "shop_app_http.downstream_cx_total")["http.shop_app_http.downstream_cx_total"]; got != "102" {
		t.Errorf("%s connections to the HTTP listener: the client's was not kept", got)
	}
}

func echo(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func pingPong(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(envoytest.Patience))
	if _, err := c.Write([]byte("ping")); err != nil {
		t.Fatalf("the TCP connection was drained: %v", err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || !bytes.Equal(b, []byte("ping")) {
		t.Fatalf("the TCP connection was drained: %q, %v", b, err)
	}
}

// TestUnchangedIsNotSentAgain sets the same model twice: Envoy must see no update.
func TestUnchangedIsNotSentAgain(t *testing.T) {
	s := envoytest.Start(t)
	up := envoytest.Upstream(t)
	s.Apply(t, model(t, s, up, allowPath("/a")))
	before := stats(t, s, "update_success|config_reload|version")
	s.Apply(t, model(t, s, up, allowPath("/a")))
	s.Apply(t, model(t, s, up, allowPath("/bb")))
	after := stats(t, s, "update_success|config_reload|version")
	const cds, lds = "cluster_manager.cds.update_success", "listener_manager.lds.update_success"
	if before[cds] != after[cds] {
		t.Errorf("clusters were sent again: %s, then %s", before[cds], after[cds])
	}
	if before[lds] != "1" || after[lds] != "2" {
		t.Errorf("updates of listeners: %s, then %s; want 1, then 2 (the TCP listener's tree)", before[lds], after[lds])
	}
}

// pushLog keeps what became of pushes.
type pushLog struct {
	mu  sync.Mutex
	all []string
}

func (l *pushLog) push(context.Context, string, string) xds.Push { return l }

// Ended implements xds.Push.
func (l *pushLog) Ended(o xds.Outcome, words string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, strings.TrimSpace(string(o)+" "+words))
}

func (l *pushLog) words() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.all), func(s string) bool { return s == string(xds.Away) })
}

// TestNACKKeepsLastGood offers a policy that Envoy refuses: the last good stays, the
// refusal is counted and shown in Envoy's words, and a good one mends it.
func TestNACKKeepsLastGood(t *testing.T) {
	var became pushLog
	s := envoytest.Start(t, envoytest.Pushes(became.push))
	up := envoytest.Upstream(t)
	s.Apply(t, model(t, s, up, allowPath("/good")))
	bad, err := xds.Translate(model(t, s, up, allowPath("/bad")), model(t, s, up, allowPath("/bad")).Workloads, xds.Options{Resolver: s.Resolver})
	if err != nil {
		t.Fatal(err)
	}
	var rbac httprbacv3.RBAC
	if err := bad.Extensions["shop/app/http/policy"].TypedConfig.UnmarshalTo(&rbac); err != nil {
		t.Fatal(err)
	}
	first := rbac.Matcher.GetMatcherList().Matchers[0].Predicate.GetSinglePredicate()
	first.GetValueMatch().GetSafeRegex().Regex = "(" // no expression
	broken, err := anypb.New(&rbac)
	if err != nil {
		t.Fatal(err)
	}
	bad.Extensions["shop/app/http/policy"] = &corev3.TypedExtensionConfig{Name: "shop/app/http/policy", TypedConfig: broken}
	bad.Digest = "bad"
	ctx, cancel := context.WithTimeout(context.Background(), envoytest.Patience)
	defer cancel()
	if err := s.Server.Set(ctx, envoytest.Node, bad); err != nil {
		t.Fatal(err)
	}
	err = s.Server.WaitInForce(ctx, envoytest.Node)
	if err == nil || !strings.Contains(err.Error(), "shop/app/http/policy") {
		t.Fatalf("the refusal does not name the resource: %v", err)
	}
	if st := s.Server.Status(envoytest.Node); st.NACKs != 1 || st.NACK == nil || st.NACK.Message == "" {
		t.Errorf("the refusal is not shown: %+v", st)
	}
	c := envoytest.NewClient(t, netip.MustParseAddr("127.0.0.1"), netip.AddrPortFrom(s.Addr, 8080))
	if got := c.Send("GET", "GET /good HTTP/1.1\r\nHost: shop\r\n\r\n").Status; got != 200 {
		t.Errorf("the last good policy is not in force: status %d", got)
	}
	if got := c.Send("GET", "GET /bad HTTP/1.1\r\nHost: shop\r\n\r\n").Status; got != 403 {
		t.Errorf("the refused policy let a request through: status %d", got)
	}
	s.Apply(t, model(t, s, up, allowPath("/mended")))
	if got := c.Send("GET", "GET /mended HTTP/1.1\r\nHost: shop\r\n\r\n").Status; got != 200 {
		t.Errorf("the mended policy is not in force: status %d", got)
	}
	if st := s.Server.Status(envoytest.Node); st.NACK != nil || !st.InForce() {
		t.Errorf("the refusal is still shown: %+v", st)
	}
	if got := became.words(); len(got) < 2 || !strings.HasPrefix(got[len(got)-2], "refused ") || got[len(got)-1] != "in-force" {
		t.Errorf("the pushes became %q", got)
	}
}

func read(t *testing.T, from net.IP, to netip.AddrPort) ([]byte, error) {
	t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(envoytest.Patience))
	return io.ReadAll(c)
}

// TestDeniedTCPNeverReachesUpstream: a denied client must not get the first bytes of a
// server that speaks first, and the server must see no connection.
func TestDeniedTCPNeverReachesUpstream(t *testing.T) {
	s := envoytest.Start(t)
	accepted := make(chan struct{}, 10)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- struct{}{}
			_, _ = c.Write([]byte("secret banner"))
			_ = c.Close()
		}
	}()
	m := model(t, s, netip.MustParseAddrPort(l.Addr().String()), allowPath("/a"))
	s.Apply(t, m)
	// One that is allowed, after which those of waiting for the listener are through too.
	if b, err := read(t, net.IPv4(127, 0, 0, 1), netip.AddrPortFrom(s.Addr, 8081)); string(b) != "secret banner" {
		t.Fatalf("an allowed client read %q (%v)", b, err)
	}
	for len(accepted) > 0 {
		<-accepted
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	c, err := d.Dial("tcp", netip.AddrPortFrom(s.Addr, 8081).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(envoytest.Patience))
	if b, err := io.ReadAll(c); len(b) > 0 {
		t.Errorf("a denied client read %q (%v)", b, err)
	}
	source := c.LocalAddr().String()
	got := s.Await(t, "the denied connection", func(d decisions.Record) bool { return d.Source == source })
	if got.Verdict != policy.Denied || got.Reason != "default-deny:shop/p" {
		t.Errorf("decision %+v", got)
	}
	select {
	case <-accepted:
		t.Error("the denied connection was opened upstream")
	default:
	}
}

// TestNewHeaderIsAskedFor: a rule by a header that none asked for before has Envoy log that
// header, for which it replaces one filter chain: no request fails, and no other connection is
// closed. What comes by a connection that is older is decided by the rule, and recorded without
// the header.
func TestNewHeaderIsAskedFor(t *testing.T) {
	s := envoytest.Start(t)
	upstream := echo(t)
	web := envoytest.Upstream(t)
	text := strings.Replace(workload, `UPSTREAM"}`, web.String()+`"}`, 1)
	policyOf := func(more string) *policy.Model {
		return model(t, s, upstream, text+`
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p, namespace: shop}
spec:
  ingress:
    - {name: tcp, action: Allow, ports: [{port: 8081}]}
    - {name: http, action: Allow, ports: [{port: 8080}]`+more+`}
`)
	}
	s.Apply(t, policyOf(""))
	tcp, err := net.Dial("tcp", netip.AddrPortFrom(s.Addr, 8081).String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	pingPong(t, tcp)
	c := envoytest.NewClient(t, netip.MustParseAddr("127.0.0.1"), netip.AddrPortFrom(s.Addr, 8080))
	defer c.Close()
	for i, name := range []string{"x-one", "x-two", "x-three"} {
		s.Apply(t, policyOf(fmt.Sprintf(", http: [{headers: [{name: %s, exact: yes}]}]", name)))
		id := fmt.Sprintf("asked-%d", i)
		for j, want := range map[string]int{"yes": 200, "no": 403} {
			if got := c.Send("GET", "GET / HTTP/1.1\r\nHost: shop\r\n"+name+": "+j+"\r\nx-request-id: "+id+j+"\r\n\r\n").Status; got != want {
				t.Fatalf("%s: %s gets %d", name, j, got)
			}
			s.Decision(t, id+j)
		}
		c.Close()
		if got := c.Send("GET", "GET / HTTP/1.1\r\nHost: shop\r\n"+name+": yes\r\nx-request-id: "+id+"\r\n\r\n").Status; got != 200 {
			t.Fatalf("%s: %d", name, got)
		}
		if r := s.Decision(t, id); string(r.Headers) != name+": yes" {
			t.Errorf("by a new connection is recorded %q", r.Headers)
		}
		pingPong(t, tcp)
	}
	if st := stats(t, s, "listener_manager"); st["listener_manager.total_listeners_draining"] != "0" || st["listener_manager.listener_in_place_updated"] == "0" {
		t.Errorf("listeners: %v", st)
	}
}
