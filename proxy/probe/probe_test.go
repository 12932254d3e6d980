package probe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddr("127.0.0.1")

func handler(t *testing.T, text string, own ...uint16) http.Handler {
	t.Helper()
	s, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	h, err := Handler(s, Config{Target: loopback, Own: own})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ask asks as the kubelet does.
func ask(h http.Handler, method, path string) (int, string) {
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(context.Background(), method, path, nil)
	r.Header.Set("User-Agent", "kube-probe/1.37")
	h.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func portOf(t *testing.T, s *httptest.Server) int {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// closedPort is one that nobody listens on.
func closedPort(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestHTTP holds the kubelet's semantics against a real server, with and without TLS.
func TestHTTP(t *testing.T) {
	var stranger atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stranger.Add(1) }))
	defer other.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.PathValue("code"))
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "a secret of the application")
	})
	mux.Handle("/here", http.RedirectHandler("/status/500", http.StatusFound))
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	mux.Handle("/away", http.RedirectHandler("http://metadata.example/latest", http.StatusFound))
	mux.Handle("/sidecar", http.RedirectHandler(other.URL, http.StatusFound))
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		for range 1 << 10 {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/garbled", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, "a secret that is no HTTP\r\n\r\n")
			_ = conn.Close()
		}
	})
	mux.HandleFunc("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "cut")
	})
	mux.HandleFunc("/seen", func(w http.ResponseWriter, r *http.Request) {
		if got := r.Host + " " + r.UserAgent() + " " + strings.Join(r.Header["X-Two"], ",") + " " + r.URL.RawQuery; got !=
			"shop.example kube-probe/1.37 a,b q=1" {
			t.Errorf("the application saw %q", got)
			w.WriteHeader(http.StatusTeapot)
		}
	})
	plain, secure := httptest.NewServer(mux), httptest.NewUnstartedServer(mux)
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	defer plain.Close()
	defer secure.Close()

	const headers = `,"httpHeaders":[{"name":"Host","value":"shop.example"},{"name":"X-Two","value":"a"},{"name":"X-Two","value":"b"}]`
	for _, test := range []struct {
		name, path, more string
		port             int
		code             int
		text             string
	}{
		{"healthy", "/status/200", "", portOf(t, plain), 200, "ok"},
		{"no slash", "status/204", "", portOf(t, plain), 200, "ok"},
		{"only path and query count", "http://evil.example:1/status/200", "", portOf(t, plain), 200, "ok"},
		{"400", "/status/400", "", portOf(t, plain), 503, "HTTP status 400"},
		{"500 without the answer", "/status/500", "", portOf(t, plain), 503, "HTTP status 500"},
		{"redirect here", "/here", "", portOf(t, plain), 503, "HTTP status 500"},
		{"redirect away", "/away", "", portOf(t, plain), 200, "ok"},
		{"redirects without end", "/loop", "", portOf(t, plain), 503, "stopped after 10 redirects"},
		{"redirect to the sidecar", "/sidecar", "", portOf(t, plain), 503, fmt.Sprintf("port %d belongs to the sidecar, and is not probed", portOf(t, other))},
		{"the sidecar", "/", "", portOf(t, other), 503, fmt.Sprintf("port %d belongs to the sidecar, and is not probed", portOf(t, other))},
		{"a large answer", "/large", "", portOf(t, plain), 200, "ok"},
		{"no HTTP", "/garbled", "", portOf(t, plain), 503, "the answer is no HTTP that can be read, or not of this scheme"},
		{"an answer that breaks off", "/short", "", portOf(t, plain), 503, "the answer broke off"},
		{"headers", "/seen?q=1", headers, portOf(t, plain), 200, "ok"},
		{"TLS", "/status/200", `,"scheme":"HTTPS"`, portOf(t, secure), 200, "ok"},
		{"TLS without TLS", "/status/200", `,"scheme":"HTTPS"`, portOf(t, plain), 503, "the answer is no HTTP that can be read, or not of this scheme"},
		{"HTTP to TLS", "/status/200", "", portOf(t, secure), 503, "HTTP status 400"},
		{"nobody listens", "/", "", closedPort(t), 503, "connection refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := handler(t, fmt.Sprintf(`{"web/readyz":{"httpGet":{"path":%q,"port":%d%s},"timeoutSeconds":20}}`, test.path, test.port, test.more),
				uint16(portOf(t, other)))
			code, text := ask(h, http.MethodGet, "/app-health/web/readyz")
			if code != test.code || text != test.text && !strings.HasSuffix(text, test.text) {
				t.Errorf("%d %q; want %d %q", code, text, test.code, test.text)
			}
		})
	}
	if stranger.Load() != 0 {
		t.Errorf("a port of the sidecar was reached %d times", stranger.Load())
	}
}

// TestNames: what is not configured is not served, and nothing but reading is.
func TestNames(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer app.Close()
	h := handler(t, fmt.Sprintf(`{"web/livez":{"httpGet":{"port":%d}}}`, portOf(t, app)))
	for _, test := range []struct {
		method, path string
		code         int
	}{
		{http.MethodGet, "/app-health/web/livez", 200},
		{http.MethodHead, "/app-health/web/livez", 200},
		{http.MethodPost, "/app-health/web/livez", 405},
		{http.MethodGet, "/app-health/web/readyz", 404},
		{http.MethodGet, "/app-health/other/livez", 404},
		{http.MethodGet, "/app-health/web/livez/", 404},
		{http.MethodGet, "/app-health/web%2Flivez/", 404},
		{http.MethodGet, "/", 404},
	} {
		if code, _ := ask(h, test.method, test.path); code != test.code {
			t.Errorf("%s %s: %d; want %d", test.method, test.path, code, test.code)
		}
	}
}

// TestSlow: an application that does not answer is unhealthy after the probe's timeout.
func TestSlow(t *testing.T) {
	end := make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-end }))
	defer app.Close()
	defer close(end)
	h := handler(t, fmt.Sprintf(`{"web/livez":{"httpGet":{"port":%d}}}`, portOf(t, app)))
	if code, text := ask(h, http.MethodGet, "/app-health/web/livez"); code != 503 || text != "no answer within 1s" {
		t.Errorf("%d %q", code, text)
	}
}

// TestOneAtATime: many who ask are one connection to the application, one who gives up takes
// nothing from the others, and the next who asks gets an answer of its own.
func TestOneAtATime(t *testing.T) {
	const askers = 50
	var served atomic.Int32
	begun, proceed := make(chan struct{}, askers+1), make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		served.Add(1)
		begun <- struct{}{}
		<-proceed
	}))
	defer app.Close()
	h := handler(t, fmt.Sprintf(`{"web/livez":{"httpGet":{"port":%d},"timeoutSeconds":60}}`, portOf(t, app)))
	serve := func(ctx context.Context) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/app-health/web/livez", nil))
		if ctx.Err() == nil && w.Code != http.StatusOK {
			t.Errorf("%d", w.Code)
		}
	}
	ctx, leave := context.WithCancel(t.Context())
	var gone sync.WaitGroup
	for range askers {
		gone.Go(func() { serve(ctx) })
	}
	<-begun
	leave() // all of them, while the application still thinks
	gone.Wait()
	var stay sync.WaitGroup
	stay.Go(func() { serve(t.Context()) })
	if n := served.Load(); n != 1 {
		t.Errorf("the application was asked %d times at once", n)
	}
	close(proceed)
	stay.Wait()
	before := served.Load()
	serve(t.Context())
	if n := served.Load(); n != before+1 {
		t.Errorf("an answer of before was given: the application was asked %d times, then %d", before, n)
	}
}

// TestTCP: a port that listens is healthy.
func TestTCP(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := handler(t, fmt.Sprintf(`{"db/readyz":{"tcpSocket":{"port":%d}},"db/livez":{"tcpSocket":{"port":%d,"host":"localhost"}}}`,
		l.Addr().(*net.TCPAddr).Port, closedPort(t)))
	if code, text := ask(h, http.MethodGet, "/app-health/db/readyz"); code != 200 {
		t.Errorf("%d %q", code, text)
	}
	if code, text := ask(h, http.MethodGet, "/app-health/db/livez"); code != 503 || !strings.HasSuffix(text, "connection refused") {
		t.Errorf("%d %q", code, text)
	}
}

// TestGRPC holds against grpc-go's own health service.
func TestGRPC(t *testing.T) {
	serve := func(register func(*grpc.Server)) int {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer()
		register(s)
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Serve(l) }()
		t.Cleanup(func() { s.Stop(); <-done })
		return l.Addr().(*net.TCPAddr).Port
	}
	with := serve(func(s *grpc.Server) {
		h := health.NewServer()
		h.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_SERVING)
		h.SetServingStatus("cart", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		grpc_health_v1.RegisterHealthServer(s, h)
	})
	without := serve(func(*grpc.Server) {})
	for _, test := range []struct {
		name, service string
		port, code    int
		text          string
	}{
		{"the whole server", "", with, 200, "ok"},
		{"a service", "shop", with, 200, "ok"},
		{"a service that does not serve", "cart", with, 503, "gRPC health status NOT_SERVING"},
		{"an unknown service", "none", with, 503, "gRPC status NotFound"},
		{"no health service", "", without, 503, fmt.Sprintf("port %d does not serve grpc.health.v1.Health", without)},
	} {
		h := handler(t, fmt.Sprintf(`{"web/livez":{"grpc":{"port":%d,"service":%q},"timeoutSeconds":20}}`, test.port, test.service))
		if code, text := ask(h, http.MethodGet, "/app-health/web/livez"); code != test.code || text != test.text {
			t.Errorf("%s: %d %q; want %d %q", test.name, code, text, test.code, test.text)
		}
	}
	closed := closedPort(t)
	h := handler(t, fmt.Sprintf(`{"web/livez":{"grpc":{"port":%d},"timeoutSeconds":20}}`, closed))
	if code, text := ask(h, http.MethodGet, "/app-health/web/livez"); code != 503 || text != fmt.Sprintf("port %d cannot be reached by gRPC without TLS", closed) {
		t.Errorf("nobody listens: %d %q", code, text)
	}
	h = handler(t, fmt.Sprintf(`{"web/livez":{"grpc":{"port":%d},"timeoutSeconds":20}}`, with), uint16(with))
	if code, text := ask(h, http.MethodGet, "/app-health/web/livez"); code != 503 || !strings.Contains(text, "belongs to the sidecar") {
		t.Errorf("a port of the sidecar: %d %q", code, text)
	}
}

// TestDialGoesNowhereElse: of an address, only the port counts.
func TestDialGoesNowhereElse(t *testing.T) {
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	c := Config{Target: loopback}
	conn, err := c.dial(t.Context(), "tcp", fmt.Sprintf("metadata.invalid:%d", portOf(t, app)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.RemoteAddr().String(); got != fmt.Sprintf("127.0.0.1:%d", portOf(t, app)) {
		t.Errorf("dialled %s", got)
	}
	for _, bad := range []string{"127.0.0.1", "127.0.0.1:http", "127.0.0.1:65536"} {
		if _, err := c.dial(t.Context(), "tcp", bad); err == nil {
			t.Errorf("%s: dialled", bad)
		}
	}
}

func TestHandlerWantsAnAddress(t *testing.T) {
	for _, a := range []netip.Addr{{}, netip.IPv4Unspecified(), netip.MustParseAddr("224.0.0.1")} {
		if _, err := Handler(Set{}, Config{Target: a}); err == nil {
			t.Errorf("%v: taken", a)
		}
	}
}
