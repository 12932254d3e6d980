package guard

import (
	"errors"
	"strings"
	"testing"

	"pavise.dev/pavise/api"
)

// TestWhole has the counts before and after, and the guard that refuses.
func TestWhole(t *testing.T) {
	none, all := int32(0), int32(100)
	one := int32(1)
	for _, x := range []struct {
		name   string
		guards api.FeedGuards
		prev   int64
		next   Counts
		want   string
	}{
		{"first fetch", api.FeedGuards{}, 0, Counts{Entries: 5_000_000}, ""},
		{"first fetch, empty", api.FeedGuards{}, 0, Counts{}, api.GuardEmpty},
		{"small, empty", api.FeedGuards{}, 3, Counts{}, api.GuardEmpty},
		{"large, empty", api.FeedGuards{}, 1000, Counts{}, api.GuardEmpty},
		{"all left out", api.FeedGuards{}, 0, Counts{Guarded: 12, Unsupported: 3}, api.GuardEmpty},
		{"empty allowed", api.FeedGuards{Off: []string{"empty"}}, 99, Counts{}, ""},
		{"empty allowed, large", api.FeedGuards{Off: []string{"empty"}}, 100, Counts{}, api.GuardShrink},
		{"empty allowed, shrink too", api.FeedGuards{Off: []string{"empty", "shrink"}}, 1000, Counts{}, ""},
		{"any loss allowed, not all", api.FeedGuards{MaxShrink: &all}, 1000, Counts{}, api.GuardEmpty},

		{"half gone", api.FeedGuards{}, 1000, Counts{Entries: 500}, ""},
		{"more than half gone", api.FeedGuards{}, 1000, Counts{Entries: 499}, api.GuardShrink},
		{"half of an odd number", api.FeedGuards{}, 101, Counts{Entries: 50}, api.GuardShrink},
		{"small loses all but one", api.FeedGuards{}, 99, Counts{Entries: 1}, ""},
		{"not quite small", api.FeedGuards{}, 100, Counts{Entries: 49}, api.GuardShrink},
		{"no loss allowed", api.FeedGuards{MaxShrink: &none}, 1000, Counts{Entries: 999}, api.GuardShrink},
		{"no loss allowed, none there", api.FeedGuards{MaxShrink: &none}, 1000, Counts{Entries: 1000}, ""},
		{"any loss allowed", api.FeedGuards{MaxShrink: &all}, 1_000_000, Counts{Entries: 1}, ""},
		{"loss not looked at", api.FeedGuards{Off: []string{"shrink"}}, 1000, Counts{Entries: 1}, ""},

		{"five times", api.FeedGuards{}, 1000, Counts{Entries: 5000}, ""},
		{"more than five times", api.FeedGuards{}, 1000, Counts{Entries: 5001}, api.GuardGrowth},
		{"small grows", api.FeedGuards{}, 99, Counts{Entries: 99_000}, ""},
		{"not quite small grows", api.FeedGuards{}, 100, Counts{Entries: 501}, api.GuardGrowth},
		{"no growth allowed", api.FeedGuards{MaxGrowth: &one}, 1000, Counts{Entries: 1001}, api.GuardGrowth},
		{"no growth allowed, none there", api.FeedGuards{MaxGrowth: &one}, 1000, Counts{Entries: 1000}, ""},
		{"growth not looked at", api.FeedGuards{Off: []string{"growth"}}, 1000, Counts{Entries: 1_000_000}, ""},

		{"a twentieth unreadable", api.FeedGuards{}, 0, Counts{Entries: 95, Unreadable: 5}, ""},
		{"more than a twentieth unreadable", api.FeedGuards{}, 0, Counts{Entries: 94, Unreadable: 6}, api.GuardUnreadable},
		{"the others count as entries", api.FeedGuards{}, 0, Counts{Entries: 1, Guarded: 47, Unsupported: 47, Unreadable: 5}, ""},
		{"all unreadable", api.FeedGuards{}, 0, Counts{Unreadable: 1}, api.GuardUnreadable},
		{"none may be unreadable", api.FeedGuards{MaxUnreadable: &none}, 0, Counts{Entries: 1_000_000, Unreadable: 1}, api.GuardUnreadable},
		{"none may be, none is", api.FeedGuards{MaxUnreadable: &none}, 0, Counts{Entries: 1}, ""},
		{"all may be unreadable but one", api.FeedGuards{MaxUnreadable: &all}, 0, Counts{Entries: 1, Unreadable: 1000}, ""},
		{"unreadable not looked at", api.FeedGuards{Off: []string{"unreadable"}}, 0, Counts{Entries: 1, Unreadable: 1000}, ""},
		{"unreadable not looked at, all of it", api.FeedGuards{Off: []string{"unreadable"}}, 0, Counts{Unreadable: 1000}, api.GuardEmpty},
		{"as many as there can be", api.FeedGuards{}, 50_000_000, Counts{Entries: 50_000_000, Unreadable: 2_000_000}, ""},
	} {
		err := guardOf(t, api.ThreatFeedSpec{Guards: x.guards}).Whole(Counts{Entries: x.prev}, x.next)
		var refused *Refused
		got := ""
		if errors.As(err, &refused) {
			got = refused.Guard
		}
		if got != x.want || (err == nil) != (x.want == "") || err != nil && !strings.HasPrefix(err.Error(), got+": ") {
			t.Errorf("%s: %v, want %q", x.name, err, x.want)
		}
	}
}

func TestWholeReasons(t *testing.T) {
	g := guardOf(t, api.ThreatFeedSpec{})
	for _, x := range []struct {
		prev int64
		next Counts
		want string
	}{
		{0, Counts{}, "empty: there is nothing in it"},
		{0, Counts{Guarded: 2, Unsupported: 1}, "empty: nothing of it could be taken: 0 entries can't be read, 1 are of a kind that is not supported, guards left 2 out"},
		{0, Counts{Entries: 9, Unreadable: 1}, "unreadable: 1 of 10 entries can't be read, which is more than 5 percent; is the format right? Or raise guards.maxUnreadable"},
		{1000, Counts{Entries: 50}, "shrink: it has 50 entries and had 1000, which is a loss of more than 50 percent; if that is right, raise guards.maxShrink"},
		{1000, Counts{Entries: 100000}, "growth: it has 100000 entries and had 1000, which is more than 5 times as many; if that is right, raise guards.maxGrowth"},
	} {
		if err := g.Whole(Counts{Entries: x.prev}, x.next); err == nil || err.Error() != x.want {
			t.Errorf("got  %v\nwant %s", err, x.want)
		}
	}
}
