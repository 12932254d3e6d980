package extauthz

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"pavise.dev/pavise/internal/servertls"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

// check reads attributes as Envoy's documentation writes them.
func check(t testing.TB, attributes string) *authv3.CheckRequest {
	t.Helper()
	r := &authv3.CheckRequest{}
	must(t, prototext.Unmarshal([]byte("attributes {"+attributes+"}"), r))
	return r
}

func from(addr string) string {
	return fmt.Sprintf("source { address { socket_address { address: %q port_value: 7 } } } ", addr)
}

func to(addr string) string {
	return fmt.Sprintf("destination { address { socket_address { address: %q port_value: 443 } } } ", addr)
}

func forHost(host string) string {
	return fmt.Sprintf(`request { http { method: "GET" path: "/p?q=1" host: %q } } `, host)
}

func sni(name string) string { return fmt.Sprintf("tls_session { sni: %q } ", name) }

const (
	egress  = `context_extensions { key: "pavise-direction" value: "egress" } `
	ingress = `context_extensions { key: "pavise-direction" value: "ingress" } `
)

// verdict is a response in short: pass, or what Envoy, the client and the log are told.
func verdict(r *authv3.CheckResponse) string {
	var b strings.Builder
	switch codes.Code(r.GetStatus().GetCode()) {
	case codes.OK:
		if r.GetOkResponse() == nil {
			return "OK without a response"
		}
		if r.GetDynamicMetadata() == nil {
			return "pass"
		}
		b.WriteString("pass")
	case codes.PermissionDenied:
		b.WriteString("deny")
		if d := r.GetDeniedResponse(); d != nil {
			h := d.GetHeaders()[0].GetHeader()
			fmt.Fprintf(&b, " %d %s: %s %q", d.GetStatus().GetCode(), h.GetKey(), h.GetValue(), d.GetBody())
		}
	default:
		return r.String()
	}
	f := r.GetDynamicMetadata().GetFields()[MetadataKey].GetStructValue().GetFields()
	for _, k := range []string{"action", "reason", "feed", "line", "entry", "asked"} {
		if v := f[k].GetStringValue(); v != "" {
			fmt.Fprintf(&b, " %s=%s", k, v)
		}
	}
	return b.String()
}

func TestCheck(t *testing.T) {
	deny := func(reason, more string) string {
		return fmt.Sprintf("deny 403 x-pavise-reason: %s %q action=deny reason=%s%s", reason, "denied by Pavise: "+reason+"\n", reason, more)
	}
	const (
		malformed = "malformed-host"
		open      = "feeds-unavailable"
	)
	for _, c := range []struct {
		name, attributes, want string
		failed                 bool // and so decided by the fail mode
	}{
		{name: "a source that is listed", attributes: from("127.66.1.2") + forHost("a.example"), want: deny("feed:bots", " feed=bots line=1 entry=127.66.0.0/16 asked=source")},
		{name: "a mapped one", attributes: from("::ffff:127.66.1.2") + forHost("a.example"), want: deny("feed:bots", " feed=bots line=1 entry=127.66.0.0/16 asked=source")},
		{name: "one that alerts", attributes: from("127.67.1.2") + forHost("a.example"), want: "pass action=alert reason=feed:watched feed=watched line=1 entry=127.67.0.0/16 asked=source"},
		{name: "another", attributes: from("127.68.1.2") + forHost("a.example"), want: "pass"},
		{name: "a connection", attributes: from("127.66.1.2"), want: "deny action=deny reason=feed:bots feed=bots line=1 entry=127.66.0.0/16 asked=source"},
		{name: "IPv6 with a zone", attributes: from("fe80::1%eth0"), want: "pass"},
		{name: "coming in, the host is not asked about", attributes: from("10.0.0.1") + forHost("evil.example"), want: "pass"},
		{name: "coming in, a host without a usual form is the server's", attributes: from("10.0.0.1") + forHost("a..b"), want: "pass"},
		{name: "ingress by name", attributes: ingress + from("127.66.1.2"), want: "deny action=deny reason=feed:bots feed=bots line=1 entry=127.66.0.0/16 asked=source"},

		{name: "a host", attributes: egress + from("127.66.1.2") + forHost("WWW.Evil.Example.:8443"), want: deny("feed:bots", " feed=bots line=3 entry=evil.example asked=host")},
		{name: "a host that alerts", attributes: egress + forHost("seen.example"), want: "pass action=alert reason=feed:watched feed=watched line=2 entry=seen.example asked=host"},
		{name: "a host that is an address", attributes: egress + forHost("127.66.1.2:80"), want: deny("feed:bots", " feed=bots line=1 entry=127.66.0.0/16 asked=host")},
		{name: "a destination", attributes: egress + to("127.77.0.1"), want: "deny action=deny reason=feed:bots feed=bots line=2 entry=127.77.0.1/32 asked=destination"},
		{name: "a server name", attributes: egress + to("10.0.0.1") + sni("Evil.Example"), want: "deny action=deny reason=feed:bots feed=bots line=3 entry=evil.example asked=serverName"},
		{name: "fronting: server name is fine, host is not", attributes: egress + sni("fine.example") + forHost("evil.example"), want: deny("feed:bots", " feed=bots line=3 entry=evil.example asked=host")},
		{name: "going out, the source is not asked about", attributes: egress + from("127.66.1.2") + forHost("a.example"), want: "pass"},
		{name: "an empty host", attributes: egress + forHost(""), want: deny(malformed, "")},
		{name: "0177.0.0.1 is 127.0.0.1 to some", attributes: egress + forHost("0177.66.1.2"), want: deny(malformed, "")},
		{name: "a mapped address as host", attributes: egress + forHost("[::ffff:127.66.1.2]"), want: deny(malformed, "")},
		{name: "two hosts in one", attributes: egress + forHost("a.example,evil.example"), want: deny(malformed, "")},
		{name: "a user in the host", attributes: egress + forHost("user@evil.example"), want: deny(malformed, "")},
		{name: "a host of 64 KiB", attributes: egress + forHost(strings.Repeat("a", 64<<10)), want: deny(malformed, "")},
		{name: "a host of 254 octets", attributes: egress + forHost(strings.Repeat("a.", 127)), want: "pass"}, // 253 and a dot
		{name: "a host of 255 octets", attributes: egress + forHost(strings.Repeat("a.", 127)+"b"), want: deny(malformed, "")},
		{name: "a server name with a port", attributes: egress + sni("evil.example:443"), want: "deny action=deny reason=malformed-host"},
		{name: "a server name with a control character", attributes: egress + sni("evil.example\x00.fine.example"), want: "deny action=deny reason=malformed-host"},

		{name: "no source", attributes: forHost("a.example"), want: "pass"},
		{name: "a pipe as source", attributes: `source { address { pipe { path: "@/var/run/x" } } } ` + forHost("a.example"), want: "pass"},
		{name: "an address within Envoy as source", attributes: `source { address { envoy_internal_address { server_listener_name: "connect_originate" } } }`, want: "pass"},
		{name: "a source that is no address", attributes: from("999.1.1.1") + forHost("a.example"), want: deny(open, ""), failed: true},
		{name: "a source of 64 KiB", attributes: from(strings.Repeat("1", 64<<10)) + forHost("a.example"), want: deny(open, ""), failed: true},
		{name: "a destination that is a name", attributes: egress + to("db.internal"), want: "deny action=deny reason=feeds-unavailable", failed: true},
		{name: "another direction", attributes: `context_extensions { key: "pavise-direction" value: "Egress" } ` + forHost("a.example"), want: deny(open, ""), failed: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, missing := range []filter.Missing{filter.Closed, filter.Open} {
				s := serve(t, Config{Engine: &filter.Engine{Missing: missing}, Logger: logger(t)}, lists...)
				want := c.want
				if c.failed && missing == filter.Open {
					want = "pass"
				}
				r, err := s.Check(t.Context(), check(t, c.attributes))
				must(t, err)
				if got := verdict(r); got != want {
					t.Errorf("missing %d: %s\nwant %s", missing, got, want)
				}
				if got := s.Stats().Failed == 1; got != c.failed {
					t.Errorf("%+v", s.Stats())
				}
			}
		})
	}
}

// TestNoAttributes: what Envoy never sends is decided by the fail mode.
func TestNoAttributes(t *testing.T) {
	for missing, want := range []string{"pass", "deny action=deny reason=feeds-unavailable"} {
		s := serve(t, Config{Engine: &filter.Engine{Missing: filter.Missing(missing)}}, lists...)
		r, err := s.Check(t.Context(), &authv3.CheckRequest{})
		must(t, err)
		if got := verdict(r); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestNoSnapshot: without one, the fail mode decides and the server is not ready.
func TestNoSnapshot(t *testing.T) {
	for missing, want := range []string{"pass", "deny action=deny reason=feeds-unavailable"} {
		s := serve(t, Config{Engine: &filter.Engine{Missing: filter.Missing(missing)}})
		r, err := s.Check(t.Context(), check(t, from("10.0.0.1")))
		must(t, err)
		if got := verdict(r); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if s.Ready() {
			t.Error("ready")
		}
	}
}

func TestDefaultDirection(t *testing.T) {
	s := serve(t, Config{Direction: filter.Egress}, lists...)
	r, err := s.Check(t.Context(), check(t, forHost("evil.example")))
	must(t, err)
	if got := verdict(r); !strings.HasPrefix(got, "deny 403 x-pavise-reason: feed:bots") {
		t.Error(got)
	}
	got := s.last()
	if got.Direction != policy.Egress || got.Verdict != policy.Denied || got.Reason != "feed:bots" || got.Feed.Entry != "evil.example" ||
		got.Feed.Line != 3 || got.Feed.Asked != "host" || got.Path != "/p" || got.Method != http.MethodGet || got.Host != "evil.example" || got.Status != 403 {
		t.Errorf("%+v", got)
	}
	r, err = s.Check(t.Context(), check(t, ingress+from("127.67.0.1")+forHost("evil.example")))
	must(t, err)
	if got := s.last(); verdict(r)[:4] != "pass" || got.Verdict != policy.Allowed || got.Alert.Name != "watched" || got.Source != "127.67.0.1:7" || got.Direction != policy.Ingress {
		t.Errorf("%+v", got)
	}
}

// TestForwardedFor would catch a client that chooses its own address.
func TestForwardedFor(t *testing.T) {
	for _, c := range []struct {
		n      int
		header string
		denied bool
	}{
		{0, "127.66.0.1", false},
		{1, "127.66.0.1", true},
		{1, "127.66.0.1, 10.0.0.9", false},
		{2, "127.66.0.1, 10.0.0.9", true},
		{2, "10.0.0.7,127.66.0.1 ,10.0.0.9", true},
		{2, "127.66.0.1, 10.0.0.7, 10.0.0.9", false},
		{2, "127.66.0.1:51000, 10.0.0.9", true},
		{2, "::ffff:127.66.0.1, 10.0.0.9", true},
		{2, "[::ffff:127.66.0.1]:5, 10.0.0.9", true},
		{2, "127.66.0.1", false}, // not so many: the connection's
		{2, "unknown, 10.0.0.9", false},
		{2, strings.Repeat("1", 70) + ", 10.0.0.9", false},
		{1, "", false},
		{3, ",,", false},
	} {
		s := serve(t, Config{ForwardedFor: c.n}, lists...)
		r, err := s.Check(t.Context(), check(t, from("10.0.0.1")+fmt.Sprintf(`request { http { headers { key: "x-forwarded-for" value: %q } } }`, c.header)))
		must(t, err)
		if got := verdict(r) != "pass"; got != c.denied {
			t.Errorf("place %d of %q: denied %v, want %v", c.n, c.header, got, c.denied)
		}
	}
	s := serve(t, Config{ForwardedFor: 2}, lists...)
	r, err := s.Check(t.Context(), check(t, from("127.66.0.1")+`request { http { headers { key: "x-forwarded-for" value: "x" } } }`))
	must(t, err)
	if verdict(r) == "pass" {
		t.Error("the address of the connection is not asked about where the header has none")
	}
}

// client speaks gRPC to a server.
func client(t testing.TB, s *serving) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient("unix:"+s.config.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// raw sends octets as they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return v.([]byte), nil }

func (raw) Unmarshal(b []byte, v any) error { return proto.Unmarshal(b, v.(proto.Message)) }

func (raw) Name() string { return "proto" }

func checkRaw(t testing.TB, c *grpc.ClientConn, b []byte) (*authv3.CheckResponse, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r := &authv3.CheckResponse{}
	return r, c.Invoke(ctx, authv3.Authorization_Check_FullMethodName, b, r, grpc.ForceCodec(raw{}))
}

// TestNotUTF8 would catch a check that is refused for one octet of the client's, which
// Envoy takes for a server that is away.
func TestNotUTF8(t *testing.T) {
	s := serve(t, Config{}, lists...)
	c := client(t, s)
	for _, attributes := range []string{
		from("127.66.0.1") + sni("xxyyzz"),
		from("127.66.0.1") + forHost("xxyyzz"),
		from("127.66.0.1") + `metadata_context { filter_metadata { key: "k" value { fields { key: "xxyyzz" value { string_value: "xxyyzz" } } } } }`,
	} {
		b, err := proto.Marshal(check(t, attributes))
		must(t, err)
		r, err := checkRaw(t, c, []byte(strings.ReplaceAll(string(b), "xxyyzz", "\xff\xc3x\xed\xa0\x80")))
		if err != nil || !strings.Contains(verdict(r), "reason=feed:bots") {
			t.Errorf("%s: %v, %s", attributes, err, verdict(r))
		}
	}
	b, err := proto.Marshal(check(t, egress+sni("xxyyzz")))
	must(t, err)
	r, err := checkRaw(t, c, []byte(strings.ReplaceAll(string(b), "xxyyzz", "evil\xff\xff")))
	if err != nil || verdict(r) != "deny action=deny reason=malformed-host" {
		t.Errorf("%v, %s", err, verdict(r))
	}
	if _, err := checkRaw(t, c, []byte{0x0a, 0xff}); status.Code(err) != codes.Internal {
		t.Errorf("what is no message: %v", err)
	}
}

// TestPanic: whatever panics, the fail mode decides, the server goes on, and says so.
func TestPanic(t *testing.T) {
	for missing, want := range []string{"pass", "deny action=deny reason=feeds-unavailable"} {
		s := serve(t, Config{Engine: &filter.Engine{Missing: filter.Missing(missing)}, Logger: logger(t)}, lists...)
		s.config.Engine = nil
		c := client(t, s)
		b, err := proto.Marshal(check(t, from("10.0.0.1")))
		must(t, err)
		for range 3 {
			r, err := checkRaw(t, c, b)
			if err != nil || verdict(r) != want {
				t.Errorf("%v, %s, want %s", err, verdict(r), want)
			}
		}
		if got := s.Stats(); got.Failed != 3 || got.Checks != 3 {
			t.Errorf("%+v", got)
		}
		if _, err := healthv1.NewHealthClient(c).Check(t.Context(), &healthv1.HealthCheckRequest{}); status.Code(err) != codes.Internal {
			t.Errorf("a probe that panics: %v", err)
		}
	}
	s := serve(t, Config{Logger: logger(t)}, lists...)
	report := s.config.Decisions
	s.config.Decisions = func(decision) { report(decision{}); panic("no disk") }
	r, err := s.Check(t.Context(), check(t, from("127.66.0.1")))
	if must(t, err); !strings.Contains(verdict(r), "feed:bots") {
		t.Errorf("who is told of decisions changes them: %s", verdict(r))
	}
}

// TestBounds: a message may be as long as it is said, and no longer.
func TestBounds(t *testing.T) {
	s := serve(t, Config{MaxMessage: 64 << 10}, lists...)
	c := client(t, s)
	for n, want := range map[int]codes.Code{60 << 10: codes.OK, 65 << 10: codes.ResourceExhausted} {
		b, err := proto.Marshal(check(t, from("127.66.0.1")+fmt.Sprintf(`request { http { headers { key: "x" value: %q } } }`, strings.Repeat("x", n))))
		must(t, err)
		if _, err := checkRaw(t, c, b); status.Code(err) != want {
			t.Errorf("a header of %d octets: %v, want %s", n, err, want)
		}
	}
}

func TestHealth(t *testing.T) {
	s := serve(t, Config{})
	h := healthv1.NewHealthClient(client(t, s))
	ask := func(service string) string {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		r, err := h.Check(ctx, &healthv1.HealthCheckRequest{Service: service})
		if err != nil {
			return status.Code(err).String()
		}
		return r.GetStatus().String()
	}
	expect := func(service, want string) {
		t.Helper()
		if got := ask(service); got != want {
			t.Errorf("%q: %s, want %s", service, got, want)
		}
	}
	expect("", "NOT_SERVING")
	s.engine.Swap(load(t, lists...))
	expect("", "SERVING")
	expect("envoy.service.auth.v3.Authorization", "SERVING")
	expect("other", "NotFound")
	s.engine.Swap(nil)
	expect("", "NOT_SERVING")
}

// TestStop: a check under way is answered, and what comes later is told to go elsewhere.
func TestStop(t *testing.T) {
	engine := &filter.Engine{}
	engine.Swap(load(t, lists...))
	entered, leave := make(chan struct{}), make(chan struct{})
	s := serve(t, Config{Engine: engine})
	s.config.Decisions = func(decision) {
		close(entered)
		<-leave
	}
	c := client(t, s)
	b, err := proto.Marshal(check(t, from("127.66.0.1")))
	must(t, err)
	got := make(chan string, 1)
	go func() {
		r, err := checkRaw(t, c, b)
		got <- fmt.Sprint(err, " ", verdict(r)[:4])
	}()
	<-entered
	stopped := make(chan struct{})
	go func() {
		s.stop()
		close(stopped)
	}()
	for s.Ready() {
		time.Sleep(time.Millisecond) // between two looks
	}
	close(leave)
	if g := <-got; g != "<nil> deny" {
		t.Errorf("a check under way: %s", g)
	}
	<-stopped
}

func TestConfig(t *testing.T) {
	e := &filter.Engine{}
	for _, c := range []struct {
		c    Config
		want string
	}{
		{Config{Socket: "/run/x"}, "no engine"},
		{Config{Engine: e}, "a socket or an address"},
		{Config{Engine: e, Socket: "/run/x", Address: ":1"}, "a socket or an address"},
		{Config{Engine: e, Socket: "/run/x", TLS: &servertls.Files{}}, "TLS is for an address"},
		{Config{Engine: e, Socket: strings.Repeat("/x", 60)}, "has 120 octets"},
		{Config{Engine: e, Socket: "/run/x", SocketMode: 0o1777}, "socket mode"},
		{Config{Engine: e, Socket: "/run/x", MaxMessage: 4}, "messages of 4 octets: want 65536 to 16777216"},
		{Config{Engine: e, Socket: "/run/x", MaxConnections: -1}, "-1 connections"},
		{Config{Engine: e, Socket: "/run/x", ForwardedFor: 17}, "place 17"},
		{Config{Engine: e, Socket: "/run/x", Direction: 7}, "direction 7"},
		{Config{Engine: e, Address: "localhost"}, `address "localhost": want HOST:PORT`},
		{Config{Engine: e, Address: ":1", TLS: &servertls.Files{Certificate: "x"}}, "a certificate and its key"},
		{Config{Engine: e, Address: ":1", TLS: &servertls.Files{Certificate: "/none", Key: "/none"}}, "/none: no such file"},
	} {
		if _, err := New(c.c); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// TestPassDoesNotChange: the answer that all share is the same after all that was done.
func TestPassDoesNotChange(t *testing.T) {
	if got := verdict(passed); got != "pass" || len(passed.GetOkResponse().GetHeaders()) != 0 {
		t.Error(got)
	}
}

func TestPassAllocations(t *testing.T) {
	s := serve(t, Config{}, lists...)
	in, out := check(t, from("10.0.0.1")+forHost("a.example")), check(t, egress+to("10.0.0.1")+forHost("a.example:443")+sni("a.example"))
	for _, r := range []*authv3.CheckRequest{in, out} {
		if n := testing.AllocsPerRun(500, func() { _, _ = s.Check(context.Background(), r) }); n > 0 && !raceDetector {
			t.Errorf("a check that passes allocates %v times", n)
		}
	}
}

// FuzzFacts would catch attributes that panic, whatever somebody who is no Envoy sends.
func FuzzFacts(f *testing.F) {
	for _, a := range []string{from("127.66.0.1") + forHost("a.example"), egress + to("::1") + sni("b.example"), `source { address { pipe { path: "x" } } }`} {
		b, err := proto.Marshal(check(f, a))
		must(f, err)
		f.Add(b)
	}
	engine := &filter.Engine{Missing: filter.Closed}
	engine.Swap(load(f, lists...))
	s, err := New(Config{Engine: engine, Socket: "/run/x", ForwardedFor: 2, Decisions: func(decision) {}})
	must(f, err)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &authv3.CheckRequest{}
		if proto.Unmarshal(b, r) != nil {
			if repair(b, r.ProtoReflect().Descriptor(), 0) != nil {
				return
			}
			if proto.Unmarshal(b, r) != nil {
				return
			}
		}
		resp, err := s.Check(context.Background(), r)
		if err != nil || resp.GetStatus() == nil {
			t.Errorf("%v %v", resp, err)
		}
		if _, err := proto.Marshal(resp); err != nil {
			t.Errorf("an answer that Envoy cannot read: %v", err)
		}
	})
}
