package page

import (
	"time"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

// Source is what the pages show; every admin.Source is one. Its methods are called from
// several goroutines, some for every page. A source that is a FeedLister, FeedHistorian or
// SidecarLister too has more pages.
type Source interface {
	// Current is the model in use and the set that it was compiled from; nil where this
	// process has no policies.
	Current() (*policy.Model, *api.Set)
	// Feeds decides by threat feeds; nil where there are none.
	Feeds() *filter.Engine
	// Status is what can be written as a JSON object. The overview knows the fields that the
	// processes of Pavise have; others are shown as they are.
	Status() any
	// Flows are what happened lately; nil where they are not kept.
	Flows() *flows.Store
	// Anomalies are what was unusual; nil where nobody looks for it.
	Anomalies() *anomaly.Detector
}

// FeedLister fetches threat feeds; it is what admin.HasFeeds is.
type FeedLister interface {
	// FeedList is the state of each feed, in any order.
	FeedList() []feeds.Status
	// FeedDir is the folder of a feeds.Manager, with what is known of their past; empty for
	// none.
	FeedDir() string
}

// FeedHistorian knows more of the past than the last change.
type FeedHistorian interface {
	// FeedChanges are what is kept of the changes of one feed, the oldest first; the last has
	// its entries. The error says why they cannot be read.
	FeedChanges(name string) ([]feeds.Change, error)
}

// SidecarLister knows the sidecars that are connected, or were.
type SidecarLister interface {
	// Sidecars are in any order.
	Sidecars() []Sidecar
}

// Sidecar is what is known of one Envoy.
type Sidecar struct {
	// Node is NAMESPACE/POD, and Workload NAMESPACE/NAME.
	Node     string
	Workload string
	// State is a word: in-force, pending, refused or away.
	State string
	// Wanted is the digest of the policies that it shall enforce, Acked of those that it does.
	Wanted, Acked string
	// Pending is how many resources it has not acknowledged.
	Pending int
	// NACK is the last refusal in Envoy's words, at NACKTime; NACKs counts them.
	NACK     string
	NACKTime time.Time
	NACKs    int
	// Since is when its stream began, and InForceAt when all was last acknowledged.
	Since     time.Time
	InForceAt time.Time
	// Snapshot is the digest of the feeds that it decides by, fetched at SnapshotTime.
	Snapshot     string
	SnapshotTime time.Time
}

// inForce is the State of a sidecar with which all is well.
const inForce = "in-force"
