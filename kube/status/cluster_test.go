package status

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/test/cluster"
	"pavise.dev/pavise/xds/fleet"
)

const system = "pavise-system"

// apiServer starts one with the CRDs and the namespaces shop and pavise-system.
func apiServer(t *testing.T) client.WithWatch {
	t.Helper()
	if err := cluster.Available(); err != nil {
		t.Skip(err)
	}
	c, err := cluster.Control(t.Context(), cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	crds, err := filepath.Glob("../../deploy/crds/*.yaml")
	if err != nil || len(crds) == 0 {
		t.Fatalf("no CRDs: %v", err)
	}
	for _, f := range crds {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Apply(t.Context(), string(text)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Kubectl(t.Context(), "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"); err != nil {
		t.Fatal(err)
	}
	rest, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	rest.QPS = -1
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, api.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	cl, err := client.NewWithWatch(rest, client.Options{Scheme: s})
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{"shop", system} {
		create(t, cl, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
	}
	return cl
}

func create(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	if err := c.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func newPolicy(name string) *api.AccessPolicy {
	return &api.AccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
}

// statusOf reads a policy's.
func statusOf(t *testing.T, c client.Client, name string) (*api.AccessPolicy, map[string]string) {
	t.Helper()
	o := &api.AccessPolicy{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: name}, o); err != nil {
		t.Fatal(err)
	}
	return o, conditionsMap(o.Status.Conditions)
}

func conditionsMap(list []metav1.Condition) map[string]string {
	out := map[string]string{}
	for _, c := range list {
		out[c.Type] = string(c.Status) + " " + c.Reason + ": " + c.Message
	}
	return out
}

func round(t *testing.T, w *Writer) {
	t.Helper()
	for {
		more, err := w.round(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return
		}
	}
}

// TestStatusesInTheAPIServer: two replicas, one of which leads, and what users read then.
func TestStatusesInTheAPIServer(t *testing.T) {
	cl := apiServer(t)
	var clock atomic.Int64
	clock.Store(t0.Unix())
	now := func() time.Time { return time.Unix(clock.Load(), 0) }
	writer := func(identity string, f Fleet, s Server, leads bool, fd Feeds) *Writer {
		w, err := New(Config{
			Client: cl, Identity: identity, Namespace: system, Fleet: f, Server: s, Feeds: fd,
			Leading: func() bool { return leads }, now: now,
		})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}

	p := newPolicy("web")
	create(t, cl, p)
	n := &api.NetworkSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "offices"}, Spec: api.NetworkSetSpec{CIDRs: []string{"192.0.2.0/24"}}}
	create(t, cl, n)
	feed := &api.ThreatFeed{ObjectMeta: metav1.ObjectMeta{Name: "bad"}, Spec: api.ThreatFeedSpec{URL: "https://feeds.example/list"}}
	create(t, cl, feed)
	np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "old"}}
	create(t, cl, np)

	f := world(p)
	f.set.NetworkSets, f.set.ThreatFeeds = []*api.NetworkSet{n}, []*api.ThreatFeed{feed}
	sa, sb := &fakeServer{}, &fakeServer{}
	sa.set("shop/web-0", synced(f))
	sb.set("shop/web-1", refusing(f, "bad\x00 regex "+strings.Repeat("x", 3000)))
	at := metav1.NewTime(t0)
	fd := &fakeFeeds{list: []feeds.Status{{Name: "bad", ThreatFeedStatus: api.ThreatFeedStatus{
		State: api.FeedFailed, LastAttempt: &at, Error: "404 \x1b[31m", Left: []api.FeedLeftOut{{Line: 1, Text: "a\x00", Reason: "no"}},
	}}}}
	lead, other := writer("a", f, sa, true, fd), writer("b", f, sb, false, nil)
	foreign := []api.Problem{{Object: "NetworkPolicy shop/old", Severity: api.Error, Code: "PAV0901", Field: "spec", Message: "not known"}}
	for _, w := range []*Writer{lead, other} {
		w.Applied(f.set, &fleet.Report{}, foreign)
	}
	round(t, other)
	round(t, lead)

	o, c := statusOf(t, cl, "web")
	if s := o.Status.Sidecars; s == nil || *s != (api.SidecarCounts{Selected: 2, Programmed: 1, Refused: 1}) || o.Status.ObservedGeneration != o.Generation {
		t.Errorf("%+v", o.Status)
	}
	if !strings.HasPrefix(c["Programmed"], `False Refused: 1 of 2 sidecars refused: shop/web-1: bad\x00 regex xx`) || c["Accepted"] != "True Accepted: it was understood" {
		t.Errorf("%v", c)
	}
	if r := o.Status.Refusals; len(r) != 1 || r[0].Node != "shop/web-1" {
		t.Errorf("refusals %+v", r)
	}
	gotSet, gotFeed := &api.NetworkSet{}, &api.ThreatFeed{}
	if err := cl.Get(t.Context(), client.ObjectKeyFromObject(n), gotSet); err != nil || !meta.IsStatusConditionTrue(gotSet.Status.Conditions, "Accepted") {
		t.Errorf("%+v %v", gotSet.Status, err)
	}
	if err := cl.Get(t.Context(), client.ObjectKeyFromObject(feed), gotFeed); err != nil {
		t.Fatal(err)
	}
	if c := conditionsMap(gotFeed.Status.Conditions); c["Fetched"] != `False Failed: 404 \x1b[31m` || gotFeed.Status.State != api.FeedFailed ||
		len(gotFeed.Status.Left) != 1 || gotFeed.Status.Left[0].Text != `a\x00` {
		t.Errorf("%+v", gotFeed.Status)
	}

	// Nothing changed: nothing is written, by this writer or by one that leads anew.
	for _, w := range []*Writer{lead, writer("a", f, sa, true, fd)} {
		w.Applied(f.set, &fleet.Report{}, foreign)
		round(t, other)
		round(t, w)
		if again, _ := statusOf(t, cl, "web"); again.ResourceVersion != o.ResourceVersion {
			t.Error("a status that did not change was written")
		}
	}
	var events eventsv1.EventList
	if err := cl.List(t.Context(), &events, client.InNamespace("shop")); err != nil {
		t.Fatal(err)
	}
	if len(events.Items) != 1 || events.Items[0].Regarding.UID != np.UID || events.Items[0].Note != "PAV0901: spec: not known" {
		t.Errorf("events: %+v", events.Items)
	}

	// The refusal is mended on the other replica: Programmed moves, Accepted keeps its time.
	clock.Add(10)
	sb.set("shop/web-1", synced(f))
	round(t, other)
	round(t, lead)
	after, c := statusOf(t, cl, "web")
	if c["Programmed"] != "True Programmed: 2 of 2 sidecars" || len(after.Status.Refusals) != 0 {
		t.Errorf("%v %v", c, after.Status.Refusals)
	}
	for i, kept := range []bool{true, false} {
		if same := after.Status.Conditions[i].LastTransitionTime.Equal(&o.Status.Conditions[i].LastTransitionTime); same != kept {
			t.Errorf("%s: time kept %v; want %v", after.Status.Conditions[i].Type, same, kept)
		}
	}

	// The other dies. Its sidecars count for three heartbeats, its ConfigMap is deleted in the end.
	clock.Add(46)
	round(t, lead)
	if _, c := statusOf(t, cl, "web"); c["Programmed"] != "False Pending: 1 of 2 sidecars" {
		t.Errorf("after the other died: %v", c)
	}
	clock.Add(15 * buried)
	round(t, lead)
	m := &corev1.ConfigMap{}
	if err := cl.Get(t.Context(), client.ObjectKey{Namespace: system, Name: Name("b")}, m); !apierrors.IsNotFound(err) {
		t.Errorf("the ConfigMap of a replica that is gone: %v", err)
	}

	// A version with errors: said, and not counted as programmed.
	bad := p.DeepCopy()
	bad.Generation++
	lead.Applied(&api.Set{AccessPolicies: []*api.AccessPolicy{bad}}, &fleet.Report{
		Problems: []api.Problem{{Object: "AccessPolicy shop/web", Severity: api.Error, Code: "PAV0001", Message: "wrong"}},
		LastGood: []string{"AccessPolicy shop/web"},
	}, nil)
	round(t, lead)
	if o, c := statusOf(t, cl, "web"); !strings.HasPrefix(c["Accepted"], "False LastGoodInForce: ") || o.Status.Sidecars.Programmed != 0 || o.Status.ObservedGeneration != bad.Generation {
		t.Errorf("%v %+v", c, o.Status)
	}

	// Deleted and made anew: what was said of the one is not said of the other.
	if err := cl.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	create(t, cl, newPolicy("web"))
	lead.Applied(f.set, &fleet.Report{}, nil)
	round(t, lead)
	if _, c := statusOf(t, cl, "web"); len(c) != 0 {
		t.Errorf("the status of a policy that was deleted: %v", c)
	}
}

// TestRunWritesAndWithdraws: an object that is replaced between reading and writing is a conflict;
// Run hears of changes, and leaves nothing behind.
func TestRunWritesAndWithdraws(t *testing.T) {
	cl := apiServer(t)
	p := newPolicy("web")
	create(t, cl, p)
	u, old := desiredFor(p), &Writer{c: Config{Client: cl, Reader: staleReader{cl, p}, now: time.Now}}
	if err := cl.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	p = newPolicy("web")
	create(t, cl, p)
	if _, err := old.writeOne(t.Context(), &u); !apierrors.IsConflict(err) {
		t.Errorf("a status for another object of that name: %v; want a conflict", err)
	}

	f, s := world(p), &fakeServer{}
	w, err := New(Config{
		Client: cl, Identity: "a", Namespace: system, Fleet: f, Server: s,
		Leading: func() bool { return true }, Interval: 20 * time.Millisecond, Heartbeat: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	watching, err := cl.Watch(t.Context(), &api.AccessPolicyList{}, client.InNamespace("shop"))
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	w.Applied(f.set, &fleet.Report{}, nil)
	until(t, watching, "0 of 2 sidecars")
	// Only the servers' channel tells of these.
	s.set("shop/web-0", synced(f))
	s.set("shop/web-1", synced(f))
	until(t, watching, "2 of 2 sidecars")
	name := client.ObjectKey{Namespace: system, Name: Name("a")}
	if err := cl.Get(t.Context(), name, &corev1.ConfigMap{}); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := cl.Get(t.Context(), name, &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
		t.Errorf("the ConfigMap after the end: %v", err)
	}
}

// until waits for a policy whose Programmed has the message.
func until(t *testing.T, w watch.Interface, message string) {
	t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		select {
		case e := <-w.ResultChan():
			if o, ok := e.Object.(*api.AccessPolicy); ok {
				if c := meta.FindStatusCondition(o.Status.Conditions, api.ConditionProgrammed); c != nil && c.Message == message {
					return
				}
			}
		case <-limit.C:
			t.Fatalf("no policy with %q within a minute", message)
		}
	}
}

func desiredFor(p *api.AccessPolicy) desired {
	k := key{api.KindAccessPolicy, p.Namespace, p.Name}
	return newDesired(k, p.UID, verdictsOf(nil).policyStatus(k, &p.ObjectMeta, nil))
}

// staleReader is a cache that has not heard yet.
type staleReader struct {
	client.Client
	was *api.AccessPolicy
}

func (r staleReader) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	r.was.DeepCopyInto(o.(*api.AccessPolicy))
	return nil
}
