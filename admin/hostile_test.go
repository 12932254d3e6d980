package admin

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// TestWhatBrokeOthers has a row for what broke admin endpoints elsewhere.
func TestWhatBrokeOthers(t *testing.T) {
	for _, row := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"CVE-2026-41448, path traversal past the login of an admin page", traversal},
		{"GO-2025-3416, wildcard CORS", foreignOrigins},
		{"istio 59970, a sibling endpoint without the authentication of the first", TestNoRouteWithoutCredentials},
		{"CVE-2026-31837, a key that cannot be had falls back to one that could", tokenGone},
		{"GO-2023-1730, secrets in debug output", TestSecretsAreInNoAnswer},
		{"linkerd 15109, a new certificate that was never loaded", TestCertificatesInFiles},
		{"CVE-2024-45808, control characters of a request in what is shown of it", controlCharacters},
	} {
		t.Run(row.name, row.run)
	}
}

// raw sends a request line that no HTTP client would, and returns the status line.
func raw(t *testing.T, address, target string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, address)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	return resp.Status
}

func traversal(t *testing.T) {
	pages := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a page")) })
	address := served(t, newLab(t), Options{TokenFile: tokenAt(t, goodToken), Pages: pages}, false)
	for _, target := range []string{
		"/style.css/../api/v1/status", "/style.css/..%2fapi/v1/status", "/%2e%2e/api/v1/status", "//api/v1/status", "/./api/v1/status", "/api/v1/status/",
		"/api//v1/status", "/api/v1/status?x=/style.css", "/api/v1/status;/style.css", "/api\\v1\\status", "/login/../api/v1/status", "/API/V1/STATUS",
		"http://" + address + "/api/v1/status", "*", "/style.css", "/",
	} {
		if status := raw(t, address, target); !strings.HasPrefix(status, "401 ") && !strings.HasPrefix(status, "400 ") {
			t.Errorf("%s without a token: %s", target, status)
		}
	}
}

func foreignOrigins(t *testing.T) {
	l := newLab(t)
	address := served(t, l, Options{}, true)
	c := client(t, nil)
	for _, r := range routes() {
		for _, method := range []string{r.method, http.MethodOptions} {
			req := example(&r, l)
			req.URL.Scheme, req.URL.Host, req.Host, req.RequestURI, req.Method = "http", address, "", "", method
			req.Header.Set("Origin", "https://evil.example")
			req.Header.Set("Access-Control-Request-Method", r.method)
			status, _, h := fetched(t, c, req)
			if status != http.StatusForbidden {
				t.Errorf("%s %s of another origin: %d", method, r.path, status)
			}
			for name := range h {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s says %s", method, r.path, name)
				}
			}
		}
	}
}

func tokenGone(t *testing.T) {
	path := tokenAt(t, goodToken)
	address := served(t, newLab(t), Options{TokenFile: path}, false)
	get := func(token string) int {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/api/v1/status", http.NoBody)
		req.Header.Set("Authorization", "Bearer "+token)
		status, _, _ := fetched(t, client(t, nil), req)
		return status
	}
	if got := get(goodToken); got != http.StatusOK {
		t.Fatalf("the token: %d", got)
	}
	for what, do := range map[string]func() error{
		"emptied":  func() error { return os.WriteFile(path, nil, 0o600) },
		"removed":  func() error { return nil },
		"a folder": func() error { return os.Mkdir(path, 0o700) },
	} {
		_ = os.RemoveAll(path)
		if err := do(); err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{goodToken, "", "\n"} {
			if got := get(strings.TrimSpace(token)); got != http.StatusUnauthorized {
				t.Errorf("%s, with %q: %d", what, token, got)
			}
		}
	}
}

func controlCharacters(t *testing.T) {
	l := newLab(t)
	r := decisions.Record{
		Listener: "shop/web/http", Workload: "shop/web", Direction: policy.Ingress, Verdict: policy.Denied, Reason: "default-deny:shop/web",
		Source: "192.0.2.77:1", Host: "a\r\nSet-Cookie: x\x1b[2J\u202e.example", ServerName: "s\x00n\x9b", Method: "GET", Path: "/\u2028<script>\xff",
		RequestID: "hostile", Headers: "x-role: \x1b]0;owned\x07", Query: "v=\x00", Names: "n\x7f",
	}
	l.Flows().Add(&r)
	mux := newEndpoint(l, false).mux()
	for _, path := range []string{"/api/v1/requests/hostile", "/api/v1/flows?peer=192.0.2.77"} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
		w := ask(mux, req, &route{})
		body := w.Body.String()
		if w.Code != http.StatusOK || !strings.Contains(body, "192.0.2.77") {
			t.Fatalf("%s: %d %s", path, w.Code, body)
		}
		for i := 0; i < len(body); {
			c, n := utf8.DecodeRuneInString(body[i:])
			if c == utf8.RuneError && n == 1 || c < ' ' && c != '\n' || c == 0x7f || 0x80 <= c && c < 0xa0 || 0x200e <= c && c <= 0x202e {
				t.Fatalf("%s has %U in %q", path, c, body[max(0, i-30):i+3])
			}
			i += n
		}
	}
}
