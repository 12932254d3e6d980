package policy

import (
	"fmt"
	"slices"
	"strings"
)

// ReasonKind is why a verdict was reached.
type ReasonKind string

const (
	// ByRule: a rule matched.
	ByRule ReasonKind = "rule"
	// DefaultDeny: policies select the workload and none of their rules matched.
	DefaultDeny ReasonKind = "default-deny"
	// DefaultAllow: no policy decided.
	DefaultAllow ReasonKind = "default-allow"
	// AmbiguousPath: servers read the path in different ways; see docs/semantics.md.
	AmbiguousPath ReasonKind = "ambiguous-path"
	// MalformedHost: the host is no name and no address in its usual form.
	MalformedHost ReasonKind = "malformed-host"
	// MalformedRequest: Envoy refuses the request before any policy is asked.
	MalformedRequest ReasonKind = "malformed-request"
	// ConnectRefused: CONNECT at a listener that is no proxy.
	ConnectRefused ReasonKind = "connect-refused"
	// NotResolved: the rules let the request look for an address, and there was none.
	NotResolved ReasonKind = "not-resolved"
	// NotRedirected: the connection was made to the port of a transparent listener itself,
	// and so has nowhere to go.
	NotRedirected ReasonKind = "not-redirected"
	// ByFeed: a threat feed lists it. Feeds are asked before every policy (proxy/filter), not
	// by Evaluate.
	ByFeed ReasonKind = "feed"
	// FeedNotLoaded: a feed that is required was never loaded.
	FeedNotLoaded ReasonKind = "feed-not-loaded"
	// FeedsUnavailable: nobody can say what the feeds list, and the workload is closed then.
	FeedsUnavailable ReasonKind = "feeds-unavailable"
	// PolicyUpdating: the request met Envoy between two versions of the rules.
	PolicyUpdating ReasonKind = "policy-updating"
)

// maxNamed bounds how many policies a default-deny names; with names of at most
// 253 bytes a reason stays below 4 KiB.
const maxNamed = 8

// Reason says by name what decided. Its String is what Envoy logs and what a
// denied client is told.
type Reason struct {
	Kind ReasonKind `json:"kind"`
	// Tier, Policy and Rule are set for ByRule.
	Tier   Tier      `json:"tier,omitempty"`
	Policy PolicyRef `json:"policy,omitzero"`
	Rule   string    `json:"rule,omitempty"`
	// Policies cause a DefaultDeny; sorted.
	Policies []PolicyRef `json:"policies,omitempty"`
	// Feed is set for ByFeed and FeedNotLoaded.
	Feed string `json:"feed,omitempty"`
}

// String is TIER:POLICY#RULE, default-deny:POLICY,POLICY…, feed:NAME or the kind. It holds
// no spaces; Envoy would replace them in its logs.
func (r Reason) String() string {
	switch r.Kind {
	case ByRule:
		return string(r.Tier) + ":" + r.Policy.String() + "#" + r.Rule
	case DefaultDeny:
		var b strings.Builder
		b.WriteString(string(DefaultDeny))
		for i, p := range r.Policies {
			switch {
			case i == maxNamed:
				fmt.Fprintf(&b, ",+%d", len(r.Policies)-maxNamed)
				return b.String()
			case i == 0:
				b.WriteByte(':')
			default:
				b.WriteByte(',')
			}
			b.WriteString(p.String())
		}
		return b.String()
	case ByFeed, FeedNotLoaded:
		return string(r.Kind) + ":" + r.Feed
	default:
		return string(r.Kind)
	}
}

// ParseReason reads what String writes. Of a DefaultDeny that names more policies than it
// shows, only those are known. What it cannot read is a kind of its own.
func ParseReason(s string) Reason {
	head, rest, ok := strings.Cut(s, ":")
	if !ok {
		return Reason{Kind: ReasonKind(s)}
	}
	switch k := ReasonKind(head); {
	case k == ByFeed || k == FeedNotLoaded:
		return Reason{Kind: k, Feed: rest}
	case k == DefaultDeny:
		r := Reason{Kind: k}
		for name := range strings.SplitSeq(rest, ",") {
			if !strings.HasPrefix(name, "+") {
				r.Policies = append(r.Policies, parseRef(name))
			}
		}
		return r
	case slices.Contains(Tiers, Tier(head)):
		if name, rule, found := strings.Cut(rest, "#"); found {
			return Reason{Kind: ByRule, Tier: Tier(head), Policy: parseRef(name), Rule: rule}
		}
	}
	return Reason{Kind: ReasonKind(s)}
}

// Explain is the reason in words, for the person who met it.
func (r Reason) Explain() string {
	switch r.Kind {
	case ByRule:
		return fmt.Sprintf("rule %q of policy %q in the %s tier matched", r.Rule, r.Policy, r.Tier)
	case DefaultDeny:
		names := make([]string, len(r.Policies))
		for i, p := range r.Policies {
			names[i] = fmt.Sprintf("%q", p)
		}
		return "no rule matched, and the workload is selected by " + strings.Join(names, ", ") +
			": what their rules do not allow is denied"
	case DefaultAllow:
		return "no policy decided"
	case AmbiguousPath:
		return "the path can be read in more than one way (an escaped slash, NUL or control character, " +
			"a double encoding, a broken escape, or a path parameter), so no rule is applied to it"
	case MalformedHost:
		return "the host is neither a name nor an address in its usual form"
	case MalformedRequest:
		return "the request is malformed and refused before any policy is asked"
	case ConnectRefused:
		return "CONNECT is only for an explicit proxy"
	case NotResolved:
		return "the rules did not deny it before an address was known, and the name has none"
	case ByFeed:
		return fmt.Sprintf("threat feed %q lists it", r.Feed)
	case FeedNotLoaded:
		return fmt.Sprintf("threat feed %q is required and was never loaded, so nobody knows what it lists", r.Feed)
	case FeedsUnavailable:
		return "the threat feeds cannot be asked, and the workload is closed then"
	case NotRedirected:
		return "the connection was made to the sidecar's own port and not redirected to it, so it has nowhere to go"
	case PolicyUpdating:
		return "the rules were being replaced at that moment; try again"
	}
	return string(r.Kind)
}

// MarshalText makes a PolicyRef its String in JSON.
func (r PolicyRef) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (r *PolicyRef) UnmarshalText(b []byte) error {
	*r = parseRef(string(b))
	return nil
}

func parseRef(s string) PolicyRef {
	if ns, name, ok := strings.Cut(s, "/"); ok {
		return PolicyRef{ns, name}
	}
	return PolicyRef{"", s}
}
