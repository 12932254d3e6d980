package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/test/netlab"
)

// TestSidecar puts a sidecar that is in force to what applications and strangers do.
func TestSidecar(t *testing.T) {
	s := newSidecar(t, netlab.Options{})
	t.Run("feeds", func(t *testing.T) { s.egress(t, feedRows) })
	t.Run("policies", func(t *testing.T) { s.egress(t, policyRows) })
	t.Run("hosts", func(t *testing.T) { s.egress(t, hostRows) })
	t.Run("questions", s.questions)
	t.Run("around", s.around)
	t.Run("ingress", func(t *testing.T) { s.ingress(t, ingressRows) })
	t.Run("one connection", s.oneConnection)
	t.Run("metrics", s.metrics)
	t.Run("series", s.series)
	t.Run("status", s.says)
	t.Run("explained", s.explained)
}

// TestWithoutIPv6 catches a sidecar that needs IPv6 to listen or to answer.
func TestWithoutIPv6(t *testing.T) {
	s := newSidecar(t, netlab.Options{NoIPv6: true})
	s.egress(t, inForceRows)
	s.ingress(t, ingressRows[:2])
}

// oneConnection catches a decision that holds for more than its request.
func (s *sidecar) oneConnection(t *testing.T) {
	s.eachFamily(t, func(t *testing.T, f family) {
		addr, err := s.resolve("api.example", f)
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.dial(s.Pod, application, "tcp", netip.AddrPortFrom(addr, 80))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		in := bufio.NewReader(c)
		for _, step := range []struct {
			url  string
			want int
		}{
			{"api.example/v1", 200}, {"api.example/v2", 403}, {"evil.example/v1", 403}, {"bad.example/v1", 403}, {"api.example/v1", 200},
		} {
			host, path, _ := strings.Cut(step.url, "/")
			fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host)
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("%s: %v", step.url, err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != step.want {
				t.Errorf("%s: %d, %v; want %d", step.url, resp.StatusCode, err, step.want)
			}
			_ = resp.Body.Close()
		}
	})
}

// explained: whatever was decided on what was redirected, and logged by the agent, the control
// plane says of the record that it comes out as it did, by feeds and rules, for names, addresses,
// HTTP and what is none.
func (s *sidecar) explained(t *testing.T) {
	client := admin.NewClient(filepath.Join(s.control.run, "pavise.sock"))
	all, unasked := s.agent.since(0), map[string]int{}
	for i := range all {
		r := &all[i]
		if r.Count > 1 {
			continue // stands for several, and says what they have in common
		}
		e, err := client.Explain(t.Context(), admin.Query{Record: r})
		line, _ := r.MarshalJSON()
		switch {
		case err != nil:
			t.Errorf("%v\n%s", err, line)
		case e.Verdict != r.Verdict || e.ReasonID != r.Reason || e.Decided.Changed:
			t.Errorf("explained as %s %s\n%s", e.Verdict, e.ReasonID, line)
		case e.Decided.Unasked != "":
			unasked[string(r.From)+" "+r.Reason]++
		}
	}
	t.Logf("%d records, of which no rule was asked about %v", len(all), unasked)
	if len(all) < 100 {
		t.Errorf("only %d records", len(all))
	}
}

// metrics have to count what the rows before have done.
func (s *sidecar) metrics(t *testing.T) {
	for name, least := range map[string]int{
		`pavise_denied_total`: 50,
		`pavise_decisions_total{outcome="written",output="stdout",verdict="deny"}`: 50,
		`pavise_feeds_hits_total{action="deny",feed="deny",host="envoy"}`:          10,
		`pavise_feeds_hits_total{action="alert",feed="alert",host="envoy"}`:        6,
		`pavise_feeds_hits_total{action="deny",feed="deny",host="dns"}`:            8,
		`pavise_dns_questions_total{outcome="private"}`:                            4,
		`pavise_names_total{outcome="learnt"}`:                                     10,
		`pavise_envoy_up`:                                                          1,
		`pavise_feeds_in_force`:                                                    1,
	} {
		await(t, name, func() (string, bool) {
			value := s.agent.metric(name)
			n, err := strconv.Atoi(value)
			return value, err == nil && n >= least
		})
	}
	for _, name := range []string{"pavise_module_panics_total", `pavise_names_total{outcome="refused"}`, `pavise_decisions_total{outcome="gave-up",output="stdout",verdict="deny"}`} {
		if got := s.agent.metric(name); got != "0" {
			t.Errorf("%s is %q", name, got)
		}
	}
}

// series catches a metric that whoever sends requests can make more of: hosts, paths, methods,
// names and ports that nobody has seen before are no labels.
func (s *sidecar) series(t *testing.T) {
	all := func() map[string]bool {
		t.Helper()
		_, page, err := s.get("http://10.77.0.2:15020/metrics")
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]bool{}
		for l := range strings.Lines(page) {
			if i := strings.LastIndexByte(strings.TrimSpace(l), ' '); i > 0 && l[0] != '#' {
				out[l[:i]] = true
			}
		}
		return out
	}
	before := all()
	for i := range 100 {
		to := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.68"), 80)
		s.try(s.Pod, application, netip.Addr{}, fmt.Sprintf("GET h%d.example/p%d/x", i, i), to)
		s.try(s.Pod, application, netip.Addr{}, fmt.Sprintf("TLS s%d.bad.example", i), netip.AddrPortFrom(to.Addr(), uint16(2000+i)))
		_, _ = s.resolve(fmt.Sprintf("n%d.bad.example", i), 4)
	}
	s.agent.awaitStatus("decisions arrive", func(*status) bool { return len(s.agent.since(0)) > 200 })
	after := all()
	for name := range after {
		if !before[name] {
			t.Errorf("there is a new series: %s", name)
		}
	}
	ours := 0
	for name := range after {
		if strings.HasPrefix(name, "pavise_") {
			ours++
		}
	}
	if ours > 300 {
		t.Errorf("there are %d series of ours", ours)
	}
	t.Logf("%d series, %d of them ours", len(after), ours)
}

// says asks with the command for it, which exits with 0 if all is in force.
func (s *sidecar) says(t *testing.T) {
	for _, dir := range []string{s.agent.run, s.control.run} {
		if out, err := exec.Command(s.pavise, "status", "--run-dir", dir).CombinedOutput(); err != nil {
			t.Errorf("pavise status of %s: %v: %s", dir, err, out)
		}
	}
}

var feedRows = []row{
	{"an address that is listed", "GET api.example/v1 at 203.0.113.66:80", "deny feed:deny [deny {2|3} destination]", ""},
	{"the same by TCP", "TCP at 203.0.113.66:25", "deny feed:deny [deny {2|3} destination]", ""},
	{"the same at an opaque port", "MUTE at 203.0.113.66:3306", "deny feed:deny [deny {2|3} destination]", ""},
	{"a server name that is listed", "TLS www.bad.example at 203.0.113.68:443", "deny feed:deny [deny 4 serverName]", ""},
	{"a Host that is listed", "GET bad.example/ at 203.0.113.68:80", "deny feed:deny [deny 4 host]", ""},
	{"the same in capitals, with a port and a dot", "GET WWW.Bad.Example.:80/ at 203.0.113.68:80", "deny feed:deny [deny 4 host]", ""},
	{"a Host that is a listed address", "GET 203.0.113.66/ at 203.0.113.68:80", "deny feed:deny [deny {2|3} host]", ""},
	{"an address that is watched", "GET any.example/ at 203.0.113.67:80", "allow namespace:shop/app#watched (alert {1|2} destination)", ""},
	{"a server name that is watched", "TLS watched.example at 203.0.113.68:443", "allow namespace:shop/app#watched (alert 3 serverName)", ""},
	{"a Host that is watched", "GET watched.example/ at 203.0.113.68:80", "allow namespace:shop/app#watched (alert 3 host)", ""},
	{"what is not listed", "TCP at 203.0.113.68:25", "allow namespace:shop/app#watched", ""},
}

const (
	byDefault = "deny default-deny:shop/app"
	notEvil   = "deny namespace:shop/app#not-evil"
	api       = "allow namespace:shop/app#api"
	partners  = "allow namespace:shop/app#partners"
)

var policyRows = []row{
	{"a name that was resolved, by HTTP", "GET api.example/v1/x at api.example:80", api, ""},
	{"another path of it", "GET api.example/v2 at api.example:80", byDefault, ""},
	{"another method", "POST api.example/v1 at api.example:80", byDefault, ""},
	{"a path by a detour", "GET api.example/v1/../admin at api.example:80", byDefault, ""},
	{"HTTP/2", "H2 api.example/v1/x at api.example:80", api, ""},
	{"another path by HTTP/2", "H2 api.example/v2 at api.example:80", byDefault, ""},
	{"the URL of somebody's proxy goes before Host", "PROXY evil.example/v1 at api.example:80", notEvil, ""},
	{"what is no HTTP, at the address of an API", "TCP at api.example:80", byDefault, ""},
	{"a name that was resolved, by TLS", "TLS a.partner.example at a.partner.example:443", partners, ""},
	{"a name that was resolved, by TCP that says no name", "TCP at a.partner.example:4443", partners, ""},
	{"the same by a server that speaks first", "MUTE at b.partner.example:4444", partners, ""},
	{"a name that was resolved, by TLS that says no name", "TLS  at a.partner.example:443", partners, ""},
	{"a Host at an address of the client's choice", "GET api.example/v1 at 203.0.113.200:80", byDefault, ""},
	{"a Host at the address of another name", "GET api.example/v1 at other.example:80", byDefault, ""},
	{"another Host at the address of an allowed name", "GET other.example/v1 at api.example:80", byDefault, ""},
	{"fronting: the server name is fine, the address is not", "TLS a.partner.example at front.evil.example:443", notEvil, ""},
	{"fronting: the address is fine, the server name is not", "TLS front.evil.example at a.partner.example:443", notEvil, ""},
	{"fronting: the address is fine, the server name is nobody's", "TLS other.example at a.partner.example:443", byDefault, ""},
	{"fronting: the address is fine, the Host is not", "GET evil.example/v1 at api.example:80", notEvil, ""},
	{"an address that an allowed name shares with a blocked one", "GET shared.example/v1 at shared.example:80 after x.evil.example", notEvil, ""},
	{"an address that an allowed name shares with nobody's", "GET web.example/v1 at web.example:80 after neighbour.example", api, ""},
	{"and nobody's name at it", "GET neighbour.example/v1 at web.example:80", byDefault, ""},
	{"an alias", "GET alias.example/v1 at alias.example:80", api, ""},
	{"the name behind the alias is not its", "GET target.example/v1 at alias.example:80", byDefault, ""},
	{"a server name alone, where the rule asks for no more", "TLS sni.example at 203.0.113.201:443", "allow namespace:shop/app#by-sni", ""},
	{"TLS without a server name, at an address that nobody resolved", "TLS  at 203.0.113.202:443", byDefault, ""},
	{"an opaque port", "MUTE at 203.0.113.50:3306", "allow namespace:shop/app#database", ""},
	{"an opaque port of another address", "MUTE at 203.0.113.51:3306", byDefault, ""},
	{"another port of the address", "TCP at 203.0.113.50:25", byDefault, ""},
	{"an answer that may not be kept", "GET ttl0.example/v1 at ttl0.example:80", api, ""},
	{"port 15001 of somebody else", "GET api.example/v1 at 203.0.113.203:15001", "deny not-redirected", ""},
	{"a header that names another destination", "GET api.example/v1 with X-Envoy-Original-Dst-Host: 203.0.113.66:80 at api.example:80", api, ""},
	{"the pod's own address", "TCP at 10.77.0.2:9090", byDefault, ""},
	{"CONNECT to a proxy outside", "CONNECT evil.example:443/ at api.example:80", "deny connect-refused", ""},
}

var hostRows = []row{
	{"with a port", "GET api.example:80/v1 at api.example:80", api, ""},
	{"with a dot at its end", "GET api.example./v1 at api.example:80", api, "outside 203.0.113.10:80 GET api.example/v1"},
	{"with both", "GET api.example.:80/v1 at api.example:80", api, "outside 203.0.113.10:80 GET api.example:80/v1"},
	{"in mixed case, and so resolved", "GET cAsE.exAmple/v1 at CaSe.Example:80", api, "outside 203.0.113.13:80 GET case.example/v1"},
	{"in another script, as clients send it", "GET xn--bcher-kva.example/v1 at xn--bcher-kva.example:80", api, ""},
	{"an address", "GET 203.0.113.40/x at 203.0.113.40:80", "allow namespace:shop/app#literal", ""},
	{"an address where a name is asked for", "GET 203.0.113.10/v1 at api.example:80", byDefault, ""},
	{"an address in octal", "GET 0313.0.113.10/v1 at api.example:80", "deny malformed-host", ""},
	{"two hosts", "GET api.example,evil.example/v1 at api.example:80", "deny malformed-host", ""},
	{"a user before it", "GET evil@api.example/v1 at api.example:80", "deny malformed-host", ""},
	{"the end of the name is another's", "GET api.example.evil.example/v1 at api.example:80", notEvil, ""},
}

var ingressRows = []row{
	{"a path that is allowed", "GET app.example/shop/7 at :8080 from 198.51.100.7", "allow namespace:shop/app#browse", ""},
	{"another path", "GET app.example/admin at :8080 from 198.51.100.7", byDefault, ""},
	{"another method", "POST app.example/shop at :8080 from 198.51.100.7", byDefault, ""},
	{"a path that can be read in two ways", "GET app.example/shop/..%2fadmin at :8080 from 198.51.100.7", "deny ambiguous-path", ""},
	{"what is no HTTP, at the port of the web", "TCP at :8080 from 198.51.100.7", byDefault, ""},
	{"a port that takes anything", "TCP at :9090 from 198.51.100.7", "allow namespace:shop/app#metrics", ""},
	{"another port", "TCP at :9091 from 198.51.100.7", byDefault, ""},
	{"a source that is listed, by HTTP", "GET app.example/shop/7 at :8080 from 198.51.100.66", "deny feed:deny [deny {5|6} source]", ""},
	{"a source that is listed, by TCP", "TCP at :9090 from 198.51.100.66", "deny feed:deny [deny {5|6} source]", ""},
	{"a header that names another source does not free it", "GET app.example/shop/7 with X-Forwarded-For: 198.51.100.7 at :8080 from 198.51.100.66", "deny feed:deny [deny {5|6} source]", ""},
	{"nor accuse another", "GET app.example/shop/7 with X-Forwarded-For: 198.51.100.66 at :8080 from 198.51.100.7", "allow namespace:shop/app#browse", ""},
	{"a source that is watched", "GET app.example/shop/7 at :8080 from 198.51.100.67", "allow namespace:shop/app#browse (alert {4|5} source)", ""},
}
