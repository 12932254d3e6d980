//go:build cgo

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/proxy/names"
)

// dial opens a connection, sends something and says whether anything came back.
func (l *live) dial(from string, to netip.AddrPort) bool {
	l.t.Helper()
	c := l.connect(from, to)
	defer c.Close()
	_, _ = c.Write([]byte("hello\n"))
	b, _ := io.ReadAll(c)
	return strings.HasSuffix(string(b), "upstream")
}

func (l *live) connect(from string, to netip.AddrPort) net.Conn {
	l.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	c, err := d.DialContext(context.Background(), "tcp", to.String())
	if err != nil {
		l.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// hello sends a ClientHello and waits until the other end has closed.
func (l *live) hello(to netip.AddrPort, name string) {
	l.t.Helper()
	c := l.connect("127.0.0.1", to)
	defer c.Close()
	_ = tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
}

// TestConnections would catch a connection that is denied after its upstream was opened
// (envoy 9023), and facts that are not those of the connection.
func TestConnections(t *testing.T) {
	eachEnvoy(t, func(t *testing.T, path string) {
		l := start(t, path, options{feeds: with(t,
			deny("bad", "Both", "127.66.0.0/16", "bad.example"),
			alert("odd", "Both", "127.67.0.0/16", "seen.example"),
			deny("in", "Ingress", "127.68.0.0/16", "in.example"),
		)})
		tcp, egress := at(l.addr, 10004), func(to string) netip.AddrPort { return at(to, l.tcp) }
		opened := int64(0)
		for _, c := range []struct {
			name   string
			do     func()
			passes bool
			feeds  string // of the access log, where something is there
			is     func(e entry) bool
		}{
			{"a source that is listed", func() { l.dial("127.66.0.1", tcp) }, false, "source 127.66.0.0/16", func(e entry) bool { return strings.HasPrefix(e.Source, "127.66.0.1:") }},
			{"a source that is reported", func() { l.dial("127.67.0.1", tcp) }, true, "source 127.67.0.0/16", func(e entry) bool { return strings.HasPrefix(e.Source, "127.67.0.1:") }},
			{"a source that is not", func() { l.dial("127.0.0.1", tcp) }, true, "", nil},
			{"a destination that is listed", func() { l.dial("127.0.0.1", egress("127.66.0.2")) }, false, "destination 127.66.0.0/16", func(e entry) bool { return e.Destination == "127.66.0.2" }},
			{"a destination that is reported", func() { l.dial("127.0.0.1", egress("127.67.0.2")) }, true, "destination 127.67.0.0/16", func(e entry) bool { return e.Destination == "127.67.0.2" }},
			{"a destination for ingress", func() { l.dial("127.0.0.1", egress("127.68.0.2")) }, true, "", nil},
			{"a server name that is listed", func() { l.hello(egress("127.0.2.1"), "www.bad.example") }, false, "serverName bad.example", func(e entry) bool { return e.Destination == "127.0.2.1" }},
			{"in capitals", func() { l.hello(egress("127.0.2.2"), "WWW.BAD.Example") }, false, "serverName bad.example", func(e entry) bool { return e.Destination == "127.0.2.2" }},
			{"a server name that is reported", func() { l.hello(egress("127.0.2.3"), "seen.example") }, true, "serverName seen.example", func(e entry) bool { return e.Destination == "127.0.2.3" }},
			{"a server name for ingress", func() { l.hello(egress("127.0.2.4"), "in.example") }, true, "", nil},
			{"no server name", func() { l.hello(egress("127.0.2.5"), "") }, true, "", nil},
		} {
			c.do()
			if c.passes {
				opened++
				l.wait(c.name+": it is opened upstream", func() bool { return l.upstream.accepted.Load() >= opened })
			}
			if n := l.upstream.accepted.Load(); n != opened {
				t.Fatalf("%s: %d connections upstream, want %d", c.name, n, opened)
			}
			if c.is == nil {
				continue
			}
			e := l.accessed(c.name, c.is)
			action, details := "deny", "pavise_feed"
			if c.passes {
				action, details = "alert", ""
			}
			if got := e.Feeds["asked"] + " " + e.Feeds["entry"]; got != c.feeds || e.Feeds["action"] != action || e.Details != details {
				t.Errorf("%s: %+v, want %s", c.name, e, c.feeds)
			}
		}
	})
}

// names are listeners whose rules see pavise.names: one chooses a filter chain by it, one
// has RBAC of connections.
const namesListeners = `
  - name: by-chain
    address: {socket_address: {address: "@ADDR@", port_value: 10008}}
    listener_filters: &names
    - name: names
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.listener.dynamic_modules.v3.DynamicModuleListenerFilter
        dynamic_module_config: {name: pavise, do_not_close: true}
        filter_name: names
        filter_config: {"@type": type.googleapis.com/google.protobuf.StringValue, value: "{}"}
    filter_chain_matcher:
      matcher_list:
        matchers:
        - predicate: &named
            single_predicate:
              input:
                name: names
                typed_config: {"@type": type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.FilterStateInput, key: pavise.names}
              value_match: {contains: ",b.example,"}
          on_match: {action: {name: chain, typed_config: {"@type": type.googleapis.com/google.protobuf.StringValue, value: named}}}
    filter_chains:
    - name: named
      filters: [*tcp]
  - name: by-rbac
    address: {socket_address: {address: "0.0.0.0", port_value: @NAMESPORT@}}
    listener_filters: *names
    filter_chains:
    - filters:
      - name: rbac
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC
          stat_prefix: names
          matcher:
            matcher_list:
              matchers:
              - predicate: *named
                on_match: {action: {name: allow, typed_config: {"@type": type.googleapis.com/envoy.config.rbac.v3.Action, name: named, action: ALLOW}}}
            on_no_match: {action: {name: deny, typed_config: {"@type": type.googleapis.com/envoy.config.rbac.v3.Action, name: none, action: DENY}}}
      - *tcp
`

// TestNames would catch names that the rules of a listener or of a connection do not see.
func TestNames(t *testing.T) {
	eachEnvoy(t, func(t *testing.T, path string) {
		file := filepath.Join(t.TempDir(), "names")
		port := freePort(t, "0.0.0.0")
		t.Setenv("PAVISE_NAMES", file)
		table, err := names.Create(file, names.Options{})
		if err != nil {
			t.Fatal(err)
		}
		l := start(t, path, options{more: strings.ReplaceAll(namesListeners, "@NAMESPORT@", fmt.Sprint(port))})
		chain, rbac := at(l.addr, 10008), func(to string) netip.AddrPort { return at(to, port) }
		if l.dial("127.0.0.1", chain) || l.dial("127.0.0.1", rbac("127.0.3.1")) {
			t.Error("an address of no name passes")
		}
		learn := func(addr, name string) {
			if err := table.Learn(netip.MustParseAddr(addr), name, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		for _, addr := range []string{l.addr, "127.0.3.1"} {
			learn(addr, "a.example")
			learn(addr, "b.example")
		}
		learn("127.0.3.2", "xb.example")
		if !l.dial("127.0.0.1", chain) || !l.dial("127.0.0.1", rbac("127.0.3.1")) {
			t.Error("an address of the name does not pass")
		}
		if l.dial("127.0.0.1", rbac("127.0.3.2")) {
			t.Error("an address of another name passes")
		}
		// Another table in its place is read as well.
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if table, err = names.Create(file, names.Options{}); err != nil {
			t.Fatal(err)
		}
		defer table.Close()
		learn("127.0.3.3", "b.example")
		l.wait("the new table is read", func() bool { return l.dial("127.0.0.1", rbac("127.0.3.3")) })
		if l.dial("127.0.0.1", rbac("127.0.3.1")) {
			t.Error("an address of the old table passes")
		}
	})
}
