package page

import (
	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

// Source is what the pages show; every admin.Source is one. Its methods are called from
// several goroutines, some for every page. A source that is an admin.HasFeeds, a
// FeedHistorian or an admin.HasSidecars too has more pages.
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

// FeedHistorian knows more of the past than the last change.
type FeedHistorian interface {
	// FeedChanges are what is kept of the changes of one feed, the oldest first; the last has
	// its entries. The error says what cannot be read; the rest comes with it.
	FeedChanges(name string) ([]feeds.Change, error)
}

// inForce is the State of a sidecar with which all is well.
const inForce = "in-force"
