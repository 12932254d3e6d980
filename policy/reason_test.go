package policy

import (
	"reflect"
	"testing"
)

// TestParseReason: what is logged can be read again.
func TestParseReason(t *testing.T) {
	for _, r := range []Reason{
		{Kind: ByRule, Tier: Namespace, Policy: PolicyRef{"shop", "web"}, Rule: "rule-1"},
		{Kind: ByRule, Tier: Admin, Policy: PolicyRef{"", "guardrails"}, Rule: "no-debug"},
		{Kind: DefaultDeny, Policies: []PolicyRef{{"shop", "a"}, {"shop", "b"}}},
		{Kind: ByFeed, Feed: "botnets"},
		{Kind: FeedNotLoaded, Feed: "botnets"},
		{Kind: FeedsUnavailable},
		{Kind: DefaultAllow},
		{Kind: AmbiguousPath},
	} {
		if got := ParseReason(r.String()); !reflect.DeepEqual(got, r) {
			t.Errorf("%s: %+v, want %+v", r, got, r)
		}
	}
	for _, odd := range []string{"", ":", "other:thing", "admin:no-rule"} {
		if got := ParseReason(odd); got.String() != odd {
			t.Errorf("%q becomes %q", odd, got)
		}
	}
}
