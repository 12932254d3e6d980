package status

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pavise.dev/pavise/api"
)

const (
	// ahead is how much sooner a condition is written than a number.
	ahead = 30 * time.Second
	// quiet is how long times and numbers of a feed wait where nothing else changed.
	quiet = time.Minute
	// looks is how many objects are read for each that may be written.
	looks = 20
)

// desired is a status as it is to be, without the times of conditions.
type desired struct {
	key    key
	uid    types.UID
	status any // pointer to one of the API's statuses
	// sum is of all of it, gist of what users wait for.
	sum, gist uint64
}

// writing is the last status that was written or found.
type writing struct {
	uid       types.UID
	sum, gist uint64
	at        time.Time
}

// desired is the statuses of all objects that are in the API server, which have a UID.
func (v *verdicts) desired(set *api.Set, policies map[key]*counts, view *feedsView) []desired {
	var out []desired
	add := func(k key, m *metav1.ObjectMeta, status func() any) {
		if m.UID != "" {
			out = append(out, newDesired(k, m.UID, status()))
		}
	}
	for _, o := range set.AccessPolicies {
		k := key{api.KindAccessPolicy, o.Namespace, o.Name}
		add(k, &o.ObjectMeta, func() any { return v.policyStatus(k, &o.ObjectMeta, policies[k]) })
	}
	for _, o := range set.ClusterAccessPolicies {
		k := key{api.KindClusterAccessPolicy, "", o.Name}
		add(k, &o.ObjectMeta, func() any { return v.policyStatus(k, &o.ObjectMeta, policies[k]) })
	}
	for _, o := range set.NetworkSets {
		k := key{api.KindNetworkSet, o.Namespace, o.Name}
		add(k, &o.ObjectMeta, func() any {
			return &api.NetworkSetStatus{ObservedGeneration: o.Generation, Conditions: finish(o.Generation, v.accepted(k))}
		})
	}
	for _, o := range set.ThreatFeeds {
		k := key{api.KindThreatFeed, "", o.Name}
		add(k, &o.ObjectMeta, func() any { return v.feedStatus(k, &o.ObjectMeta, view) })
	}
	return out
}

var seed = maphash.MakeSeed()

func newDesired(k key, uid types.UID, status any) desired {
	d := desired{key: k, uid: uid, status: status}
	text, _ := json.Marshal(status) // of our own types, which can be marshalled
	d.sum = maphash.Bytes(seed, text)
	var h maphash.Hash
	h.SetSeed(seed)
	for _, c := range *conditionsOf(status) {
		fmt.Fprintf(&h, "%s %s %s %d\n", c.Type, c.Status, c.Reason, c.ObservedGeneration)
	}
	d.gist = h.Sum64()
	return d
}

func conditionsOf(status any) *[]metav1.Condition {
	switch s := status.(type) {
	case *api.AccessPolicyStatus:
		return &s.Conditions
	case *api.NetworkSetStatus:
		return &s.Conditions
	case *api.ThreatFeedStatus:
		return &s.Conditions
	}
	return &[]metav1.Condition{}
}

// write writes what changed, as much as the rate allows for one interval, and reports whether
// there is more.
func (w *Writer) write(ctx context.Context, all []desired) (more bool, err error) {
	now := w.c.now()
	due := w.due(all, now)
	budget := max(int(time.Duration(w.c.Rate)*w.c.Interval/time.Second), 1)
	writes, reads := 0, 0
	for i := range due {
		if writes >= budget || reads >= budget*looks {
			return true, nil
		}
		d := &due[i]
		reads++
		wrote, err := w.writeOne(ctx, d)
		if wrote {
			writes++
		}
		switch {
		case apierrors.IsConflict(err):
			more = true
			continue
		case err == nil || apierrors.IsNotFound(err):
			// Of one that is gone, the next update tells.
		case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
			w.c.Logger.Error("a status is refused, which a newer or older CRD may do", "object", d.key.String(), "error", err)
		default:
			return false, fmt.Errorf("status of %v: %w", d.key, err)
		}
		w.written[d.key] = writing{uid: d.uid, sum: d.sum, gist: d.gist, at: now}
	}
	return more, nil
}

// due is what differs from what was written, what waits longest first. Conditions are ahead of
// numbers, though not for ever: who changes a policy all day does not keep the others back.
func (w *Writer) due(all []desired, now time.Time) []desired {
	type waiting struct {
		desired
		at time.Time
	}
	var list []waiting
	there := make(map[key]bool, len(all))
	for _, d := range all {
		there[d.key] = true
		was, known := w.written[d.key]
		switch {
		case !known || was.uid != d.uid:
			list = append(list, waiting{d, time.Time{}})
		case was.sum == d.sum:
		case was.gist != d.gist:
			list = append(list, waiting{d, was.at.Add(-ahead)})
		case d.key.kind == api.KindThreatFeed && now.Sub(was.at) < quiet:
		default:
			list = append(list, waiting{d, was.at})
		}
	}
	for k := range w.written {
		if !there[k] {
			delete(w.written, k)
		}
	}
	slices.SortStableFunc(list, func(a, b waiting) int { return cmp.Or(a.at.Compare(b.at), a.key.compare(b.key)) })
	out := make([]desired, len(list))
	for i := range list {
		out[i] = list[i].desired
	}
	return out
}

// writeOne writes a status unless the object has it already.
func (w *Writer) writeOne(ctx context.Context, d *desired) (wrote bool, err error) {
	object, old := objectOf(d.key.kind)
	if object == nil {
		return false, errors.New("objects of this kind have no status")
	}
	if err := w.c.Reader.Get(ctx, client.ObjectKey{Namespace: d.key.namespace, Name: d.key.name}, object); err != nil {
		return false, err
	}
	if object.GetUID() != d.uid {
		return false, nil
	}
	keepTimes(*conditionsOf(d.status), *conditionsOf(old), seconds(w.c.now()))
	if equality.Semantic.DeepEqual(old, d.status) {
		return false, nil
	}
	text, err := json.Marshal(d.status)
	if err != nil {
		return false, err
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return false, err
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": fields}}
	u.SetGroupVersionKind(api.GroupVersion.WithKind(d.key.kind))
	u.SetNamespace(d.key.namespace)
	u.SetName(d.key.name)
	// What changed since, or is another of that name, is a conflict. A UID would not do: for a
	// status the API server does not look at it.
	u.SetResourceVersion(object.GetResourceVersion())
	return true, w.c.Client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), manager, client.ForceOwnership)
}

// objectOf makes an object of a kind, and points to its status.
func objectOf(kind string) (object client.Object, status any) {
	switch kind {
	case api.KindAccessPolicy:
		o := new(api.AccessPolicy)
		return o, &o.Status
	case api.KindClusterAccessPolicy:
		o := new(api.ClusterAccessPolicy)
		return o, &o.Status
	case api.KindNetworkSet:
		o := new(api.NetworkSet)
		return o, &o.Status
	case api.KindThreatFeed:
		o := new(api.ThreatFeed)
		return o, &o.Status
	}
	return nil, nil
}
