package filter

import (
	"net/netip"

	"pavise.dev/pavise/feeds/snapshot"
)

// Action is what is to become of it, from the least to the most.
type Action uint8

const (
	// Pass: no feed has anything against it.
	Pass Action = iota
	// Alert: it is to be reported, and goes on.
	Alert
	// Deny: it is to be reported and goes no further.
	Deny
)

var actionNames = [...]string{"pass", "alert", "deny"}

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return "action"
}

// Cause says why it is not let by in silence.
type Cause uint8

const (
	// Listed: an entry of a feed is met.
	Listed Cause = iota
	// NotLoaded: the feed is required and was never loaded, so nobody knows what it lists.
	NotLoaded
	// Unavailable: there is no snapshot, and the host was told to be closed then.
	Unavailable
)

// Verdict is what the feeds say, and which entry of which feed it comes from. Where several
// are met it is one of a feed that denies, if there is one, then the first in the order of
// [Facts], and there the most specific entry.
type Verdict struct {
	Action Action
	Cause  Cause
	// Feed is empty for Pass and for Unavailable.
	Feed string
	// Line, Asked and the entry are set for Listed. Line counts from 1.
	Line  uint32
	Asked Fact
	// Prefix is the entry that an address met.
	Prefix netip.Prefix
	// Domain is the entry that a name met, and Match what it stands for. Domain lies in the
	// memory of the name that was asked about.
	Domain string
	Match  snapshot.Match
}

// Entry is the entry as people know it: a prefix, a name, or *.name for what is only below
// it. It allocates.
func (v *Verdict) Entry() string {
	switch {
	case v.Cause != Listed || v.Action == Pass:
		return ""
	case v.Domain == "":
		return v.Prefix.String()
	case v.Match&snapshot.Self == 0:
		return "*." + v.Domain
	}
	return v.Domain
}

// Prefixes of reasons. What follows is the name of the feed.
const (
	ReasonListed    = "feed:"
	ReasonNotLoaded = "feed-not-loaded:"
	// ReasonUnavailable stands alone.
	ReasonUnavailable = "feeds-unavailable"
)

// Reason is the verdict by name, as decisions and denied clients are told: feed:NAME,
// feed-not-loaded:NAME or feeds-unavailable; empty for Pass. It allocates.
func (v *Verdict) Reason() string {
	switch {
	case v.Action == Pass:
		return ""
	case v.Cause == NotLoaded:
		return ReasonNotLoaded + v.Feed
	case v.Cause == Unavailable:
		return ReasonUnavailable
	}
	return ReasonListed + v.Feed
}
