package extauthz

import (
	"fmt"
	"path/filepath"
	"testing"

	"pavise.dev/pavise/proxy/filter"
)

const istioCluster = `"outbound|9191||pavise-authz.pavise-system.svc.cluster.local"`

// TestIstio holds docs/recipes/istio.md: the filters that istiod makes, in each Envoy.
func TestIstio(t *testing.T) {
	for _, path := range envoys(t) {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			s := serve(t, Config{Address: "127.0.0.1:0"}, lists...)
			places := map[string]string{
				"PAVISE_ADDRESS": socketAddress(s.Addr()), "PAVISE_CLUSTER": istioCluster, "UPSTREAM_PORT": web(t), "TIMEOUT": "5s",
			}
			p := start(t, path, "istio-sidecar.yaml", places)
			for _, c := range []struct{ source, target, want string }{
				{"127.66.0.1", "/path", botsBody},
				{"127.66.0.1", "/healthz", "200"}, // the policy does not select it
				{"127.67.0.1", "/path", "200"},
				{"127.68.0.1", "/path", "200"},
			} {
				if got := p.send(c.source, "GET "+c.target+" HTTP/1.1\r\nHost: shop.example\r\n\r\n").String(); got != c.want {
					t.Errorf("%s asks for %s: %s, want %s", c.source, c.target, got, c.want)
				}
			}
			p.logged("403 ext_authz_denied feed:bots")
			p.logged("200 via_upstream feed:watched")
			if got := s.Stats(); got.Checks != 3 {
				t.Errorf("%+v", got)
			}

			places["UPSTREAM_PORT"] = echo(t)
			p = start(t, path, "istio-sidecar.yaml", places)
			if a, b := p.connect("127.66.0.1"), p.connect("127.68.0.1"); a != "closed" || b != "open" {
				t.Errorf("TCP: %s, %s", a, b)
			}

			// The egress gateway: another provider, whose server is told the direction.
			out := serve(t, Config{Address: "127.0.0.1:0", Direction: filter.Egress}, lists...)
			places["PAVISE_ADDRESS"], places["UPSTREAM_PORT"] = socketAddress(out.Addr()), web(t)
			p = start(t, path, "istio-sidecar.yaml", places)
			if a, b := p.get("127.66.0.1", "www.evil.example").String(), p.get("127.66.0.1", "a.example").String(); a != botsBody || b != "200" {
				t.Errorf("egress: %s, %s", a, b)
			}

			// The server is away: statusOnError for requests.
			for open, want := range map[string]string{"true": "200 open", "false": "503 closed"} {
				places["FAIL_OPEN"], places["PAVISE_ADDRESS"] = open, pipe(filepath.Join(shortDir(t), "none"))
				places["UPSTREAM_PORT"] = web(t)
				status := start(t, path, "istio-sidecar.yaml", places).get("127.66.0.1", "a.example").status
				places["UPSTREAM_PORT"] = echo(t)
				if got := fmt.Sprint(status, " ", start(t, path, "istio-sidecar.yaml", places).connect("127.66.0.1")); got != want {
					t.Errorf("away, failOpen %s: %s, want %s", open, got, want)
				}
			}
		})
	}
}

// TestEnvoyGateway holds docs/recipes/envoy-gateway.md: the filter that Envoy Gateway makes,
// in each Envoy, and TLS to the server.
func TestEnvoyGateway(t *testing.T) {
	for _, path := range envoys(t) {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			ca := newCA(t)
			s := serve(t, Config{Address: "127.0.0.1:0", TLS: ca.files(t), ForwardedFor: 2, Logger: logger(t)}, lists...)
			places := map[string]string{
				"PAVISE_ADDRESS": socketAddress(s.Addr()), "UPSTREAM_PORT": web(t), "PAVISE_TRANSPORT": ca.transport(""),
			}
			p := start(t, path, "envoy-gateway.yaml", places)
			xff := "X-Forwarded-For: "
			for _, c := range []struct{ target, header, want string }{
				{"/path", "X: y", "200"},
				{"/path", xff + "127.66.0.1", botsBody}, // as a load balancer adds it
				{"/path/x", xff + "10.0.0.1, 127.66.0.1", botsBody},
				{"/path", xff + "127.66.0.1, 10.0.0.1", "200"}, // what the client says itself
				{"/other", xff + "127.66.0.1", "200"},          // no policy at this route
			} {
				if got := p.send("127.0.0.1", "GET "+c.target+" HTTP/1.1\r\nHost: shop.example\r\n"+c.header+"\r\n\r\n").String(); got != c.want {
					t.Errorf("%s with %s: %s, want %s", c.target, c.header, got, c.want)
				}
			}
			p.logged("403 ext_authz_denied feed:bots")
			if got := s.Stats(); got.Checks != 4 {
				t.Errorf("%+v", got)
			}
			// Going out, told by a context extension, of the same server.
			places["CONTEXT"] = "{pavise-direction: egress}"
			p = start(t, path, "envoy-gateway.yaml", places)
			if a, b := p.get("127.66.0.1", "evil.example").String(), p.get("127.66.0.1", "a.example").String(); a != botsBody || b != "200" {
				t.Errorf("egress: %s, %s", a, b)
			}
			places["CONTEXT"] = "{pavise-direction: sideways}"
			p = start(t, path, "envoy-gateway.yaml", places)
			if got := p.get("127.66.0.1", "evil.example").String(); got != "200" || s.Stats().Failed != 1 {
				t.Errorf("a direction that is none: %s, %+v", got, s.Stats())
			}
			for open, want := range map[string]int{"true": 200, "false": 403} {
				places["FAIL_OPEN"], places["PAVISE_ADDRESS"] = open, pipe(filepath.Join(shortDir(t), "none"))
				if got := start(t, path, "envoy-gateway.yaml", places).get("127.66.0.1", "a.example").status; got != want {
					t.Errorf("away, failOpen %s: %d, want %d", open, got, want)
				}
			}
		})
	}
}
