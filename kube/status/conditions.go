package status

import (
	"fmt"
	"math"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/xds/fleet"
)

// Reasons of conditions.
const (
	ReasonAccepted        = "Accepted"
	ReasonWarnings        = "AcceptedWithWarnings"
	ReasonInvalid         = "Invalid"         // nothing of the object is in force
	ReasonLastGoodInForce = "LastGoodInForce" // an earlier version is

	ReasonProgrammed  = "Programmed"
	ReasonNoSidecars  = "NoSidecars"
	ReasonPending     = "Pending"
	ReasonRefused     = "Refused"
	ReasonHeld        = "Held"
	ReasonNotAccepted = "NotAccepted"
)

// verdicts is what an update came to, by object.
type verdicts struct {
	problems map[string][]api.Problem // by name of the object
	lastGood map[string]bool
	held     map[string]string
}

func verdictsOf(r *fleet.Report) *verdicts {
	v := &verdicts{problems: map[string][]api.Problem{}, lastGood: map[string]bool{}, held: map[string]string{}}
	if r == nil {
		return v
	}
	for _, p := range r.Problems {
		v.problems[p.Object] = append(v.problems[p.Object], p)
	}
	for _, o := range r.LastGood {
		v.lastGood[o] = true
	}
	v.held = r.Held
	return v
}

// accepted is the condition Accepted of an object.
func (v *verdicts) accepted(k key) metav1.Condition {
	c := metav1.Condition{Type: api.ConditionAccepted, Status: metav1.ConditionTrue, Reason: ReasonAccepted, Message: "it was understood"}
	problems := v.problems[k.String()]
	if len(problems) == 0 {
		return c
	}
	first, n := problems[0], 0
	if i := slices.IndexFunc(problems, func(p api.Problem) bool { return p.Severity == api.Error }); i >= 0 {
		first = problems[i]
		c.Status, c.Reason = metav1.ConditionFalse, ReasonInvalid
		if v.lastGood[k.String()] {
			c.Reason = ReasonLastGoodInForce
		}
	} else {
		c.Reason = ReasonWarnings
	}
	c.Message = problemText(first)
	for _, p := range problems {
		if p.Severity == first.Severity {
			n++
		}
	}
	if n > 1 {
		// In front of what may be cut.
		c.Message = fmt.Sprintf("%d problems, the first: %s", n, c.Message)
	}
	if c.Reason == ReasonLastGoodInForce {
		c.Message = "the last good version stays in force: " + c.Message
	}
	return c
}

// problemText is a problem without what the reader of the object knows.
func problemText(p api.Problem) string {
	text := p.Code + ": "
	if p.Field != "" {
		text += p.Field + ": "
	}
	text += p.Message
	if p.Fix != "" {
		text += "; " + p.Fix
	}
	return text
}

// policyStatus is that of the version that was given last, which need not be the one that
// is in force. n is nil where none is.
func (v *verdicts) policyStatus(k key, meta *metav1.ObjectMeta, n *counts) *api.AccessPolicyStatus {
	accepted := v.accepted(k)
	if n == nil || n.uid != meta.UID {
		n = &counts{}
	}
	c := *n
	current := accepted.Status == metav1.ConditionTrue && n.generation == meta.Generation
	if !current {
		c.programmed, c.refused, c.refusals = 0, 0, nil
	}
	s := &api.AccessPolicyStatus{
		ObservedGeneration: meta.Generation, Refusals: c.refusals,
		Sidecars: &api.SidecarCounts{Selected: clamp(c.selected), Programmed: clamp(c.programmed), Refused: clamp(c.refused)},
	}
	s.Conditions = finish(meta.Generation, accepted, v.programmed(&c, accepted.Status == metav1.ConditionTrue, current))
	return s
}

// programmed is the condition Programmed of a policy.
func (v *verdicts) programmed(c *counts, accepted, current bool) metav1.Condition {
	is := func(status metav1.ConditionStatus, reason, format string, args ...any) metav1.Condition {
		return metav1.Condition{Type: api.ConditionProgrammed, Status: status, Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case !accepted:
		return is(metav1.ConditionFalse, ReasonNotAccepted, "this version of the policy is not in force")
	case !current:
		return is(metav1.ConditionFalse, ReasonPending, "this version of the policy is not compiled yet")
	case c.refused > 0:
		text := fmt.Sprintf("%d of %d sidecars refused", c.refused, c.selected)
		if len(c.refusals) > 0 {
			text += ": " + c.refusals[0].Node + ": " + c.refusals[0].Message
		}
		return is(metav1.ConditionFalse, ReasonRefused, "%s", text)
	case len(c.held) > 0:
		w := c.held[0]
		return is(metav1.ConditionFalse, ReasonHeld, "%d of %d sidecars; those of %s are given nothing new: %s",
			c.programmed, c.selected, strings.Join(c.held, ", "), orUnknown(v.held[w]))
	case c.selected == 0:
		return is(metav1.ConditionTrue, ReasonNoSidecars, "it selects no sidecar")
	case c.programmed < c.selected && c.uncounted > 0:
		return is(metav1.ConditionFalse, ReasonPending, "%d of %d sidecars; those of %d replicas are not counted, which have too many policies to tell of",
			c.programmed, c.selected, c.uncounted)
	case c.programmed < c.selected:
		return is(metav1.ConditionFalse, ReasonPending, "%d of %d sidecars", c.programmed, c.selected)
	default:
		return is(metav1.ConditionTrue, ReasonProgrammed, "%d of %d sidecars", c.programmed, c.selected)
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "an update is under way"
	}
	return s
}

func clamp(n int) int32 { return int32(min(max(n, 0), math.MaxInt32)) }

// finish makes conditions ready, apart from their times.
func finish(generation int64, conditions ...metav1.Condition) []metav1.Condition {
	for i := range conditions {
		conditions[i].ObservedGeneration = generation
		conditions[i].Message = api.StatusMessage(conditions[i].Message)
	}
	return conditions
}

// keepTimes takes over the time of each condition whose status is what it was, and sets the
// others to now.
func keepTimes(conditions, old []metav1.Condition, now metav1.Time) {
	for i := range conditions {
		conditions[i].LastTransitionTime = now
		for _, o := range old {
			if o.Type == conditions[i].Type && o.Status == conditions[i].Status && !o.LastTransitionTime.IsZero() {
				conditions[i].LastTransitionTime = o.LastTransitionTime
			}
		}
	}
}
