//go:build cgo

package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"pavise.dev/pavise/internal/envoy"
	"pavise.dev/pavise/proxy/filter"
)

func at(addr string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
}

// TestHTTPIngress would catch a source that is not the connection's, a feed of the other
// direction that is asked, and a denial that does not say why.
func TestHTTPIngress(t *testing.T) {
	eachEnvoy(t, func(t *testing.T, path string) {
		l := start(t, path, options{feeds: with(t,
			deny("bad", "Both", "127.66.0.0/16", "127.66.1.0/24", "2001:db8::/32"),
			alert("odd", "Ingress", "127.67.0.0/16"),
			deny("out", "Egress", "127.68.0.0/16", "host.example"),
			deny("six", "Ingress", "::1/128"),
		)})
		const ok = "Host: a.example"
		for _, c := range []struct {
			name, from, want string
			headers          []string
		}{
			{"a source that is listed", "127.66.1.9", "403 feed:bad action=deny asked=source entry=127.66.1.0/24 feed=bad line=2 reason=feed:bad", nil},
			{"a source that is reported", "127.67.0.1", "200 action=alert asked=source entry=127.67.0.0/16 feed=odd line=1 reason=feed:odd", nil},
			{"a source that is not listed", "127.0.0.1", "200", nil},
			{"a feed for egress", "127.68.0.1", "200", nil},
			{"X-Forwarded-For does not make another source", "127.66.1.9", "403 feed:bad action=deny asked=source entry=127.66.1.0/24 feed=bad line=2 reason=feed:bad", []string{"X-Forwarded-For: 192.0.2.1"}},
			{"nor a listed one", "127.0.0.1", "200", []string{"X-Forwarded-For: 127.66.1.9", "Forwarded: for=127.66.1.9"}},
			{"a host is not asked about", "127.0.0.1", "200", []string{"X-Other: 1"}},
		} {
			if got := l.get(c.from, at(l.addr, 10001), append(c.headers, ok)...).say(); got != c.want {
				t.Errorf("%s: %s, want %s", c.name, got, c.want)
			}
		}
		denied := l.get("127.66.1.9", at(l.addr, 10001), ok)
		if denied.body != "denied by Pavise: feed:bad\n" || denied.entry.Details != "pavise_feed" {
			t.Errorf("body %q, details %q", denied.body, denied.entry.Details)
		}
		if got, want := l.get("::1", l.v6, ok).say(), "403 feed:six action=deny asked=source entry=::1/128 feed=six line=1 reason=feed:six"; got != want {
			t.Errorf("IPv6: %s, want %s", got, want)
		}
		if denied, alerted, failed := l.stat("feeds_denied"), l.stat("feeds_alerted"), l.stat("feeds_failed"); denied != 4 || alerted != 1 || failed != 0 {
			t.Errorf("counters: %d denied, %d alerted, %d failed", denied, alerted, failed)
		}
	})
}

// TestDirectSource: an Envoy that can say the address of the connection is asked for that,
// also where its connection manager believes X-Forwarded-For.
func TestDirectSource(t *testing.T) {
	l := start(t, anEnvoy(t), options{
		feeds: with(t, deny("bad", "Both", "127.66.0.0/16")),
		edit: func(text string) string {
			return strings.ReplaceAll(text, "use_remote_address: true", "use_remote_address: false")
		},
	})
	if !strings.Contains(l.admin("/server_info"), "/"+envoy.PinnedVersion+"/") {
		t.Skip("Envoys before 1.40 cannot")
	}
	for from, want := range map[string]int{"127.66.0.1": 403, "127.0.0.1": 200} {
		other := map[string]string{"127.66.0.1": "192.0.2.1", "127.0.0.1": "127.66.0.1"}[from]
		if got := l.get(from, at(l.addr, 10001), "Host: a.example", "X-Forwarded-For: "+other).status; got != want {
			t.Errorf("from %s for %s: %d", from, other, got)
		}
	}
}

// TestHTTPEgress would catch a host that another spelling of it gets by.
func TestHTTPEgress(t *testing.T) {
	eachEnvoy(t, func(t *testing.T, path string) {
		l := start(t, path, options{feeds: with(t,
			deny("names", "Egress", "bad.example", "-good.bad.example", "a.b.c.deep.example"),
			deny("addresses", "Both", "192.0.2.0/24", "2001:db8::/32", "127.70.0.0/16"),
			alert("seen", "Egress", "seen.example"),
			deny("in", "Ingress", "in.example", "127.71.0.0/16"),
		)})
		const name = "403 feed:names action=deny asked=host entry=bad.example feed=names line=1 reason=feed:names"
		const v4 = "403 feed:addresses action=deny asked=host entry=192.0.2.0/24 feed=addresses line=1 reason=feed:addresses"
		const v6 = "403 feed:addresses action=deny asked=host entry=2001:db8::/32 feed=addresses line=2 reason=feed:addresses"
		for _, c := range []struct{ host, want string }{
			{"bad.example", name},
			{"www.bad.example", name},
			{"WWW.Bad.Example", name},
			{"bad.example:8080", name},
			{"bad.example.", name},
			{"Bad.Example.:80", name},
			{"good.bad.example", "200"},
			{"x.good.bad.example", "200"},
			{"notbad.example", "200"},
			{"bad.example.org", "200"},
			{"b.c.deep.example", "200"},
			{"x.a.b.c.deep.example", "403 feed:names action=deny asked=host entry=a.b.c.deep.example feed=names line=3 reason=feed:names"},
			{"in.example", "200"},
			{"seen.example", "200 action=alert asked=host entry=seen.example feed=seen line=1 reason=feed:seen"},
			{"192.0.2.9", v4},
			{"192.0.2.9:80", v4},
			{"0300.0.2.9", v4},
			{"3221225993", v4},
			{"[::ffff:192.0.2.9]", v4},
			{"[2001:db8::9]", v6},
			{"[2001:DB8::9]:443", v6},
			{"198.51.100.1", "200"},
			{strings.Repeat("a.", 300) + "bad.example", "200"},
		} {
			if got := l.get("127.0.0.1", at("127.0.0.1", l.http), "Host: "+c.host).say(); got != c.want {
				t.Errorf("%.40s: %s, want %s", c.host, got, c.want)
			}
		}
		// The listener is at every address, so the destination is what the client chose.
		if got, want := l.get("127.0.0.1", at("127.70.0.1", l.http), "Host: a.example").say(),
			"403 feed:addresses action=deny asked=destination entry=127.70.0.0/16 feed=addresses line=3 reason=feed:addresses"; got != want {
			t.Errorf("destination: %s, want %s", got, want)
		}
		if got := l.get("127.70.0.1", at("127.71.0.1", l.http), "Host: a.example").say(); got != "200" {
			t.Errorf("a source that is listed, a destination that is for ingress: %s", got)
		}
	})
}

// TestExplicitProxy would catch a proxy that asks about what the client wrote instead of
// what it saved, or about its own address.
func TestExplicitProxy(t *testing.T) {
	eachEnvoy(t, func(t *testing.T, path string) {
		l := start(t, path, options{})
		l.inForceAfter(func() string {
			return save(t, l.feeds, deny("f", "Egress", "bad.example", "127.0.0.9/32", l.addr+"/32"))
		})
		up := fmt.Sprintf("127.0.0.1:%d", l.upstream.port)
		for _, c := range []struct{ name, host, saved, want string }{
			{"what is saved is asked about", up, "bad.example", "403 feed:f action=deny asked=host entry=bad.example feed=f line=1 reason=feed:f"},
			{"and not what was written", up, "fine.example", "200"},
			{"an address", up, "127.0.0.9", "403 feed:f action=deny asked=host entry=127.0.0.9/32 feed=f line=2 reason=feed:f"},
		} {
			if got := l.get("127.0.0.1", at(l.addr, 10003), "Host: "+c.host, "X-Host: "+c.saved).say(); got != c.want {
				t.Errorf("%s: %s, want %s", c.name, got, c.want)
			}
		}
	})
}

// TestFailModes: nothing to decide by, by all ways there are to that.
func TestFailModes(t *testing.T) {
	const ok, closed = "200", "403 feeds-unavailable action=deny reason=feeds-unavailable"
	for _, c := range []struct {
		name string
		o    options
		want string
	}{
		{"no snapshot, closed", options{}, closed},
		{"no snapshot, open", options{fail: "open"}, ok},
		{"no path, closed", options{unset: true}, closed},
		{"no path, open", options{unset: true, fail: "open"}, ok},
		{"a corrupt snapshot, closed", options{feeds: func(p string) { write(t, p, []byte("<html>")) }}, closed},
		{"a corrupt snapshot, open", options{fail: "open", feeds: func(p string) { write(t, p, []byte("<html>")) }}, ok},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := start(t, anEnvoy(t), c.o)
			if got := l.get("127.0.0.1", at(l.addr, 10001), "Host: a.example").say(); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			before := l.upstream.accepted.Load()
			if got := l.dial("127.0.0.1", at(l.addr, 10004)); got != (c.want == ok) {
				t.Errorf("TCP passes: %v", got)
			}
			if n := l.upstream.accepted.Load() - before; (n != 0) != (c.want == ok) {
				t.Errorf("%d connections upstream", n)
			}
			if l.stat("feeds_failed") != 2 {
				t.Errorf("counted %d failures of 2", l.stat("feeds_failed"))
			}
			// What comes later is enforced without a restart.
			if c.o.unset {
				return
			}
			l.inForceAfter(func() string { return save(t, l.feeds, deny("late", "Both", "127.66.0.0/16")) })
			if got := l.get("127.0.0.1", at(l.addr, 10001), "Host: a.example").say(); got != ok {
				t.Errorf("a snapshot that is late: %s", got)
			}
			if got := l.get("127.66.0.1", at(l.addr, 10001), "Host: a.example").reason; got != "feed:late" {
				t.Errorf("a snapshot that is late: %s", got)
			}
		})
	}
}

// TestRequiredNeverLoaded: nobody knows what it lists, whatever onFailure says.
func TestRequiredNeverLoaded(t *testing.T) {
	f := deny("needed", "Egress")
	f.Required, f.Loaded = true, false
	l := start(t, anEnvoy(t), options{fail: "open", feeds: with(t, f, deny("other", "Both", "bad.example"))})
	for host, want := range map[string]string{
		"a.example":   "403 feed-not-loaded:needed action=deny feed=needed reason=feed-not-loaded:needed",
		"bad.example": "403 feed:other action=deny asked=host entry=bad.example feed=other line=1 reason=feed:other",
	} {
		if got := l.get("127.0.0.1", at("127.0.0.1", l.http), "Host: "+host).say(); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
	if got := l.get("127.0.0.1", at(l.addr, 10001), "Host: a.example").say(); got != "200" {
		t.Errorf("ingress: %s", got)
	}
}

// TestPanic: Envoy lives, what was asked is decided by onFailure, and it is counted.
func TestPanic(t *testing.T) {
	for fail, want := range map[string]string{"open": "200", "closed": "403 feeds-unavailable action=deny reason=feeds-unavailable"} {
		t.Run(fail, func(t *testing.T) {
			l := start(t, anEnvoy(t), options{tags: "pavise_module_test", fail: fail, feeds: with(t, deny("f", "Both", "panic.example", "bad.example"))})
			for range 3 {
				if got := l.get("127.0.0.1", at("127.0.0.1", l.http), "Host: panic.example").say(); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			}
			if got := l.get("127.0.0.1", at("127.0.0.1", l.http), "Host: bad.example").reason; got != "feed:f" {
				t.Errorf("after it: %q", got)
			}
			if l.stat("feeds_failed") != 3 {
				t.Errorf("counted %d", l.stat("feeds_failed"))
			}
			l.logged("a panic: this is a bug")
			// The test build reports every second, the real one every ten.
			l.wait("the panics are reported", func() bool {
				s := l.state()
				return s.Panics == 3 && len(s.Hits) == 1 && s.Hits[0] == filter.Hits{Feed: "f", Denied: 1}
			})
		})
	}
}

// TestConfigRefused: what is misspelt is not in force, and the log says what would be right.
func TestConfigRefused(t *testing.T) {
	for _, c := range []struct{ old, new, why string }{
		{`"direction":"ingress","onFailure":"closed"`, `"direction":"inbound","onFailure":"closed"`, `direction \"inbound\": it is ingress or egress`},
		{`"direction":"ingress","onFailure":"closed"`, `"direction":"ingress"`, `onFailure \"\": it is open or closed`},
		{`"direction":"ingress","onFailure":"closed"`, `"direction":"ingress","onFailure":"closed","onfail":"open"`, `unknown field \"onfail\"`},
		{`"direction":"ingress","onFailure":"closed"`, strings.Repeat(" ", 5000), `longer than 4096 octets`},
		{`filter_name: feeds`, `filter_name: feed`, `filter_name \"feed\": it is \"feeds\"`},
	} {
		l := configure(t, options{})
		file := filepath.Join(l.dir, "envoy.yaml")
		text := read(t, file)
		if !strings.Contains(text, c.old) {
			t.Fatalf("%s is not in the configuration", c.old)
		}
		write(t, file, []byte(strings.ReplaceAll(text, c.old, c.new)))
		out, err := l.command(anEnvoy(t), options{}, "--mode", "validate").CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.why) {
			t.Errorf("%.60s: %v, and the log does not say %s\n%s", c.new, err, c.why, out)
		}
	}
	// A check starts nothing and writes nothing.
	l := configure(t, options{feeds: with(t, deny("f", "Both"))})
	if out, err := l.command(anEnvoy(t), options{}, "--mode", "validate").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if got := l.state(); got.PID != 0 {
		t.Errorf("a check reports %+v", got)
	}
}
