package status

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/kube/netpol"
	"pavise.dev/pavise/xds/fleet"
)

const (
	// again is when an error that stays is told again: an API server forgets events after an hour.
	again = 20 * time.Minute
	// maxEvents is how many are told in one round, and maxTold how many are remembered.
	maxEvents = 5
	maxTold   = 10_000
	// maxNote is what an event's text may have, in octets.
	maxNote = 1024
	// controller is who tells.
	controller = "pavise.dev/control-plane"
	// clusterEvents is the namespace of events about what has none.
	clusterEvents = "default"
)

// tell makes events of the problems of objects that have no status for them. The name of an
// event follows from what it says, so all replicas and all rounds make one of it.
func (w *Writer) tell(ctx context.Context, set *api.Set, report *fleet.Report, foreign []api.Problem) error {
	now := w.c.now()
	problems := foreignProblems(set, report, foreign)
	n := 0
	for _, k := range slices.SortedFunc(maps.Keys(problems), key.compare) {
		note, severity := noteOf(problems[k])
		id := k.String() + "\n" + note
		if at, known := w.told[id]; known && (severity == api.Warning || now.Sub(at) < again) {
			continue
		}
		if n++; n > maxEvents {
			w.Wake()
			return nil
		}
		if err := w.tellOne(ctx, k, problems[k][0].Code, note, severity, now); err != nil {
			return fmt.Errorf("event about %v: %w", k, err)
		}
		if len(w.told) >= maxTold {
			clear(w.told)
		}
		w.told[id] = now
	}
	return nil
}

// noteOf is the first problem and the number of the others, errors first.
func noteOf(list []api.Problem) (string, api.Severity) {
	first := list[0]
	text := problemText(first)
	if len(list) > 1 {
		text = fmt.Sprintf("%d problems, the first: %s", len(list), text)
	}
	text = api.StatusMessage(text)
	for len(text) > maxNote {
		text = cut(text, len([]rune(text))-max((len(text)-maxNote)/4, 1))
	}
	return text, first.Severity
}

// foreignProblems sorts problems by the object that was translated, errors first.
func foreignProblems(set *api.Set, report *fleet.Report, foreign []api.Problem) map[key][]api.Problem {
	out := map[key][]api.Problem{}
	for _, p := range foreign {
		if k, ok := foreignKey(p.Object); ok {
			out[k] = append(out[k], p)
		}
	}
	if report != nil {
		own := map[string]bool{} // names that users gave
		for _, o := range set.AccessPolicies {
			own[api.ObjectName(api.KindAccessPolicy, o.Namespace, o.Name)] = o.UID != ""
		}
		for _, o := range set.ClusterAccessPolicies {
			own[api.ObjectName(api.KindClusterAccessPolicy, "", o.Name)] = o.UID != ""
		}
		for _, p := range report.Problems {
			if k, ok := origin(p.Object); ok && !own[p.Object] {
				out[k] = append(out[k], p)
			}
		}
	}
	for _, list := range out {
		slices.SortStableFunc(list, func(a, b api.Problem) int { return rank(a) - rank(b) })
	}
	return out
}

func rank(p api.Problem) int {
	if p.Severity == api.Error {
		return 0
	}
	return 1
}

const (
	kindNetworkPolicy        = "NetworkPolicy"
	kindClusterNetworkPolicy = "ClusterNetworkPolicy"
)

// foreignKey reads KIND NAMESPACE/NAME.
func foreignKey(object string) (key, bool) {
	kind, rest, _ := strings.Cut(object, " ")
	switch kind {
	case kindNetworkPolicy:
		namespace, name, ok := strings.Cut(rest, "/")
		return key{kind, namespace, name}, ok && namespace != "" && name != ""
	case kindClusterNetworkPolicy:
		return key{kind, "", rest}, rest != ""
	}
	return key{}, false
}

// origin is the object that a translated one was made of, by its name. One whose name was too
// long for a prefix and was shortened leads to none that exists.
func origin(object string) (key, bool) {
	kind, rest, _ := strings.Cut(object, " ")
	namespace, name, namespaced := strings.Cut(rest, "/")
	switch {
	case kind == api.KindAccessPolicy && namespaced:
		if n, ok := strings.CutPrefix(name, netpol.Prefix); ok {
			return key{kindNetworkPolicy, namespace, n}, true
		}
		if n, ok := strings.CutPrefix(name, netpol.PortPrefix); ok {
			_, n, ok = strings.Cut(n, ".")
			return key{kindNetworkPolicy, namespace, n}, ok
		}
	case kind == api.KindClusterAccessPolicy:
		if n, ok := strings.CutPrefix(rest, netpol.ClusterPrefix); ok {
			return key{kindClusterNetworkPolicy, "", n}, true
		}
	}
	return key{}, false
}

var foreignGroups = map[string]schema.GroupKind{
	kindNetworkPolicy:        {Group: "networking.k8s.io", Kind: kindNetworkPolicy},
	kindClusterNetworkPolicy: {Group: "policy.networking.k8s.io", Kind: kindClusterNetworkPolicy},
}

// tellOne makes the event. An object that is gone needs none.
func (w *Writer) tellOne(ctx context.Context, k key, code, note string, severity api.Severity, now time.Time) error {
	mapping, err := w.c.Client.RESTMapper().RESTMapping(foreignGroups[k.kind])
	if meta.IsNoMatchError(err) {
		return nil // the kind is gone, and the object with it
	}
	if err != nil {
		return err
	}
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(mapping.GroupVersionKind)
	if err := w.c.Reader.Get(ctx, client.ObjectKey{Namespace: k.namespace, Name: k.name}, object); err != nil {
		return client.IgnoreNotFound(err)
	}
	sum := sha256.Sum256([]byte(k.String() + "\n" + string(object.UID) + "\n" + note))
	e := &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: k.namespace, Name: "pavise-" + hex.EncodeToString(sum[:12])},
		EventTime:           metav1.NewMicroTime(now),
		ReportingController: controller, ReportingInstance: cut(w.c.Identity, 128),
		Action: "Translate", Reason: code, Note: note, Type: corev1.EventTypeWarning,
		Regarding: corev1.ObjectReference{
			APIVersion: mapping.GroupVersionKind.GroupVersion().String(), Kind: k.kind,
			Namespace: k.namespace, Name: k.name, UID: object.UID, ResourceVersion: object.ResourceVersion,
		},
	}
	if e.Namespace == "" {
		e.Namespace = clusterEvents
	}
	if severity == api.Warning {
		e.Type = corev1.EventTypeNormal
	}
	err = w.c.Client.Create(ctx, e)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) && apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil // the namespace is gone or going, and the object with it
	}
	return err
}
