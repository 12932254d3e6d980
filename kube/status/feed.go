package status

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
)

// Reasons of a feed's conditions, beside its states.
const (
	ReasonFetched        = "Fetched"
	ReasonInForce        = "InForce"
	ReasonSnapshotFailed = "SnapshotFailed"
)

// feedsView is what is known of feeds at one moment.
type feedsView struct {
	byName   map[string]*api.ThreatFeedStatus
	snapshot string // digest; empty for none
	trouble  error  // why the last snapshot could not be made
}

func viewOf(f Feeds) *feedsView {
	v := &feedsView{byName: map[string]*api.ThreatFeedStatus{}}
	if f == nil {
		return v
	}
	list := f.Status()
	for i := range list {
		v.byName[list[i].Name] = &list[i].ThreatFeedStatus
	}
	if s := f.Snapshot(); s != nil {
		v.snapshot = s.Digest().String()
	}
	v.trouble = f.Trouble()
	return v
}

// feedStatus is that of a feed.
func (v *verdicts) feedStatus(k key, meta *metav1.ObjectMeta, view *feedsView) *api.ThreatFeedStatus {
	s := &api.ThreatFeedStatus{State: api.FeedPending}
	if known := view.byName[k.name]; known != nil {
		copied := *known
		s = &copied
	}
	for _, t := range []**metav1.Time{&s.LastAttempt, &s.LastSuccess, &s.LastChange, &s.NextAttempt} {
		if *t != nil {
			at := seconds((*t).Time)
			*t = &at
		}
	}
	s.ObservedGeneration = meta.Generation
	s.Error = api.StatusMessage(s.Error)
	s.Left = append([]api.FeedLeftOut(nil), s.Left[:min(len(s.Left), maxLeft)]...)
	for i := range s.Left {
		s.Left[i].Text, s.Left[i].Reason = api.StatusMessage(s.Left[i].Text), api.StatusMessage(s.Left[i].Reason)
	}
	in := inForce(s, view)
	if in.Status == metav1.ConditionTrue {
		s.Snapshot = view.snapshot
	}
	s.Conditions = finish(meta.Generation, v.accepted(k), fetched(s), in)
	return s
}

// maxLeft is what a status shows of what was left out.
const maxLeft = 20

func fetched(s *api.ThreatFeedStatus) metav1.Condition {
	c := metav1.Condition{Type: api.ConditionFetched, Status: metav1.ConditionTrue, Reason: ReasonFetched, Message: "the last fetch was believed"}
	switch {
	case s.State == api.FeedRefused || s.State == api.FeedFailed || s.Error != "":
		reason := string(api.FeedFailed)
		if s.State == api.FeedRefused {
			reason = string(api.FeedRefused)
		}
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, reason, cmp.Or(s.Error, "the last fetch failed")
	case s.LastSuccess == nil:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, string(api.FeedPending), "it was not fetched yet"
	}
	return c
}

func inForce(s *api.ThreatFeedStatus, view *feedsView) metav1.Condition {
	c := metav1.Condition{Type: api.ConditionInForce, Status: metav1.ConditionFalse, Reason: string(s.State)}
	switch {
	case s.State == api.FeedSuspended:
		c.Message = "spec.suspend takes it out of force"
	case s.State == api.FeedExpired:
		c.Message = "no fetch succeeded for as long as spec.expireAfter says"
	case s.Digest == "":
		c.Message = "it was never loaded"
	case view.trouble != nil:
		c.Status, c.Reason = metav1.ConditionUnknown, ReasonSnapshotFailed
		c.Message = "the snapshot could not be made, the one before stays in force: " + view.trouble.Error()
	case view.snapshot == "":
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, string(api.FeedPending), "there is no snapshot yet"
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, ReasonInForce, "its entries are in the snapshot"
	}
	return c
}
