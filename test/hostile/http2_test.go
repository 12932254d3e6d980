package hostile

import (
	"bufio"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

func TestHTTP2(t *testing.T) {
	l := start(t, openPolicies)
	method := func(m, path string) *h2Request {
		return h2(":method", m, ":scheme", "http", ":authority", "a.test", ":path", path)
	}
	long := func(n int) string { return strings.Repeat("a", n) }
	var many []string
	for i := range 101 {
		many = append(many, "x-h"+long(i), "1")
	}
	body := func(r *h2Request, b string) *h2Request { r.body = b; return r }
	trailers := func(r *h2Request, pairs ...string) *h2Request { r.trailers = fields(pairs...); return r }
	rows := []row{
		{name: "prior knowledge", h2: h2get("/x", "a.test"), want: passes, why: "the plain case"},
		{name: "denied", h2: h2get("/admin", "a.test"), want: denied, why: "the plain case"},
		{name: "body", h2: body(method("POST", "/x"), "hello"), want: passes, why: "the plain case"},

		// Paths are as in HTTP/1.1, except that raw octets are escaped.
		{name: "dot segments", h2: h2get("/x/%2e./admin", "a.test"), want: denied, why: "resolved"},
		{name: "slashes", h2: h2get("//admin", "a.test"), want: denied, why: "merged"},
		{name: "backslash", h2: h2get(`/x\..\admin`, "a.test"), want: denied, why: "a slash"},
		{name: "escaped slash", h2: h2get("/x%2f..%2fadmin", "a.test"), want: deny("ambiguous-path"), why: "refused by name"},
		{name: "raw UTF-8", h2: h2get("/café", "a.test"), want: passes, why: "escaped, for the workload too"},
		{name: "raw overlong slash", h2: h2get("/adm\xc0\xafin", "a.test"), want: deny("ambiguous-path"), why: "escaped, and then refused by name"},
		{name: "fragment", h2: h2get("/x#y", "a.test"), want: deny("ambiguous-path"), why: "CVE-2021-39156"},
		{name: "fragment after", h2: h2get("/admin#", "a.test"), want: deny("ambiguous-path"), why: "the same"},
		{name: "tab", h2: h2get("/admin\t", "a.test"), want: malformed(policy.MalformedRequest, 0), why: "no path"},
		{name: "space", h2: h2get("/admin ", "a.test"), want: malformed(policy.MalformedRequest, 0), why: "splits a request line"},
		{name: "NUL", h2: h2get("/admin\x00", "a.test"), want: malformed(policy.MalformedRequest, 0), why: "ends a string in C"},
		{name: "CR LF", h2: h2get("/x HTTP/1.1\r\nx: y", "a.test"), want: malformed(policy.MalformedRequest, 0), why: "splits lines once it is HTTP/1.1"},
		{name: "DEL", h2: h2get("/x\x7f", "a.test"), want: malformed(policy.MalformedRequest, 0), why: "no path"},
		{name: "no slash", h2: h2get("admin", "a.test"), want: malformed(policy.MalformedRequest, 0), why: "no path"},
		{name: "empty", h2: h2get("", "a.test"), want: malformed(policy.MalformedRequest, 0), why: "no path"},
		{name: "absolute-form", h2: h2get("http://b.test/x", "a.test"), want: malformed(policy.MalformedRequest, 0), why: "two hosts"},
		{name: "asterisk", h2: method("OPTIONS", "*"), want: malformed(policy.MalformedRequest, 404), why: "Envoy takes paths only"},

		// Fields that HTTP/1.1 would read in another way.
		{name: "CR LF in a value", h2: h2get("/x", "a.test", "x-a", "b\r\nx-role: evil"), want: refused(0), why: "splits lines once it is HTTP/1.1"},
		{name: "LF in a value", h2: h2get("/x", "a.test", "x-a", "b\nx-role: evil"), want: refused(0), why: "the same"},
		{name: "CR in a value", h2: h2get("/x", "a.test", "x-a", "b\rx-role: evil"), want: refused(0), why: "the same"},
		{name: "NUL in a value", h2: h2get("/x", "a.test", "x-a", "b\x00"), want: refused(0), why: "the same"},
		{name: "CR LF in a name", h2: h2get("/x", "a.test", "x-a: b\r\nx-role", "evil"), want: refused(0), why: "the same"},
		{name: "colon in a name", h2: h2get("/x", "a.test", "x-role: evil", "b"), want: refused(0), why: "another name"},
		{name: "space in a name", h2: h2get("/x", "a.test", "x-role ", "evil"), want: refused(0), why: "another name"},
		{name: "capitals in a name", h2: h2get("/x", "a.test", "X-Role", "evil"), want: refused(0), why: "RFC 9113, 8.2.1"},
		{name: "empty name", h2: h2get("/x", "a.test", "", "evil"), want: refused(0), why: "no name"},
		{name: "underscore", h2: h2get("/x", "a.test", "x_role", "evil"), want: refused(0), why: "CGI makes it x-role"},
		{name: "CR LF in the method", h2: method("GET /admin HTTP/1.1\r\nx: ", "/x"), want: refused(0), why: "a request line"},
		{name: "space in the method", h2: method("GET /admin", "/x"), want: refused(0), why: "a request line"},
		{name: "CR LF in the host", h2: h2get("/x", "a.test\r\nx: y"), want: refused(0), why: "splits lines"},
		{name: "user in the host", h2: h2get("/x", "user@a.test"), want: refused(0), why: "RFC 9113, 8.3.1"},
		{name: "connection", h2: h2get("/x", "a.test", "connection", "x-role"), want: refused(0), why: "RFC 9113, 8.2.2"},
		{name: "transfer-encoding", h2: h2get("/x", "a.test", "transfer-encoding", "chunked"), want: refused(0), why: "smuggling"},
		{name: "upgrade", h2: h2get("/x", "a.test", "upgrade", "websocket"), want: refused(0), why: "the same"},
		{name: "te", h2: h2get("/x", "a.test", "te", "chunked"), want: refused(0), why: "trailers only"},
		{name: "length without a body", h2: h2get("/x", "a.test", "content-length", "5"), want: refused(0), why: "smuggling"},
		{name: "two lengths", h2: body(h2get("/x", "a.test", "content-length", "5", "content-length", "0"), "hello"), want: refused(0), why: "smuggling"},
		{name: "length with a sign", h2: body(h2get("/x", "a.test", "content-length", "+5"), "hello"), want: refused(0), why: "smuggling"},

		// Pseudo-headers.
		{name: "two paths", h2: h2get("/x", "a.test", ":path", "/admin"), want: refused(0), why: "which?"},
		{name: "two hosts", h2: h2get("/x", "a.test", ":authority", "b.test"), want: refused(0), why: "which?"},
		{name: "unknown", h2: h2get("/x", "a.test", ":role", "evil"), want: refused(0), why: "RFC 9113, 8.3"},
		{name: "after a field", h2: h2(":method", "GET", ":scheme", "http", ":authority", "a.test", "x-a", "b", ":path", "/x"), want: refused(0), why: "the same"},
		{name: "no method", h2: h2(":scheme", "http", ":authority", "a.test", ":path", "/x"), want: refused(0), why: "the same"},
		{name: "no scheme", h2: h2(":method", "GET", ":authority", "a.test", ":path", "/x"), want: refused(0), why: "the same"},
		{name: "no path", h2: h2(":method", "GET", ":scheme", "http", ":authority", "a.test"), want: refused(0), why: "the same"},
		{name: "no host", h2: h2(":method", "GET", ":scheme", "http", ":path", "/x"), want: refused(0), why: "the same"},
		{name: "status", h2: h2get("/x", "a.test", ":status", "200"), want: refused(0), why: "of a response"},
		{name: "scheme in capitals", h2: h2(":method", "GET", ":scheme", "HTTPS", ":authority", "a.test", ":path", "/x"), want: passes, why: "no rule asks for it; the workload is told http"},
		{name: "lower-case method", h2: method("delete", "/x"), want: deny("malformed-request"), why: "DELETE to some servers and another method to a rule; HTTP/1.1 refuses it"},

		// CONNECT is for a proxy.
		{name: "CONNECT", h2: h2(":method", "CONNECT", ":authority", "a.test:80"), want: deny("connect-refused"), why: "this is none"},
		{name: "CONNECT with a path", h2: h2(":method", "CONNECT", ":scheme", "http", ":authority", "a.test:80", ":path", "/x"), want: refused(0), why: "RFC 9113, 8.5"},
		{name: "extended CONNECT", h2: h2(":method", "CONNECT", ":scheme", "http", ":authority", "a.test", ":path", "/x", ":protocol", "websocket"), want: refused(0), why: "not offered"},

		// Sizes.
		{name: "101 fields", h2: h2get("/x", "a.test", many...), want: refused(0), why: "100 is the bound"},
		{name: "fields of 61 KB", h2: h2get("/x", "a.test", "x-a", long(61<<10)), want: refused(0, 431), why: "60 KB is the bound"},
		{name: "path of 1 MB", h2: h2get("/"+long(1<<20), "a.test"), want: refused(0, 431), why: "60 KB is the bound"},
		{name: "path of 50 KB", h2: h2get("/"+long(50<<10), "a.test"), want: passes, why: "within the bound"},

		// Trailers are no headers.
		{name: "trailers", h2: trailers(body(method("POST", "/x"), "hello"), "x-role", "evil"), want: passes, why: "rules do not see them"},
		{name: "afterwards", h2: h2get("/x", "a.test"), want: passes, why: "Envoy serves on"},
	}
	for i := range rows {
		rows[i].to = "open"
	}
	l.run(rows)
}

// TestBrokenTrailers: they come after the request was let through, and it breaks off.
func TestBrokenTrailers(t *testing.T) {
	l := start(t, openPolicies)
	for _, x := range []struct{ name, field string }{
		{"pseudo-header", ":path"}, {"underscore", "x_role"}, {"line", "x-role: evil\r\nx"},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := row{to: "open", h2: h2(":method", "POST", ":scheme", "http", ":authority", "a.test", ":path", "/x")}
			r.h2.body, r.h2.trailers = "hello", fields(x.field, "/admin")
			l.send(&r)
			l.decision(t, r.id) // logged when Envoy is done with it
			l.upstream.idle(t)
			if s, ok := l.upstream.request(r.id); r.resp.Status != 0 || ok && !s.Broken {
				t.Errorf("the client got %d, the workload saw %+v", r.resp.Status, s)
			}
		})
	}
	l.stillServes()
}

// TestGRPC: a call goes through with its trailers, and a denied one says why in the way
// that a gRPC client reads.
func TestGRPC(t *testing.T) {
	l := start(t, openPolicies)
	call := func(path string) *h2Request {
		r := h2(":method", "POST", ":scheme", "http", ":authority", "a.test", ":path", path, "content-type", "application/grpc", "te", "trailers")
		r.body = "\x00\x00\x00\x00\x02hi"
		return r
	}
	send := func(id string, r *h2Request) h2Response {
		conn := dial(t, netip.Addr{}, l.listener("open").Address)
		defer conn.Close()
		return r.exchange(t, conn, id)
	}
	r := call("/greet.Greeter/Hello")
	r.fields = append(r.fields, fields("trailer", "x-checksum")...) // for Go's server to keep it
	r.trailers = fields("x-checksum", "1")
	got := send("row-grpc-1", r)
	if got.Status != http.StatusOK || got.Body != r.body || got.Trailer.Get("grpc-status") != "0" {
		t.Errorf("an allowed call: %+v", got)
	}
	if s, _ := l.upstream.request("row-grpc-1"); s.Proto != "HTTP/2.0" || s.Body != r.body || s.Trailer.Get("x-checksum") != "1" || s.Header.Get("te") != "trailers" {
		t.Errorf("the workload saw %+v", s)
	}
	got = send("row-grpc-2", call("/admin/Hello"))
	status, reason := got.Header.Get("grpc-status"), xds.ReasonIn(got.Header.Get(xds.ReasonHeader))
	t.Logf("a denied call: %d, grpc-status %s, grpc-message %q", got.Status, status, got.Header.Get("grpc-message"))
	if status != "7" || reason != denied.reason {
		t.Errorf("a denied call: status %d, grpc-status %q, reason %q; want PERMISSION_DENIED (7) because of %s", got.Status, status, reason, denied.reason)
	}
	if _, ok := l.upstream.request("row-grpc-2"); ok {
		t.Error("the workload saw a denied call")
	}
	if d := l.shield.Decision(t, "row-grpc-2"); d.Verdict != policy.Denied || d.Reason != denied.reason {
		t.Errorf("logged %s %s", d.Verdict, d.Reason)
	}
	l.stillServes()
}

const handshake = "GET %s HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// TestUpgrades: a WebSocket passes where its path does, nothing else is upgraded to, and
// bytes behind a handshake that failed are no request.
func TestUpgrades(t *testing.T) {
	l := start(t, openPolicies)
	send := func(t *testing.T, raw string) (*http.Response, *bufio.Reader, io.WriteCloser) {
		t.Helper()
		conn := dial(t, netip.Addr{}, l.listener("open").Address)
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, raw); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, &http.Request{Method: "GET"})
		if err != nil {
			t.Fatal(err)
		}
		return resp, in, conn
	}
	websocket := func(path, id string) string {
		return strings.Replace(handshake, "%s", path, 1) + "x-request-id: " + id + "\r\n\r\n"
	}
	t.Run("websocket", func(t *testing.T) {
		resp, in, out := send(t, websocket("/chat", "row-ws-1"))
		if resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%d, want 101", resp.StatusCode)
		}
		for _, message := range []string{"\x81\x05hello", "GET /admin HTTP/1.1\r\n\r\n"} {
			if _, err := io.WriteString(out, message); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(message))
			if _, err := io.ReadFull(in, got); err != nil || string(got) != message {
				t.Fatalf("came back %q, %v; want %q", got, err, message)
			}
		}
		_ = out.Close()
		if d := l.shield.Decision(t, "row-ws-1"); d.Verdict != policy.Allowed || d.Reason != passes.reason || d.Status != 101 {
			t.Errorf("logged %+v", d)
		}
	})
	t.Run("denied websocket", func(t *testing.T) {
		resp, _, _ := send(t, websocket("/admin/chat", "row-ws-2"))
		if resp.StatusCode != http.StatusForbidden || xds.ReasonIn(resp.Header.Get(xds.ReasonHeader)) != denied.reason {
			t.Errorf("%d %q, want 403 %q", resp.StatusCode, xds.ReasonIn(resp.Header.Get(xds.ReasonHeader)), denied.reason)
		}
		if _, ok := l.upstream.request("row-ws-2"); ok {
			t.Error("the workload saw it")
		}
	})
	t.Run("failed websocket", func(t *testing.T) {
		// The workload answers 200; what follows is neither a request nor poison in a
		// connection that others use.
		resp, _, _ := send(t, websocket("/plain", "row-ws-3")+get("/admin", "x-request-id: row-ws-hidden"))
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%d, want 200", resp.StatusCode)
		}
		if resp, _, _ := send(t, get("/x", "x-request-id: row-ws-4")); resp.StatusCode != http.StatusOK {
			t.Errorf("the next request: %d, want 200", resp.StatusCode)
		}
		if s, ok := l.upstream.request("row-ws-hidden"); ok {
			t.Errorf("the workload saw %+v", s)
		}
	})
	for _, x := range []struct {
		name, upgrade string
		status        int
	}{
		{"h2c", "h2c", 200}, // left out: the request stays HTTP/1.1
		{"another", "foo", 403},
		{"list", "websocket, h2c", 403},
		{"tunnel", "CONNECT", 403},
		{"connect-udp", "connect-udp", 404},
		{"case", "WebSocket", 101},
	} {
		t.Run(x.name, func(t *testing.T) {
			id := "row-up-" + x.name
			resp, _, _ := send(t, get("/x", "connection: upgrade, http2-settings", "http2-settings: AAMAAABkAAQAAP__", "upgrade: "+x.upgrade, "x-request-id: "+id))
			if resp.StatusCode != x.status {
				t.Errorf("%d, want %d", resp.StatusCode, x.status)
			}
			s, ok := l.upstream.request(id)
			if ok != (x.status < 400) || x.status == 200 && (s.Header.Get("upgrade") != "" || s.Header.Get("http2-settings") != "") {
				t.Errorf("the workload saw %v %+v", ok, s)
			}
		})
	}
	l.stillServes()
}

// TestFloods: one client cannot hold Envoy, and Envoy does not die of it.
func TestFloods(t *testing.T) {
	l := start(t, openPolicies)
	connect := func(t *testing.T) *h2Conn {
		conn := dial(t, netip.Addr{}, l.listener("open").Address)
		t.Cleanup(func() { _ = conn.Close() })
		return newH2(t, conn)
	}
	// until sends until Envoy has ended the connection, and says after how many.
	until := func(t *testing.T, c *h2Conn, most int, send func(i int) error) int {
		t.Helper()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				f, err := c.framer.ReadFrame()
				if err != nil {
					return
				}
				if g, ok := f.(*http2.GoAwayFrame); ok && g.ErrCode != http2.ErrCodeNo {
					return
				}
			}
		}()
		for i := range most {
			if err := send(i); err != nil {
				<-ended
				return i
			}
			select {
			case <-ended:
				return i
			default:
			}
		}
		t.Fatalf("the connection lives on after %d", most)
		return most
	}
	request := fields(":method", "GET", ":scheme", "http", ":authority", "a.test", ":path", "/x", "x-request-id", "row-flood")
	t.Run("rapid reset", func(t *testing.T) { // CVE-2023-44487
		c := connect(t)
		n := until(t, c, 1_000_000, func(i int) error {
			stream := uint32(2*i + 1)
			c.headers(stream, request, true)
			return c.framer.WriteRSTStream(stream, http2.ErrCodeCancel)
		})
		t.Logf("ended after %d", n)
	})
	t.Run("endless headers", func(t *testing.T) { // CVE-2024-30255
		c := connect(t)
		c.block.Reset()
		_ = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82, 0x86, 0x84, 0x41, 0x06, 'a', '.', 't', 'e', 's', 't'}})
		n := until(t, c, 1_000_000, func(int) error {
			return c.framer.WriteContinuation(1, false, []byte("\x00\x01a\x01b"))
		})
		t.Logf("ended after %d", n)
	})
	t.Run("empty continuations", func(t *testing.T) {
		c := connect(t)
		_ = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
		n := until(t, c, 1_000_000, func(int) error { return c.framer.WriteContinuation(1, false, nil) })
		t.Logf("ended after %d", n)
	})
	t.Run("priorities", func(t *testing.T) { // CVE-2019-9513
		c := connect(t)
		n := until(t, c, 5_000_000, func(i int) error {
			return c.framer.WritePriority(uint32(2*(i%1000)+1), http2.PriorityParam{Weight: 1})
		})
		t.Logf("ended after %d", n)
	})
	t.Run("empty data", func(t *testing.T) { // CVE-2019-9518
		c := connect(t)
		c.headers(1, fields(":method", "POST", ":scheme", "http", ":authority", "a.test", ":path", "/x", "x-request-id", "row-flood"), false)
		n := until(t, c, 1_000_000, func(int) error { return c.framer.WriteData(1, false, nil) })
		t.Logf("ended after %d", n)
	})
	r := row{name: "afterwards", to: "open", raw: get("/x"), want: passes}
	l.run([]row{r})
}
