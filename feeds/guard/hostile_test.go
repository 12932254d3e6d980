package guard

import (
	"errors"
	"strings"
	"testing"

	"pavise.dev/pavise/api"
)

// TestHostileFeeds has a subtest for each thing that feeds have done to somebody and
// that a guard is there for. Each is a list that came instead of a good one.
func TestHostileFeeds(t *testing.T) {
	const good = 10_000
	list := strings.Fields
	many := func(n int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = "8.8.8.8"
		}
		return out
	}
	for _, x := range []struct {
		name    string
		spec    api.ThreatFeedSpec
		prev    int64
		entries []string
		left    string // the guard that leaves every entry out
		refused string // the guard that refuses the feed
	}{
		{name: "the whole internet", entries: list("0.0.0.0/0 ::/0 128.0.0.0/1 8.0.0.0/7"), left: api.GuardShortPrefix},
		{name: "RFC 1918", entries: list("10.0.0.0/8 172.16.0.0/12 192.168.0.0/16"), spec: api.ThreatFeedSpec{}, left: api.GuardPrivate + " " + api.GuardProtected},
		{name: "loopback", entries: list("127.0.0.1 127.0.0.0/8 ::1"), left: api.GuardLoopback},
		{name: "multicast", entries: list("224.0.0.0/8 ff02::1"), left: api.GuardMulticast},
		{name: "the cluster's own ranges", entries: list("198.51.100.0/24 198.51.100.3 198.51.0.0/16 2001:db8:c::7"), left: api.GuardProtected},
		{name: "the DNS server", entries: list("10.96.0.10"), left: api.GuardProtected},
		{name: "the control plane", entries: list("203.0.113.1 pavise.svc.cluster.example cluster.example svc.cluster.example"), left: api.GuardProtected},
		{name: "com", entries: list("com =com"), left: api.GuardSingleLabel},
		{name: "co.uk", entries: list("co.uk .co.uk"), left: api.GuardPublicSuffix},
		{
			name: "the organisation's own domain", spec: api.ThreatFeedSpec{Guards: api.FeedGuards{Protected: []string{"example.com"}}},
			entries: list("example.com =example.com =login.example.com .example.com"), left: api.GuardProtected,
		},
		{name: "a feed that blocked the host it is fetched from", entries: list("lists.feeds.example feeds.example 2001:db8:f::1 192.0.2.0/28"), left: api.GuardProtected},
		{name: "a CIDR in a domain feed", spec: api.ThreatFeedSpec{Content: api.FeedDomains}, entries: list("8.8.8.0/24"), left: api.GuardWrongContent},
		{name: "NAT64 for what is protected", entries: list("64:ff9b::198.51.100.3 64:ff9b::c633:6400/120"), left: api.GuardProtected},
		{name: "empty", prev: good, refused: api.GuardEmpty},
		{name: "empty at first", refused: api.GuardEmpty},
		{name: "shrink by 95 %", prev: good, entries: many(good / 20), refused: api.GuardShrink},
		{name: "growth by 100×", prev: good / 100, entries: many(good), refused: api.GuardGrowth},
		{name: "a generated file that doubled", prev: good / 2, entries: many(good)},
		{name: "entries that flap", prev: good, entries: many(good / 2)},
	} {
		t.Run(x.name, func(t *testing.T) {
			g := guardOf(t, x.spec)
			var counts Counts
			for _, text := range x.entries {
				name, reason := g.Entry(entry(text))
				if name == "" {
					counts.Entries++
				} else {
					counts.Guarded++
				}
				if x.left != "" && (name == "" || !strings.Contains(x.left, name)) || x.left == "" && name != "" {
					t.Errorf("%s: got %q (%s), want %q", text, name, reason, x.left)
				}
			}
			err := g.Whole(Counts{Entries: x.prev}, counts)
			want := x.refused
			if x.left != "" {
				want = api.GuardEmpty // nothing else was in it
			}
			var refused *Refused
			if errors.As(err, &refused) != (want != "") || refused != nil && refused.Guard != want {
				t.Errorf("the feed: %v, want %q", err, want)
			}
		})
	}
}
