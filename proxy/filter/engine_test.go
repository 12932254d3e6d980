package filter

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"

	"pavise.dev/pavise/feeds/snapshot"
)

// raceDetector says that the tests run under it.
var raceDetector bool

// load makes a snapshot of feeds and what each lists, one entry a line; -NAME takes a name
// back.
func load(t testing.TB, feeds []snapshot.Feed, lists ...[]string) *snapshot.Snapshot {
	t.Helper()
	b, err := snapshot.NewBuilder(feeds, snapshot.KeyOf(feeds))
	if err != nil {
		t.Fatal(err)
	}
	for feed, list := range lists {
		for i, e := range list {
			line := uint32(i + 1)
			prefix, perr := netip.ParsePrefix(e)
			switch {
			case perr == nil:
				err = b.AddPrefix(feed, prefix, line)
			case e[0] == '-':
				err = b.AddException(feed, []byte(e[1:]), line)
			case e[0] == '=':
				err = b.AddDomain(feed, []byte(e[1:]), snapshot.Self, line)
			case e[0] == '*':
				err = b.AddDomain(feed, []byte(e[2:]), snapshot.Below, line)
			default:
				err = b.AddDomain(feed, []byte(e), snapshot.Self|snapshot.Below, line)
			}
			if err != nil {
				t.Fatalf("%s: %v", e, err)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "snapshot")
	if _, err := snapshot.Save(path, b); err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func engine(t testing.TB, feeds []snapshot.Feed, lists ...[]string) *Engine {
	var e Engine
	e.Swap(load(t, feeds, lists...))
	return &e
}

func feedsOf(list ...string) []snapshot.Feed {
	var out []snapshot.Feed
	for _, s := range list {
		f := snapshot.Feed{Loaded: true}
		if _, err := fmt.Sscan(s, &f.Name, &f.Action, &f.Direction); err != nil {
			panic(err)
		}
		out = append(out, f)
	}
	return out
}

func say(v Verdict) string {
	if v.Action == Pass {
		return "pass"
	}
	if v.Cause != Listed {
		return fmt.Sprintf("%s %s", v.Action, v.Reason())
	}
	return fmt.Sprintf("%s %s line %d: %s %s", v.Action, v.Reason(), v.Line, v.Asked, v.Entry())
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestCheck(t *testing.T) {
	e := engine(t, feedsOf("in Deny Ingress", "out Deny Egress", "watch Alert Both", "all Deny Both"),
		[]string{"192.0.2.0/24", "evil.example"},
		[]string{"198.51.100.0/24", "198.51.100.7/32", "2001:db8::/48", "bad.example", "-good.bad.example", "*.only.example", "=exact.example"},
		[]string{"192.0.2.0/25", "203.0.113.0/24", "seen.example", "198.51.100.7/32"},
		[]string{"203.0.113.9/32", "very.bad.example", "192.0.2.1/32"},
	)
	for _, c := range []struct {
		name  string
		facts Facts
		want  string
	}{
		{"a source that is listed", Facts{Source: ip("192.0.2.200")}, "deny feed:in line 1: source 192.0.2.0/24"},
		{"deny beats alert although that is more specific", Facts{Source: ip("192.0.2.2")}, "deny feed:in line 1: source 192.0.2.0/24"},
		{"the most specific of those that deny", Facts{Source: ip("192.0.2.1")}, "deny feed:all line 3: source 192.0.2.1/32"},
		{"a mapped address is the address", Facts{Source: ip("::ffff:192.0.2.200")}, "deny feed:in line 1: source 192.0.2.0/24"},
		{"only an alert", Facts{Source: ip("203.0.113.4")}, "alert feed:watch line 2: source 203.0.113.0/24"},
		{"a feed for egress is not asked about ingress", Facts{Source: ip("198.51.100.1")}, "pass"},
		{"nor are its names", Facts{Source: ip("10.0.0.1"), Host: "bad.example"}, "pass"},
		{"no source at all", Facts{}, "pass"},

		{"a destination", Facts{Direction: Egress, Destination: ip("198.51.100.1")}, "deny feed:out line 1: destination 198.51.100.0/24"},
		{"a v6 destination", Facts{Direction: Egress, Destination: ip("2001:db8:0:9::1")}, "deny feed:out line 3: destination 2001:db8::/48"},
		{"a feed for ingress is not asked about egress", Facts{Direction: Egress, Destination: ip("192.0.2.200")}, "pass"},
		{"a source is not asked about going out", Facts{Direction: Egress, Source: ip("203.0.113.9")}, "pass"},
		{"below a name", Facts{Direction: Egress, Host: "a.bad.example"}, "deny feed:out line 4: host bad.example"},
		{"except wins, for its own feed", Facts{Direction: Egress, Host: "good.bad.example"}, "pass"},
		{"and below", Facts{Direction: Egress, Host: "x.good.bad.example"}, "pass"},
		{"only below", Facts{Direction: Egress, Host: "only.example"}, "pass"},
		{"only below, below", Facts{Direction: Egress, Host: "x.only.example"}, "deny feed:out line 6: host *.only.example"},
		{"only itself", Facts{Direction: Egress, Host: "x.exact.example"}, "pass"},
		{"two feeds, the most specific", Facts{Direction: Egress, ServerName: "very.bad.example"}, "deny feed:all line 2: serverName very.bad.example"},
		{"fronting: the server name is fine, the host is not", Facts{Direction: Egress, ServerName: "fine.example", Host: "bad.example"}, "deny feed:out line 4: host bad.example"},
		{"fronting: the host is fine, the server name is not", Facts{Direction: Egress, ServerName: "bad.example", Host: "fine.example"}, "deny feed:out line 4: serverName bad.example"},
		{"the name it was resolved from", Facts{Direction: Egress, Destination: ip("10.0.0.1"), Name: "bad.example"}, "deny feed:out line 4: name bad.example"},
		{"a host that is an address", Facts{Direction: Egress, Destination: ip("10.0.0.1"), Host: "198.51.100.1"}, "deny feed:out line 1: host 198.51.100.0/24"},
		{"a host that is a v6 address", Facts{Direction: Egress, Host: "[2001:db8::1]"}, "deny feed:out line 3: host 2001:db8::/48"},
		{"a host that ends in a digit", Facts{Direction: Egress, Host: "bad.example1"}, "pass"},
		{"an address that is too long to be one", Facts{Direction: Egress, Host: "[" + string(bytes.Repeat([]byte("1"), 60)) + "]"}, "pass"},
		{"a deny of a later fact beats an alert of an earlier", Facts{Direction: Egress, Destination: ip("203.0.113.4"), Host: "bad.example"}, "deny feed:out line 4: host bad.example"},
		{"an alert and nothing else", Facts{Direction: Egress, Destination: ip("10.0.0.1"), Host: "seen.example"}, "alert feed:watch line 3: host seen.example"},
	} {
		if got := say(e.Check(&c.facts)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestRequiredAndNeverLoaded(t *testing.T) {
	feeds := feedsOf("a Deny Egress", "b Alert Both", "c Deny Both")
	feeds[0].Required, feeds[0].Loaded = true, false
	feeds[1].Required, feeds[1].Loaded = true, false
	e := engine(t, feeds, nil, nil, []string{"192.0.2.1/32", "198.51.100.1/32"})
	for _, c := range []struct {
		facts Facts
		want  string
	}{
		{Facts{Direction: Egress, Destination: ip("10.0.0.1")}, "deny feed-not-loaded:a"},
		{Facts{Direction: Egress, Destination: ip("198.51.100.1")}, "deny feed:c line 2: destination 198.51.100.1/32"},
		{Facts{Source: ip("10.0.0.1")}, "pass"}, // a is for egress, and b only alerts
	} {
		if got := say(e.Check(&c.facts)); got != c.want {
			t.Errorf("%+v: %s, want %s", c.facts, got, c.want)
		}
	}
	if got := e.Hits(); got[0] != (Hits{"a", 1, 0}) {
		t.Errorf("hits %v", got)
	}
}

func TestNoSnapshot(t *testing.T) {
	var open Engine
	closed := Engine{Missing: Closed}
	f := Facts{Direction: Egress, Destination: ip("192.0.2.1")}
	if v := open.Check(&f); v.Action != Pass {
		t.Errorf("open: %s", say(v))
	}
	for _, v := range []Verdict{closed.Check(&f), closed.CheckAddr(Egress, Answer, f.Destination), closed.CheckName(Name, "a.example")} {
		if got := say(v); got != "deny feeds-unavailable" {
			t.Errorf("closed: %s", got)
		}
	}
	closed.Swap(load(t, nil))
	if v := closed.Check(&f); v.Action != Pass {
		t.Errorf("an empty snapshot is a snapshot: %s", say(v))
	}
	closed.Swap(nil)
	if v := closed.Check(&f); v.Action != Deny {
		t.Errorf("taken out again: %s", say(v))
	}
}

// TestHits: a feed that lists an address twice was met once; counts outlive a swap and
// the feed.
func TestHits(t *testing.T) {
	e := engine(t, feedsOf("a Deny Both", "b Alert Both"), []string{"192.0.2.0/24", "192.0.2.1/32"}, []string{"192.0.2.1/32"})
	e.Check(&Facts{Source: ip("192.0.2.1")})
	e.Swap(load(t, feedsOf("b Deny Both"), []string{"192.0.2.1/32"}))
	e.Check(&Facts{Source: ip("192.0.2.1")})
	if got := fmt.Sprint(e.Hits()); got != "[{a 1 0} {b 1 1}]" {
		t.Error(got)
	}
}

// TestNoAllocation: not for a miss, not for a hit, not for more hits than are usual. The race
// detector makes sync.Pool forget on purpose, so it says nothing there.
func TestNoAllocation(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	many := make([]snapshot.Feed, 100)
	lists := make([][]string, len(many))
	for i := range many {
		many[i] = snapshot.Feed{Name: fmt.Sprint("feed", i), Action: "Deny", Direction: "Both", Loaded: true}
		lists[i] = []string{"192.0.2.1/32", "many.example", "2001:db8::1/128"}
	}
	e := engine(t, many, lists...)
	facts := []Facts{
		{Source: ip("192.0.2.1")},
		{Source: ip("10.0.0.1")},
		{Direction: Egress, Destination: ip("2001:db8::1"), Host: "www.many.example", ServerName: "x.y.z.example", Name: "none.example"},
		{Direction: Egress, Destination: ip("10.0.0.1"), Host: "10.0.0.2", ServerName: "some.where.example", Name: "none.example"},
		{Direction: Egress, Destination: ip("fd00::1"), Host: "[2001:db8::1]"},
	}
	if n := testing.AllocsPerRun(1000, func() {
		for i := range facts {
			e.Check(&facts[i])
		}
		e.CheckAddr(Egress, Answer, facts[2].Destination)
		e.CheckName(Name, "many.example")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestSwapUnderLoad: every check is decided by one of the two, and none is torn.
func TestSwapUnderLoad(t *testing.T) {
	a := load(t, feedsOf("one Deny Both"), []string{"192.0.2.1/32"})
	b := load(t, feedsOf("other Alert Both", "two Deny Both"), []string{"10.0.0.0/8"}, []string{"192.0.2.1/32"})
	var e Engine
	e.Swap(a)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			f := Facts{Source: ip("192.0.2.1")}
			for {
				select {
				case <-done:
					return
				default:
				}
				if got := say(e.Check(&f)); got != "deny feed:one line 1: source 192.0.2.1/32" && got != "deny feed:two line 1: source 192.0.2.1/32" {
					t.Error(got)
					return
				}
			}
		})
	}
	for range 200 {
		e.Swap(b)
		e.Swap(a)
	}
	close(done)
	wg.Wait()
}

func TestCanonical(t *testing.T) {
	var room [64]byte
	for in, want := range map[string]string{
		"WWW.Example.": "www.example", "a": "a", "": "", ".": "", "a..": "a.", "xn--Bcher-KVA.example": "xn--bcher-kva.example", "É.example": "É.example",
	} {
		if got := string(Canonical(room[:0], []byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
