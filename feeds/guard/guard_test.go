package guard

import (
	"net/netip"
	"strings"
	"testing"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/parse"
)

// entry reads an entry the way the tests write it: a range, a name with those below it,
// =NAME for the name alone, .NAME for those below it alone.
func entry(s string) *parse.Entry {
	if p, err := api.ParseCIDR(s); err == nil {
		return &parse.Entry{Prefix: p, Confidence: -1}
	}
	e := &parse.Entry{Domain: []byte(strings.TrimLeft(s, "=.")), Match: parse.Self | parse.Below, Confidence: -1}
	switch s[0] {
	case '=':
		e.Match = parse.Self
	case '.':
		e.Match = parse.Below
	}
	return e
}

// own is what the tests never want blocked.
func own() *Places {
	feed := func(name, url string) *api.ThreatFeed {
		f := &api.ThreatFeed{Spec: api.ThreatFeedSpec{URL: url}}
		f.Name = name
		return f
	}
	return NewPlaces(append(
		Hosts(feed("drop", "https://lists.feeds.example/drop.txt"), feed("v6", "https://[2001:db8:f::1]/"), feed("v4", "http://192.0.2.9:8080/"), feed("local", "file:a.txt")),
		Place{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Why: "the cluster's pods"},
		Place{Prefix: netip.MustParsePrefix("10.96.0.10/32"), Why: "the DNS server"},
		Place{Prefix: netip.MustParsePrefix("203.0.113.1/32"), Why: "the API server"},
		Place{Prefix: netip.MustParsePrefix("2001:db8:c::/48"), Why: "the cluster's services"},
		Place{Domain: "pavise.svc.cluster.example", Why: "the control plane"},
		Place{Domain: "cluster.example", Below: true, Why: "the cluster"},
		Place{},
	)...)
}

// guardOf makes a guard from the fields of a feed.
func guardOf(t testing.TB, spec api.ThreatFeedSpec) *Guard {
	t.Helper()
	g, err := For(&spec, own())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestEntry has rows of ENTRY -> GUARD, or -> ok, one feed after the other.
func TestEntry(t *testing.T) {
	zero, sixteen := int32(0), int32(16)
	for _, f := range []struct {
		name string
		spec api.ThreatFeedSpec
		rows string
	}{
		{"as it comes", api.ThreatFeedSpec{Guards: api.FeedGuards{Protected: []string{"192.0.2.128/25", "2001:db8:a::/64", "example.com", "shop.example.org"}}}, `
			0.0.0.0/0 -> short-prefix
			::/0 -> short-prefix
			8.0.0.0/7 -> short-prefix
			8.0.0.0/8 -> ok
			1.2.3.4 -> ok
			2000::/15 -> short-prefix
			2001::/16 -> protected
			2003::/16 -> ok
			127.0.0.1 -> loopback
			127.0.0.0/8 -> loopback
			126.255.255.255 -> ok
			128.0.0.0 -> ok
			::1 -> loopback
			169.254.169.254 -> link-local
			169.254.0.0/16 -> link-local
			169.0.0.0/8 -> link-local
			169.253.255.255 -> ok
			169.255.0.0 -> ok
			fe80::1 -> link-local
			febf:ffff::/32 -> link-local
			fe7f::/16 -> ok
			224.0.0.1 -> multicast
			239.255.255.255 -> multicast
			223.255.255.255 -> ok
			ff02::fb -> multicast
			0.0.0.0 -> reserved
			0.1.2.3 -> reserved
			1.0.0.0 -> ok
			240.0.0.1 -> reserved
			255.255.255.255 -> reserved
			:: -> reserved
			::2 -> reserved
			64:ff9b:1::/48 -> reserved
			0100::1 -> ok
			10.0.0.0/8 -> protected
			10.1.2.3 -> private
			11.0.0.0 -> ok
			9.255.255.255 -> ok
			172.16.0.0/12 -> private
			172.31.255.255 -> private
			172.0.0.0/8 -> private
			172.15.255.255 -> ok
			172.32.0.0 -> ok
			192.168.1.1 -> private
			192.167.255.255 -> ok
			192.169.0.0 -> ok
			100.64.0.0 -> private
			100.127.255.255 -> private
			100.63.255.255 -> ok
			100.128.0.0 -> ok
			fc00::1 -> private
			fdff::1 -> private
			fbff::1 -> ok
			fec0::1 -> private
			198.51.100.0/24 -> protected
			198.51.100.77 -> protected
			198.51.100.128/25 -> protected
			198.51.0.0/16 -> protected
			198.51.101.0 -> ok
			198.51.99.255 -> ok
			10.96.0.10 -> protected
			10.96.0.11 -> private
			203.0.113.1 -> protected
			203.0.113.2 -> ok
			203.0.113.0/31 -> protected
			203.0.113.2/31 -> ok
			2001:db8:c::1 -> protected
			2001:db8::/32 -> protected
			2001:db8:d::/48 -> ok
			2001:db8:f::1 -> protected
			2001:db8:f::2 -> ok
			192.0.2.9 -> protected
			192.0.2.8 -> ok
			192.0.2.200 -> protected
			2001:db8:a::5 -> protected
			64:ff9b::808:808 -> ok
			64:ff9b::/96 -> short-prefix
			64:ff9b::a01:203 -> private
			64:ff9b::c633:644d -> protected
			64:ff9b::800:0/104 -> ok
			com -> protected
			=com -> single-label
			net -> single-label
			router -> single-label
			localhost -> loopback
			=a.localhost -> loopback
			localhost.localdomain -> loopback
			notlocalhost.example -> ok
			notlocalhost -> single-label
			a.notlocalhost -> ok
			co.uk -> public-suffix
			.co.uk -> public-suffix
			=co.uk -> ok
			example.co.uk -> ok
			github.io -> public-suffix
			=github.io -> ok
			evil.github.io -> ok
			foo.ck -> public-suffix
			www.ck -> ok
			xn--p1ai -> single-label
			lists.feeds.example -> protected
			=lists.feeds.example -> protected
			.lists.feeds.example -> ok
			feeds.example -> protected
			.feeds.example -> protected
			=feeds.example -> ok
			x.lists.feeds.example -> ok
			xlists.feeds.example -> ok
			ists.feeds.example -> ok
			pavise.svc.cluster.example -> protected
			=pavise.svc.cluster.example -> protected
			=any.svc.cluster.example -> protected
			example.com -> protected
			=example.com -> protected
			.example.com -> protected
			=login.example.com -> protected
			.a.b.example.com -> protected
			notexample.com -> ok
			example.com.evil.example -> ok
			example.org -> protected
			=example.org -> ok
			www.example.org -> ok
		`},
		{"other limits", api.ThreatFeedSpec{Guards: api.FeedGuards{MinPrefixV4: &sixteen, MinPrefixV6: &zero}}, `
			1.0.0.0/15 -> short-prefix
			1.0.0.0/16 -> ok
			2000::/3 -> protected
			4000::/3 -> ok
			::/0 -> loopback
			::/1 -> loopback
			c000::/2 -> link-local
			e000::/4 -> ok
		`},
		{"all off", api.ThreatFeedSpec{Guards: api.FeedGuards{Off: allNames(), Protected: []string{"8.8.8.8"}}}, `
			0.0.0.0/0 -> loopback
			::/0 -> loopback
			127.0.0.1 -> loopback
			169.254.169.254 -> link-local
			8.0.0.0/5 -> protected
			10.96.0.0/16 -> protected
			10.1.2.3 -> ok
			224.0.0.1 -> ok
			240.0.0.0/4 -> ok
			::2 -> ok
			com -> ok
			.co.uk -> ok
			localhost -> loopback
			example -> protected
		`},
		{"names only", api.ThreatFeedSpec{Content: api.FeedDomains}, "1.2.3.4 -> wrong-content\n0.0.0.0/0 -> wrong-content\nevil.example -> ok\ncom -> single-label"},
		{"addresses only", api.ThreatFeedSpec{Content: api.FeedAddresses}, "1.2.3.4 -> ok\nevil.example -> wrong-content\n10.0.0.1 -> private"},
		{"both", api.ThreatFeedSpec{Content: api.FeedMixed}, "1.2.3.4 -> ok\nevil.example -> ok"},
		{"names, not held to it", api.ThreatFeedSpec{Content: api.FeedDomains, Guards: api.FeedGuards{Off: []string{"wrong-content"}}}, "1.2.3.4 -> ok\n10.0.0.1 -> private"},
		{"addresses, not held to it", api.ThreatFeedSpec{Content: api.FeedAddresses, Guards: api.FeedGuards{Off: []string{"wrong-content"}}}, "evil.example -> ok"},
	} {
		g := guardOf(t, f.spec)
		for row := range strings.Lines(strings.TrimSpace(f.rows)) {
			text, want, _ := strings.Cut(strings.TrimSpace(row), " -> ")
			name, reason := g.Entry(entry(text))
			if (name == "") != (want == "ok") || name != "" && name != want || (name == "") != (reason == "") {
				t.Errorf("%s: %s: got %q (%s), want %s", f.name, text, name, reason, want)
			}
			except := entry(text)
			except.Except = true
			if name, _ := g.Entry(except); name != "" {
				t.Errorf("%s: an exception for %s is left out by %s", f.name, text, name)
			}
		}
	}
}

func allNames() (list []string) {
	for _, g := range api.Guards() {
		list = append(list, g.Name)
	}
	return list
}

// TestOff switches each guard off and shows that it was this one and no other.
func TestOff(t *testing.T) {
	examples := map[string]string{
		api.GuardShortPrefix: "8.0.0.0/7", api.GuardLoopback: "127.0.0.1", api.GuardLinkLocal: "169.254.1.1",
		api.GuardMulticast: "224.0.0.1", api.GuardReserved: "240.0.0.1", api.GuardPrivate: "10.0.0.1", api.GuardProtected: "203.0.113.1",
		api.GuardSingleLabel: "=router", api.GuardPublicSuffix: "co.uk",
	}
	for _, off := range api.Guards() {
		g := guardOf(t, api.ThreatFeedSpec{Guards: api.FeedGuards{Off: []string{off.Name, "unknown"}}})
		if g.On(off.Name) != off.Fixed {
			t.Errorf("%s is on: %v", off.Name, g.On(off.Name))
		}
		for name, text := range examples {
			want := name
			if name == off.Name && !off.Fixed {
				want = ""
			}
			if got, _ := g.Entry(entry(text)); got != want {
				t.Errorf("without %s, %s is left out by %q, want %q", off.Name, text, got, want)
			}
		}
	}
}

// TestReasons compares what an operator reads, to the letter.
func TestReasons(t *testing.T) {
	g := guardOf(t, api.ThreatFeedSpec{Guards: api.FeedGuards{Protected: []string{"example.com", "192.0.2.128/25"}}})
	for text, want := range map[string]string{
		"8.0.0.0/7":           "8.0.0.0/7 is shorter than /8",
		"::/0":                "::/0 is shorter than /16",
		"172.0.0.0/8":         "172.0.0.0/8 overlaps 172.16.0.0/12",
		"198.51.0.0/16":       "198.51.0.0/16 overlaps 198.51.100.0/24: the cluster's pods",
		"192.0.2.200":         "192.0.2.200/32 overlaps 192.0.2.128/25: guards.protected",
		"64:ff9b::a01:203":    "64:ff9b::a01:203/128 stands for 10.1.2.3/32 overlaps 10.0.0.0/8",
		"router":              "router has no dot",
		"localhost":           "localhost is the machine itself",
		"co.uk":               "anybody can have a name below co.uk",
		"lists.feeds.example": "lists.feeds.example: where feed drop comes from",
		"feeds.example":       "feeds.example would block lists.feeds.example: where feed drop comes from",
		"login.example.com":   "login.example.com is below example.com: guards.protected",
		"=cluster.example":    "cluster.example: the cluster",
	} {
		if _, reason := g.Entry(entry(text)); reason != want {
			t.Errorf("%s: %q, want %q", text, reason, want)
		}
	}
}

func TestForRefuses(t *testing.T) {
	if _, err := For(&api.ThreatFeedSpec{Guards: api.FeedGuards{Protected: []string{"10.0.0.1/8"}}}, nil); err == nil {
		t.Error("a range with host bits set is protected")
	}
	g, err := For(&api.ThreatFeedSpec{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if name, _ := g.Entry(entry("203.0.113.1")); name != "" {
		t.Errorf("without places, %s", name)
	}
}

// TestPlacesAreMadeCanonical: host bits and IPv4-mapped prefixes are taken as meant.
func TestPlacesAreMadeCanonical(t *testing.T) {
	g := New(Config{Own: NewPlaces(Place{Prefix: netip.MustParsePrefix("::ffff:1.2.3.4/120")}, Place{Prefix: netip.MustParsePrefix("5.6.7.8/24")})})
	for text, want := range map[string]string{"1.2.3.9": "protected", "1.2.4.1": "", "5.6.7.1": "protected", "5.6.8.0": ""} {
		if name, _ := g.Entry(entry(text)); name != want {
			t.Errorf("%s: %q, want %q", text, name, want)
		}
	}
}

// TestNoAllocation: the guard runs for each of a million entries.
func TestNoAllocation(t *testing.T) {
	g := guardOf(t, api.ThreatFeedSpec{Guards: api.FeedGuards{Protected: []string{"example.com"}}})
	long := strings.Repeat("a-label-of-some-length.", 10) + "evil.example"
	for _, text := range []string{
		"1.2.3.4", "8.0.0.0/8", "192.0.3.0/24", "172.32.0.0/16", "2003::1", "2003::/32", "64:ff9b::808:808", "=" + long, "=co.uk",
		"evil.example", "." + long, "evil.github.io",
	} {
		e := entry(text)
		most := 0.0
		if e.Match&parse.Below != 0 {
			most = 2 // of the public suffix list
		}
		if n := testing.AllocsPerRun(100, func() {
			if name, reason := g.Entry(e); name != "" {
				t.Fatal(text, name, reason)
			}
		}); n > most {
			t.Errorf("%s costs %v allocations", text, n)
		}
	}
}

func BenchmarkEntry(b *testing.B) {
	g := guardOf(b, api.ThreatFeedSpec{Guards: api.FeedGuards{Protected: []string{"example.com"}}})
	for _, text := range []string{"1.2.3.4", "192.0.3.4", "8.8.0.0/16", "2003::1", "evil.example"} {
		e := entry(text)
		b.Run(strings.ReplaceAll(text, "/", "-"), func(b *testing.B) {
			for b.Loop() {
				g.Entry(e)
			}
		})
	}
}
