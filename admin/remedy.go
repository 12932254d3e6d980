package admin

import (
	"pavise.dev/pavise/policy"
)

// remedy says what would have allowed what was denied, in words; empty for what was allowed.
func remedy(e *Explanation) string {
	if e.Verdict != policy.Denied {
		return ""
	}
	switch e.Reason.Kind {
	case policy.ByRule:
		return "that rule is a Deny which comes before others: an Allow rule that is asked earlier, or conditions of this one that leave the request out"
	case policy.DefaultDeny:
		return "an Allow rule that matches, in a policy that selects the workload; what kept each Allow rule from matching stands beside it"
	case policy.ByFeed:
		return "an entry in spec.except of the feed, which wins over what the feed lists"
	case policy.FeedNotLoaded:
		return "a fetch of the feed that succeeds: pavise feeds show says what went wrong"
	case policy.ConnectRefused:
		return "a listener that is a proxy"
	case policy.NotResolved:
		return "a name that resolves"
	case policy.NotRedirected:
		return "a connection to where it wants to go: this one was made to the sidecar itself"
	case policy.FeedsUnavailable, policy.PolicyUpdating:
		return "nothing in the policies: it passes"
	default:
		return "another form of the request: no rule can allow this one"
	}
}
