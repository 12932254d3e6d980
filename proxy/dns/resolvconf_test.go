package dns

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func resolvConfFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadResolvConf(t *testing.T) {
	for _, c := range []struct{ text, servers, search, err string }{
		{"nameserver 10.96.0.10\nsearch ns.svc.cluster.local svc.cluster.local\noptions ndots:5\n", "udp://10.96.0.10:53", "ns.svc.cluster.local svc.cluster.local", ""},
		{"# comment\n; another\nnameserver\t1.1.1.1 # one\r\nnameserver fe80::1%eth0\n", "udp://1.1.1.1:53 udp://[fe80::1%eth0]:53", "", ""},
		{"domain a.example\nsearch b.example\nnameserver 1.1.1.1", "udp://1.1.1.1:53", "b.example", ""},
		{"nameserver resolver.example\nnameserver 1.1.1.1\n", "udp://1.1.1.1:53", "", `line 1: "resolver.example" is no address`},
		{"", "", "", "names no nameserver"},
		{"nameserver 1.1.1.1\n" + strings.Repeat("#", maxResolvConf), "", "", "more than 65536 octets"},
		{strings.Repeat("nameserver 1.1.1.1\n", 100), strings.TrimSpace(strings.Repeat("udp://1.1.1.1:53 ", maxUpstreams)), "", ""},
	} {
		_, conf, err := readResolvConf(resolvConfFile(t, c.text))
		var servers []string
		for _, s := range conf.servers {
			servers = append(servers, s.String())
		}
		if got := strings.Join(servers, " "); got != c.servers || strings.Join(conf.search, " ") != c.search {
			t.Errorf("%.60q: servers %s, search %s", c.text, got, conf.search)
		}
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%.60q: %v, want %s", c.text, err, c.err)
		}
	}
}

// TestResolvConfChanges: what it says now is asked, what cannot be used changes nothing,
// and upstreams that stay keep what is known of them.
func TestResolvConfChanges(t *testing.T) {
	path := resolvConfFile(t, "nameserver 192.0.2.1\nnameserver 192.0.2.2\n")
	l := newLab(t, Config{ResolvConf: path})
	list := func() string {
		var s []string
		for _, u := range l.r.Stats().Upstreams {
			s = append(s, u.Name)
		}
		return fmt.Sprint(s)
	}
	if got := list(); got != "[udp://192.0.2.1:53 udp://192.0.2.2:53]" {
		t.Fatal(got)
	}
	second := l.r.group.Load().list[1]
	generation := l.r.generation()
	if err := os.WriteFile(path, []byte("search corp.example\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wait(t, "the change is seen", func() bool { return list() == "[udp://192.0.2.2:53 udp://192.0.2.3:53]" })
	if l.r.group.Load().list[0] != second {
		t.Error("an upstream that stayed was made anew")
	}
	wait(t, "the zones follow", func() bool { return l.r.own.Load().has("a.corp.example") })
	if l.r.generation() == generation {
		t.Error("what was kept is not judged by the new zones")
	}
	if err := os.WriteFile(path, []byte("nameserver nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.r.configure(); err == nil {
		t.Error("no error")
	}
	if got := list(); got != "[udp://192.0.2.2:53 udp://192.0.2.3:53]" {
		t.Errorf("the last good one does not stand: %s", got)
	}
}
