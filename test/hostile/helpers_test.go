package hostile

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pavise.dev/pavise/internal/freeport"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
	"pavise.dev/pavise/xds/envoytest"
)

// lab is an Envoy with one set of policies in force, in front of one workload.
type lab struct {
	*testing.T
	shield   *envoytest.Shield
	upstream *upstream
	model    *policy.Model
	started  time.Time
	// lost is set once a decision did not arrive: the others then are not waited for.
	lost bool
}

// start reads policies as a user writes them and has an Envoy enforce them. In the YAML,
// $ADDR is the address to listen on and $UP the address and port of the workload.
func start(t *testing.T, yaml string, opts ...envoytest.Option) *lab {
	t.Helper()
	l := &lab{T: t, shield: envoytest.Start(t, opts...), upstream: newUpstream(t), started: time.Now()}
	l.apply(yaml)
	return l
}

// apply replaces the policies.
func (l *lab) apply(yaml string) {
	l.Helper()
	l.model = compile(l.T, strings.NewReplacer("$ADDR", l.shield.Addr.String(), "$UP", l.upstream.addr.String()).Replace(yaml))
	l.shield.Apply(l.T, l.model)
}

func compile(t testing.TB, yaml string) *policy.Model {
	t.Helper()
	set, problems := api.Parse("test.yaml", []byte(yaml))
	for _, p := range problems {
		t.Log(p)
	}
	if api.HasErrors(problems) {
		t.Fatal("the test's own policies are not valid")
	}
	m, problems := policy.Compile(set)
	if api.HasErrors(problems) {
		t.Fatalf("the test's own policies do not compile: %v", problems)
	}
	return m
}

// listener finds WORKLOAD, which has one listener, or WORKLOAD/LISTENER.
func (l *lab) listener(name string) *policy.Listener {
	l.Helper()
	workload, listener, named := strings.Cut(name, "/")
	if w := l.model.Workload("default", workload); w != nil {
		for _, x := range w.Listeners {
			if !named || x.Name == listener {
				return x
			}
		}
	}
	l.Fatalf("there is no listener %s", name)
	return nil
}

// want is what is right.
type want struct {
	// verdict is empty where Envoy's own parser has to refuse the request.
	verdict policy.Verdict
	reason  string
	// statuses, any of which a refusal may have; 0 is a connection closed without one.
	statuses []int
	// evaluate is the reason that Evaluate gives where that is another one, or where
	// Envoy's parser refuses what Evaluate can see to be wrong.
	evaluate string
}

func allow(reason string) want { return want{verdict: policy.Allowed, reason: reason} }
func deny(reason string) want  { return want{verdict: policy.Denied, reason: reason} }

// refused by Envoy before any policy is asked, for what a policy.Request does not hold.
func refused(statuses ...int) want { return want{statuses: statuses} }

// malformed is refused as well, and Evaluate says for what reason.
func malformed(reason policy.ReasonKind, statuses ...int) want {
	return want{statuses: statuses, evaluate: string(reason)}
}

// row is one request and what is right.
type row struct {
	name string
	// to is WORKLOAD or WORKLOAD/LISTENER, both in the namespace default.
	to string
	// from is the source address, 127.0.0.1 if not given.
	from string
	// raw is a request head (and body) for HTTP/1.1, byte for byte. $ID, which stands
	// after the request line if it stands nowhere, makes it known in the log.
	raw string
	// h2 is a request for HTTP/2 instead.
	h2 *h2Request
	// asked is what Evaluate is asked, where it cannot be read from raw.
	asked *policy.HTTPRequest
	// destination is what the name resolves to, for a proxy.
	destination string
	want
	why string

	id     string
	source string // address and port
	resp   envoytest.Response
}

// get is the row's usual request.
func get(path string, headers ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: a.test\r\n" + lines(headers) + "\r\n"
}

// with is a request for a host.
func with(host string, headers ...string) string {
	return "GET /x HTTP/1.1\r\nHost: " + host + "\r\n" + lines(headers) + "\r\n"
}

func lines(headers []string) string {
	var b strings.Builder
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	return b.String()
}

var ids atomic.Int64

// run sends every row, then judges them.
func (l *lab) run(rows []row) {
	l.Helper()
	for i := range rows {
		l.send(&rows[i])
	}
	for i := range rows {
		l.T.Run(rows[i].name, func(t *testing.T) { l.judge(t, &rows[i]) })
	}
	l.stillServes()
}

// send puts one request over a connection of its own.
func (l *lab) send(r *row) {
	l.Helper()
	r.id = "row-" + strconv.FormatInt(ids.Add(1), 10)
	if r.from == "" {
		r.from = "127.0.0.1"
	}
	from, to := netip.MustParseAddr(r.from), l.listener(r.to).Address
	if to.Addr().IsUnspecified() && from.Is4() {
		to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Port())
	}
	conn := dial(l.T, from, to)
	defer conn.Close()
	r.source = conn.LocalAddr().String()
	if r.h2 != nil {
		r.resp = r.h2.exchange(l.T, conn, r.id).Response
		return
	}
	raw := r.raw
	if !strings.Contains(raw, "$ID") {
		first, rest, _ := strings.Cut(raw, "\r\n")
		raw = first + "\r\nx-request-id: $ID\r\n" + rest
	}
	method, _, _ := strings.Cut(raw, " ")
	r.resp = exchange(conn, method, strings.ReplaceAll(raw, "$ID", r.id))
}

// request is what Evaluate is asked about a row.
func (r *row) request() *policy.Request {
	req := &policy.Request{Source: netip.MustParseAddr(r.from), HTTP: r.asked}
	if r.destination != "" {
		req.Destination = netip.MustParseAddr(r.destination)
	}
	switch {
	case req.HTTP != nil:
	case r.h2 != nil:
		req.HTTP = r.h2.asked()
	default:
		req.HTTP = read(r.raw)
	}
	return req
}

// read takes a well-formed request head apart, as anybody would.
func read(raw string) *policy.HTTPRequest {
	head, _, _ := strings.Cut(raw, "\r\n\r\n")
	first, rest, _ := strings.Cut(head, "\r\n")
	method, target, _ := strings.Cut(strings.TrimSuffix(strings.TrimSuffix(first, "HTTP/1.1"), " "), " ")
	h := &policy.HTTPRequest{Method: method, Path: target}
	for _, line := range strings.Split(rest, "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		switch {
		case !ok:
		case strings.EqualFold(name, "host"):
			h.Authority = value
		default:
			h.Headers = append(h.Headers, policy.HeaderField{Name: name, Value: value})
		}
	}
	if _, absolute, ok := strings.Cut(target, "://"); ok && target[0] != '/' {
		i := strings.IndexAny(absolute+"/", "/?")
		h.Authority, h.Path = absolute[:i], absolute[i:]
		if !strings.HasPrefix(h.Path, "/") {
			h.Path = "/" + h.Path
		}
	}
	if method == "CONNECT" {
		h.Authority, h.Path = target, ""
	}
	return h
}

// judge compares what came of a row with what is right.
func (l *lab) judge(t *testing.T, r *row) {
	if r.verdict == "" {
		l.judgeRefusal(t, r)
		return
	}
	d := l.decision(t, r.id)
	if d.Verdict != r.verdict || d.Reason != r.reason {
		t.Errorf("Envoy logged %s %s (status %d, detail %q), want %s %s: %s", d.Verdict, d.Reason, d.Status, d.Detail, r.verdict, r.reason, r.why)
	}
	listener, req := l.listener(r.to), r.request()
	verdict, reason := r.verdict, r.reason
	if r.evaluate != "" {
		verdict, reason = policy.Denied, r.evaluate
	}
	if got := listener.Evaluate(req); got.Verdict != verdict || got.Reason.String() != reason {
		t.Errorf("Evaluate says %s %s, want %s %s: %s", got.Verdict, got.Reason, verdict, reason, r.why)
	}
	seen, reached := l.upstream.request(r.id)
	if r.verdict == policy.Denied {
		if told := xds.ReasonIn(r.resp.Header.Get(xds.ReasonHeader)); r.resp.Status != http.StatusForbidden || told != r.reason {
			t.Errorf("the client got %d with the reason %q, want 403 with %q: %s", r.resp.Status, told, r.reason, r.why)
		}
		if reached {
			t.Errorf("denied, yet the workload saw %+v: %s", seen, r.why)
		}
		return
	}
	if r.resp.Status != http.StatusOK {
		t.Errorf("the client got %d, want 200: %s", r.resp.Status, r.why)
	}
	if !reached {
		t.Fatalf("allowed, yet the workload saw nothing: %s", r.why)
	}
	if r.evaluate != "" {
		return
	}
	// One view: the workload has to see what the rules were asked about. A proxy keeps the
	// port in the host.
	host, _, _ := policy.CanonicalHost(seen.Host)
	if f, _ := listener.Facts(req); seen.Target != f.Target || seen.Host != f.Host && (listener.Traffic == policy.HTTP || host != f.Host) {
		t.Errorf("the rules were asked about %q of %q, the workload saw %q of %q: %s", f.Target, f.Host, seen.Target, seen.Host, r.why)
	}
}

// decision waits for what Envoy logged of a request.
func (l *lab) decision(t *testing.T, id string) decisions.Record {
	t.Helper()
	if d, ok := l.shield.ByID(id); ok {
		return d
	}
	if l.lost {
		t.Fatal("Envoy logged no decision")
	}
	l.lost = true
	d := l.shield.Decision(t, id)
	l.lost = false
	return d
}

// judgeRefusal is for what Envoy refused before it had a request: the log has no id of
// it then, and it is found by where it came from.
func (l *lab) judgeRefusal(t *testing.T, r *row) {
	if !slices.Contains(r.statuses, r.resp.Status) {
		t.Errorf("the client got %d, want one of %v: %s", r.resp.Status, r.statuses, r.why)
	}
	if seen, reached := l.upstream.request(r.id); reached {
		t.Errorf("refused, yet the workload saw %+v: %s", seen, r.why)
	}
	listener, req := l.listener(r.to), r.request()
	if got := listener.Evaluate(req); r.evaluate != "" && (got.Verdict != policy.Denied || got.Reason.String() != r.evaluate) {
		t.Errorf("Evaluate says %s %s, want deny %s: %s", got.Verdict, got.Reason, r.evaluate, r.why)
	}
	d := l.shield.Await(t, "connection from "+r.source, func(d decisions.Record) bool {
		return d.Source == r.source && strings.HasSuffix(d.Listener, "/"+listener.Name)
	})
	if d.Verdict != policy.Denied || d.Reason != string(policy.MalformedRequest) {
		t.Errorf("Envoy logged %s %s (status %d, detail %q), want deny malformed-request: %s", d.Verdict, d.Reason, d.Status, d.Detail, r.why)
	}
	t.Logf("refused with %d, detail %q", r.resp.Status, d.Detail)
}

// stillServes fails the test if Envoy was replaced by another since the start, or if
// the workload saw requests that cannot be told apart.
func (l *lab) stillServes() {
	l.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), envoytest.Patience)
	defer cancel()
	if err := l.shield.Admin.Ready(ctx); err != nil {
		l.Errorf("Envoy is not ready after that: %v", err)
	}
	stats, err := l.shield.Admin.Get(ctx, "/stats?filter=^server.uptime$")
	if err != nil {
		l.Fatal(err)
	}
	_, text, _ := strings.Cut(string(stats), ": ")
	uptime, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		l.Fatalf("uptime %q: %v", stats, err)
	}
	if since := int(time.Since(l.started).Seconds()); uptime < since-5 {
		l.Errorf("Envoy runs for %d s only, of %d: it crashed", uptime, since)
	}
	for _, s := range l.upstream.strangers() {
		l.Errorf("the workload saw a request that no row sent: %+v", s)
	}
}

// exchange writes raw and reads one response. Unlike [envoytest.Client] it reads while it
// writes, since a request that is too large is answered before it ends.
func exchange(conn net.Conn, method, raw string) envoytest.Response {
	go func() { _, _ = io.WriteString(conn, raw) }()
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return envoytest.Response{}
	}
	defer resp.Body.Close()
	var body []byte
	if method != http.MethodConnect || resp.StatusCode != http.StatusOK {
		body, _ = io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	}
	return envoytest.Response{Status: resp.StatusCode, Header: resp.Header, Body: string(body)}
}

// dial opens a connection from an address; its reads and writes end with Patience.
func dial(t testing.TB, from netip.Addr, to netip.AddrPort) net.Conn {
	t.Helper()
	d := net.Dialer{Timeout: envoytest.Patience}
	if from.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: from.AsSlice()}
	}
	conn, err := d.DialContext(context.Background(), "tcp", to.String())
	if err != nil {
		t.Fatalf("dial %s from %s: %v", to, from, err)
	}
	_ = conn.SetDeadline(time.Now().Add(envoytest.Patience))
	return conn
}

// cut3 is method, target and the rest of a request.
func cut3(raw string) (method, target, rest string) {
	method, rest, _ = strings.Cut(raw, " ")
	target, rest, _ = strings.Cut(rest, " ")
	return method, target, rest
}

func itoa(n int) string { return strconv.Itoa(n) }

func listenTCP(at string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(context.Background(), "tcp", at)
}

// freePort is a port that nobody listens on, for addresses that other tests use as well.
func freePort(t testing.TB) int {
	t.Helper()
	ports, err := freeport.Find("", 1)
	if err != nil {
		t.Fatal(err)
	}
	return ports[0]
}
