package hostile

import (
	"bufio"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"pavise.dev/pavise/policy"
)

// Everything but /admin is allowed, so that what is refused is refused by Envoy.
const openPolicies = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: open}
spec: {inbound: [{port: 8001, address: $ADDR, upstream: $UP}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: o}
spec:
  ingress:
  - {name: "no", action: Deny, http: [{paths: [{prefix: /admin}]}]}
  - {name: "yes", action: Allow}
`

var (
	passes = allow("namespace:default/o#yes")
	denied = deny("namespace:default/o#no")
)

func post(body string, headers ...string) string {
	return "POST / HTTP/1.1\r\nHost: a.test\r\n" + lines(headers) + "\r\n" + body
}

func TestFraming(t *testing.T) {
	l := start(t, openPolicies)
	const chunked, hello = "transfer-encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"
	// As the rules are asked about a request line that is not written as it should be.
	asked := func(method, path string) *policy.HTTPRequest {
		return &policy.HTTPRequest{Method: method, Authority: "a.test", Path: path}
	}
	head := "\r\nHost: a.test\r\n\r\n"
	many := func(n int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = "x-h" + strings.Repeat("a", i) + ": 1"
		}
		return out
	}
	rows := []row{
		{name: "chunked", raw: post(hello, chunked), want: passes, why: "the plain case"},
		{name: "length", raw: post("hello", "content-length: 5"), want: passes, why: "the plain case"},

		// Where a request ends must not be in doubt.
		{name: "CL and TE", raw: post(hello, "content-length: 5", chunked), want: refused(400), why: "smuggling"},
		{name: "TE and CL", raw: post(hello, chunked, "content-length: 15"), want: refused(400), why: "in either order, even if they agree"},
		{name: "two CLs", raw: post("hello", "content-length: 5", "content-length: 0"), want: refused(400), why: "smuggling"},
		{name: "two equal CLs", raw: post("hello", "content-length: 5", "content-length: 5"), want: refused(400), why: "the same"},
		{name: "CL list", raw: post("hello", "content-length: 5, 5"), want: refused(400), why: "the same"},
		{name: "CL with a sign", raw: post("hello", "content-length: +5"), want: refused(400), why: "5 to some"},
		{name: "CL in hex", raw: post("hello", "content-length: 0x5"), want: refused(400), why: "0 or 5"},
		{name: "CL negative", raw: post("hello", "content-length: -5"), want: refused(400), why: "no length"},
		{name: "CL too large", raw: post("hello", "content-length: 99999999999999999999"), want: refused(400), why: "wraps around"},
		{name: "CL empty", raw: post("hello", "content-length: "), want: refused(400), why: "no length"},
		{name: "CL with spaces", raw: post("hello", "content-length: \t5 "), want: passes, why: "white space is no part of a value"},
		{name: "CL with a NUL", raw: post("hello", "content-length: 5\x00"), want: refused(400), why: "no length"},
		{name: "TE unknown", raw: post(hello, "transfer-encoding: xchunked"), want: refused(501), why: "RFC 9112, 6.1"},
		{name: "TE list", raw: post(hello, "transfer-encoding: gzip, chunked"), want: refused(501), why: "the same"},
		{name: "TE twice", raw: post(hello, chunked, chunked), want: refused(501, 400), why: "the same"},
		{name: "TE chunked, chunked", raw: post(hello, "transfer-encoding: chunked, chunked"), want: refused(501), why: "the same"},
		{name: "TE chunked, then unknown", raw: post(hello, chunked, "transfer-encoding: cow"), want: refused(501, 400), why: "the classic"},
		{name: "TE with a control character", raw: post(hello, "transfer-encoding: \x0bchunked"), want: refused(400), why: "chunked to some"},
		{name: "TE with a space before the colon", raw: post(hello, "transfer-encoding : chunked"), want: refused(400), why: "no header to some"},
		{name: "TE folded", raw: post(hello, "transfer-encoding:", " chunked"), want: passes, why: "one value; the workload sees it on one line"},
		{name: "TE identity", raw: post("hello", "transfer-encoding: identity", "content-length: 5"), want: refused(400), why: "no such coding since RFC 7230"},
		{name: "TE in HTTP/1.0", raw: "POST / HTTP/1.0\r\nHost: a.test\r\n" + chunked + "\r\n\r\n" + hello, want: refused(426), why: "there is none in it"},
		{name: "TE with an underscore", raw: post(hello, "transfer_encoding: chunked"), want: refused(400), why: "CGI makes it the same"},

		// Line ends and the request line. Envoy is lenient, and writes it anew.
		{name: "bare LF", raw: "GET /x HTTP/1.1\nHost: a.test\nx-request-id: $ID\n\n", asked: asked("GET", "/x"), want: passes, why: "a line end (RFC 9112, 2.2); the workload sees CR LF"},
		{name: "bare LF, denied", raw: "GET /admin HTTP/1.1\nHost: a.test\nx-request-id: $ID\n\n", asked: asked("GET", "/admin"), want: denied, why: "and it is decided on"},
		{name: "empty lines before", raw: "\r\n\r\nGET /admin HTTP/1.1\r\nHost: a.test\r\nx-request-id: $ID\r\n\r\n", asked: asked("GET", "/admin"), want: denied, why: "are skipped"},
		{name: "spaces", raw: "GET  /admin   HTTP/1.1" + head, asked: asked("GET", "/admin"), want: denied, why: "more than one"},
		{name: "tabs", raw: "GET\t/admin\tHTTP/1.1" + head, asked: asked("GET", "/admin"), want: denied, why: "for spaces"},
		{name: "CR", raw: "GET /admin\r HTTP/1.1" + head, asked: asked("GET", "/admin"), want: denied, why: "for a space"},
		{name: "space at the end", raw: "GET /admin HTTP/1.1 " + head, asked: asked("GET", "/admin"), want: denied, why: "is nothing"},
		{name: "space in the path", raw: "GET /x /admin HTTP/1.1" + head, want: refused(400), why: "two targets"},
		{name: "space before", raw: " GET /x HTTP/1.1" + head, want: refused(400), why: "no method"},
		{name: "NUL in the method", raw: "G\x00T /x HTTP/1.1" + head, want: refused(400), why: "no method"},
		{name: "no target", raw: "GET HTTP/1.1" + head, want: refused(400, 426), why: "no target"},
		{name: "asterisk", raw: "OPTIONS * HTTP/1.1" + head, want: malformed(policy.MalformedRequest, 404), why: "Envoy takes paths only"},
		{name: "authority-form", raw: "GET a.test:80 HTTP/1.1" + head, want: refused(400), why: "only for CONNECT"},
		{name: "other scheme", raw: "GET ftp://a.test/x HTTP/1.1" + head, want: refused(400), why: "nothing that Envoy speaks"},

		// Versions and methods.
		{name: "HTTP/0.9", raw: "GET /admin\r\n\r\n", want: refused(426), why: "no Host, no headers"},
		{name: "HTTP/1.0", raw: "GET /x HTTP/1.0" + head, want: refused(426), why: "too old"},
		{name: "HTTP/1.2", raw: "GET /x HTTP/1.2" + head, want: refused(426), why: "there is none"},
		{name: "HTTP/2.0", raw: "GET /x HTTP/2.0" + head, want: refused(426), why: "not like this"},
		{name: "http/1.1", raw: "GET /x http/1.1" + head, want: refused(400), why: "has case"},
		{name: "lower-case method", raw: "get /x HTTP/1.1" + head, want: refused(400), why: "GET to some; in HTTP/2 it passes as another method"},
		{name: "mixed-case method", raw: "Delete /x HTTP/1.1" + head, want: refused(400), why: "the same"},
		{name: "unknown method", raw: "FOO /x HTTP/1.1" + head, want: refused(400), why: "Envoy knows a list of them"},
		{name: "TRACE", raw: "TRACE /x HTTP/1.1" + head, want: passes, why: "is a method like others; a rule can deny it"},
		{name: "override", raw: get("/x", "x-http-method-override: DELETE", "x-method-override: DELETE"), want: passes, why: "is taken off"},

		// CONNECT is for a proxy.
		{name: "CONNECT", raw: "CONNECT a.test:443 HTTP/1.1" + head, want: deny("connect-refused"), why: "this is none"},
		{name: "CONNECT without a port", raw: "CONNECT a.test HTTP/1.1" + head, want: refused(400), why: "RFC 9110 wants one"},
		{name: "CONNECT /admin", raw: "CONNECT /admin HTTP/1.1" + head, want: refused(400), why: "no authority"},

		// Sizes: an answer or a closed connection, and Envoy goes on.
		{name: "method of 10 KB", raw: strings.Repeat("A", 10<<10) + " /x HTTP/1.1" + head, want: refused(400), why: "no method"},
		{name: "path of 50 KB", raw: get("/" + strings.Repeat("a", 50<<10)), want: passes, why: "within the bound"},
		{name: "path of 1 MB", raw: get("/" + strings.Repeat("a", 1<<20)), want: refused(431, 400), why: "60 KB is the bound"},
		{name: "99 headers", raw: get("/x", many(90)...), want: passes, why: "within the bound"},
		{name: "101 headers", raw: get("/x", many(101)...), want: refused(431), why: "100 is the bound"},
		{name: "one header of 61 KB", raw: get("/x", "x-a: "+strings.Repeat("a", 61<<10)), want: refused(431), why: "60 KB is the bound"},
		{name: "headers of 61 KB", raw: get("/x", "x-a: "+strings.Repeat("a", 31<<10), "x-b: "+strings.Repeat("b", 30<<10)), want: refused(431), why: "of all together"},
		{name: "headers of 50 KB", raw: get("/x", "x-a: "+strings.Repeat("a", 50<<10)), want: passes, why: "within the bound"},
		{name: "header name of 61 KB", raw: get("/x", strings.Repeat("a", 61<<10)+": 1"), want: refused(431), why: "the same"},
		{name: "no end of headers", raw: get("/x")[:20] + strings.Repeat("a", 70<<10), want: refused(431, 400), why: "not waited for"},
		{name: "afterwards", raw: get("/x"), want: passes, why: "Envoy serves on"},
	}
	for i := range rows {
		rows[i].to = "open"
	}
	l.run(rows)
}

// TestBrokenChunks: the headers are handed on before the body is read, so the workload
// may see a request that breaks off, and never a whole one.
func TestBrokenChunks(t *testing.T) {
	l := start(t, openPolicies)
	for _, x := range []struct{ name, body string }{
		{"sign", "+5\r\nhello\r\n0\r\n\r\n"},
		{"hex prefix", "0x5\r\nhello\r\n0\r\n\r\n"},
		{"bare LF", "5\nhello\n0\n\n"},
		{"bare LF in an extension", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n"},
		{"too large", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"},
		{"no length", "\r\nhello\r\n0\r\n\r\n"},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := row{to: "open", raw: post(x.body, "transfer-encoding: chunked")}
			l.send(&r)
			if r.resp.Status != http.StatusBadRequest {
				t.Errorf("the client got %d, want 400", r.resp.Status)
			}
			l.decision(t, r.id) // logged when Envoy is done with it
			l.upstream.idle(t)
			if s, ok := l.upstream.request(r.id); ok && !s.Broken {
				t.Errorf("the workload saw a whole request: %+v", s)
			}
		})
	}
	// A chunk that is longer than it says: Envoy skips the rest of the line. It writes the
	// body anew, so the workload reads the same; another proxy in front may not.
	r := row{name: "longer than it says", to: "open", raw: post("4\r\nhello\r\n0\r\n\r\n", "transfer-encoding: chunked"), want: passes}
	l.run([]row{r})
}

// TestPipelined: every request of a connection is decided by itself, and what looks like
// one in a body is none.
func TestPipelined(t *testing.T) {
	l := start(t, openPolicies)
	id := func(n string) string { return "x-request-id: row-pipelined-" + n }
	evil := get("/admin", id("hidden"))
	for _, x := range []struct {
		name, raw string
		statuses  []int
	}{
		{"allowed, denied, allowed", get("/x", id("a1")) + get("/admin", id("a2")) + get("/x", id("a3")), []int{200, 403, 200}},
		{"in a body", post(evil, id("b1"), "content-length: "+itoa(len(evil))) + get("/x", id("b2")), []int{200, 200}},
		{"in the body of a denied request", strings.Replace(post(evil, id("c1"), "content-length: "+itoa(len(evil))), "POST /", "POST /admin", 1), []int{403}},
		{"behind a body of no length", post(get("/admin", id("d2")), id("d1")), []int{200, 403}},
		{"behind the last chunk", post("0\r\n\r\n"+get("/admin", id("e2")), id("e1"), "transfer-encoding: chunked"), []int{200, 403}},
		{"in a trailer", post("0\r\nx: GET /admin HTTP/1.1\r\n\r\n"+get("/x", id("f2")), id("f1"), "transfer-encoding: chunked"), []int{200, 200}},
	} {
		t.Run(x.name, func(t *testing.T) {
			conn := dial(t, netip.Addr{}, l.listener("open").Address)
			defer conn.Close()
			go func() { _, _ = io.WriteString(conn, x.raw) }()
			in := bufio.NewReader(conn)
			for i, want := range x.statuses {
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatalf("response %d: %v", i+1, err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				if resp.StatusCode != want {
					t.Errorf("response %d: %d, want %d", i+1, resp.StatusCode, want)
				}
			}
		})
	}
	for _, n := range []string{"hidden", "a2", "d2", "e2"} {
		if s, ok := l.upstream.request("row-pipelined-" + n); ok {
			t.Errorf("the workload saw %+v", s)
		}
	}
	l.stillServes()
}
