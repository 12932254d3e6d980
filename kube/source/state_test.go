package source

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/kube/netpol"
)

var web = podSpec{ns: "shop", name: "web-0", uid: "1", owner: "web", labels: "app=web", sidecar: true, phase: corev1.PodPending}

// Would catch a node that the fleet hears of only when its pod has an address: the pod waits for
// its sidecar before it has one that matters. And an address that makes another class new.
func TestNodeBeforeAddress(t *testing.T) {
	l := newLab(t, Options{})
	l.give(policyOf("shop", "p", 1, "app"), podSpec{ns: "shop", name: "db-0", uid: "2", owner: "db", labels: "app=db", ips: []string{"10.0.0.2"}}.pod(), web.pod())
	l.want("at the start", l.update(), "shop/web-0>shop/web")
	db := l.workload("shop/db")
	l.want("addresses", l.workload("shop/web").Spec.Addresses, "[]")
	p := web
	p.phase, p.ips, p.start = corev1.PodRunning, []string{"10.0.0.1", "fd00::1", "fe80::1%eth0", "0.0.0.0", "::ffff:10.0.0.1"}, 5
	l.give(p.pod())
	l.want("with an address", l.update(), "")
	l.want("addresses", l.workload("shop/web").Spec.Addresses, "[10.0.0.1 fd00::1]")
	if l.workload("shop/db") != db {
		t.Error("another class has another pointer")
	}
	set := l.last.Set
	o := p.pod()
	o.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady}}
	o.Labels["noise"] = "1"
	l.give(o)
	if l.update(); l.last.Set != set {
		t.Error("a condition and a label that nobody looks at make another set")
	}
}

// Would catch a pod that takes over the stream, and so the identity, of the one before it.
func TestNameTakenOver(t *testing.T) {
	l := newLab(t, Options{})
	l.give(web.pod())
	l.update()
	again := web
	again.uid = "2"
	l.take(web.pod())
	l.give(again.pod())
	l.want("gone and come", l.update(), "-shop/web-0 shop/web-0>shop/web")
	again.uid = "3" // the end of the one before was missed
	l.give(again.pod())
	l.want("come in its place", l.update(), "-shop/web-0 shop/web-0>shop/web")
	again.phase = corev1.PodSucceeded
	l.give(again.pod())
	l.want("ended", l.update(), "-shop/web-0")
	l.want("workloads", len(l.last.Set.Workloads), 0)
}

// Would catch the rights of a class that go to a stranger who got its pod's address.
func TestAddressTakenOver(t *testing.T) {
	admin := podSpec{ns: "ops", name: "admin", uid: "1", owner: "admin", ips: []string{"10.0.0.7"}, start: 10, phase: corev1.PodRunning}
	stranger := podSpec{ns: "evil", name: "x", uid: "2", owner: "x", ips: []string{"10.0.0.7"}, start: 20, phase: corev1.PodRunning}
	for _, order := range [][]podSpec{{admin, stranger}, {stranger, admin}} {
		l := newLab(t, Options{})
		for _, p := range order {
			l.give(p.pod())
		}
		l.update()
		l.want("of the older", l.workload("ops/admin").Spec.Addresses, "[]")
		l.want("of the younger", l.workload("evil/x").Spec.Addresses, "[10.0.0.7]")
		l.want("shared", l.Counts().SharedAddresses, 1)
		l.take(admin.pod())
		l.update()
		l.want("of the younger alone", l.workload("evil/x").Spec.Addresses, "[10.0.0.7]")
		l.want("shared", l.Counts().SharedAddresses, 0)
		l.give(admin.pod())
		l.take(stranger.pod())
		l.update()
		l.want("of the older alone", l.workload("ops/admin").Spec.Addresses, "[10.0.0.7]")
	}
}

// Would catch a pod that waited long for its network and loses its address to one that was taken
// on later and is gone.
func TestAddressOfOneThatWaited(t *testing.T) {
	l := newLab(t, Options{})
	admin := podSpec{ns: "ops", name: "admin", uid: "1", owner: "admin", ips: []string{"10.0.0.7"}, start: 20, phase: corev1.PodRunning}
	waited := podSpec{ns: "evil", name: "x", uid: "2", owner: "x", ips: []string{"10.0.0.7"}, start: 10, phase: corev1.PodRunning}.pod()
	waited.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(90, 0)},
		{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(30, 0)},
	}
	slim, err := Transform(waited.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []any{waited, slim} {
		l.give(admin.pod(), o)
		l.update()
		l.want("of the older", l.workload("ops/admin").Spec.Addresses, "[]")
		l.want("start", slim.(*corev1.Pod).Status.StartTime.Unix(), 30)
	}
}

// Would catch the node's address as that of a pod: it would lend its rights to all others there.
func TestHostNetwork(t *testing.T) {
	l := newLab(t, Options{})
	p := podSpec{ns: "shop", name: "agent", uid: "1", owner: "agent", host: true, ips: []string{"192.0.2.1"}, phase: corev1.PodRunning}
	l.give(p.pod(), serviceOf("shop", "agent", "10.96.0.9"), sliceOf("shop", "agent-1", "agent", "agent"))
	l.update()
	l.want("addresses", l.workload("shop/agent").Spec.Addresses, "[]")
	l.want("service addresses", l.workload("shop/agent").Spec.ServiceAddresses, "[10.96.0.9]")
}

// Would catch hashes in the names of those with sidecars while injection is rolled out, and two
// classes of one name.
func TestNames(t *testing.T) {
	l := newLab(t, Options{})
	l.give(policyOf("shop", "p", 1, "app", "v"))
	plain := podSpec{ns: "shop", name: "web-1", uid: "1", owner: "web", labels: "app=web", phase: corev1.PodRunning}
	l.give(plain.pod())
	l.update()
	l.want("alone", l.workload("shop/web").Name, "web")
	l.give(web.pod())
	l.want("with a sidecar", l.update(), "shop/web-0>shop/web")
	l.want("workloads", len(l.last.Set.Workloads), 2)
	if n := l.last.Set.Workloads[1].Name; !strings.HasPrefix(n, "web-") || len(n) != len("web-")+8 || l.last.Set.Workloads[1].Spec.Transparent != nil {
		t.Errorf("the one without a sidecar is called %s", n)
	}
	second := web
	second.name, second.uid, second.labels = "web-2", "3", "app=web,v=2"
	l.give(second.pod())
	moved := l.update()
	if !strings.HasPrefix(moved, "shop/web-2>shop/web-") || strings.Contains(moved, " ") {
		t.Errorf("another class of one owner: %s", moved)
	}
	l.take(web.pod())
	l.want("when the first is gone", l.update(), "-shop/web-0")

	long := podSpec{ns: "shop", name: "a", uid: "9", owner: strings.Repeat("a", 253), sidecar: true}
	other := long
	other.name, other.uid, other.labels = "b", "10", "v=1"
	l.give(long.pod(), other.pod())
	l.update()
	for _, w := range l.last.Set.Workloads {
		for _, p := range api.Validate(w) {
			t.Error(p)
		}
	}
}

func TestOwner(t *testing.T) {
	yes := true
	for _, row := range []struct{ kind, name, pod, hash, want string }{
		{"ReplicaSet", "web-5d4f", "web-5d4f-x", "5d4f", "web"},
		{"ReplicaSet", "web-5d4f", "web-5d4f-x", "", "web-5d4f"},
		{"StatefulSet", "db", "db-0", "", "db"},
		{"Job", "backup-29333333", "backup-29333333-x", "", "backup"},
		{"Job", "once", "once-x", "", "once"},
		{"Node", "node1", "etcd-node1", "", "etcd"},
		{"", "", "alone", "", "alone"},
		// The name of an owner is not checked by the API server; that of the pod is.
		{"StatefulSet", "../x", "x-0", "", "x-0"},
		{"ReplicaSet", "-5d4f", "x-1", "5d4f", "x-1"},
		{"StatefulSet", strings.Repeat("a", 300), "x-2", "", "x-2"},
	} {
		o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: row.pod, Labels: map[string]string{"pod-template-hash": row.hash}}}
		if row.kind != "" {
			o.OwnerReferences = []metav1.OwnerReference{{Kind: "Other", Name: "no"}, {Kind: row.kind, Name: row.name, Controller: &yes}}
		}
		if got := ownerOf(o); got != row.want {
			t.Errorf("%s %s: %s, want %s", row.kind, row.name, got, row.want)
		}
	}
}

// Would catch pods of another revision, or none, that are given configuration here.
func TestWhoIsANode(t *testing.T) {
	for _, row := range []struct {
		revision, label string
		annotated, want bool
	}{{"r1", "r1", true, true}, {"r1", "r2", true, false}, {"r1", "", true, false}, {"r1", "r1", false, false}} {
		l := newLab(t, Options{Revision: row.revision})
		o := web.pod()
		o.Labels[RevisionLabel] = row.label
		if !row.annotated {
			o.Annotations = nil
		}
		l.give(o)
		if got := l.update() != ""; got != row.want {
			t.Errorf("%+v: %t", row, got)
		}
	}
}

// Would catch a pod that claims a named port by a label of its own, and one that two numbers are
// taken for.
func TestNamedPorts(t *testing.T) {
	l := newLab(t, Options{NetworkPolicies: true})
	good := podSpec{ns: "shop", name: "a", uid: "1", owner: "a", labels: "app=a", port: 8080, phase: corev1.PodRunning}
	evil := podSpec{ns: "shop", name: "b", uid: "2", owner: "b", labels: "app=a,ports.pavise.dev/http=22", phase: corev1.PodRunning}
	l.give(good.pod(), evil.pod(), networkPolicyOf("shop", "np", 1, false))
	l.update()
	names := func() (out []string) {
		for _, p := range l.last.Set.AccessPolicies {
			out = append(out, p.Name)
		}
		return out
	}
	l.want("policies", names(), "[np.np npp.http-8080.np]")
	l.want("labels", l.workload("shop/a").Labels, map[string]string{"app": "a", "ports.pavise.dev/http": "8080"})
	l.want("labels", l.workload("shop/b").Labels, map[string]string{"app": "a"})
	base := l.last.Set.AccessPolicies[0]

	elsewhere := podSpec{ns: "evil", name: "c", uid: "3", owner: "c", port: 9999, phase: corev1.PodRunning}
	l.give(elsewhere.pod())
	l.update()
	l.want("policies with others' pods", names(), "[np.np npp.http-8080.np]")
	l.give(networkPolicyOf("shop", "np", 2, true))
	l.update()
	l.want("ports of an egress rule", len(l.last.Set.AccessPolicies[0].Spec.Egress), 2)
	l.give(networkPolicyOf("shop", "np", 3, false))
	l.update()
	if l.last.Set.AccessPolicies[0] == base {
		t.Error("the policy has the pointer of two versions before") // its generation is another
	}

	for i := range 300 {
		l.give(podSpec{ns: "evil", name: fmt.Sprint("n", i), uid: fmt.Sprint("n", i), port: int32(1 + i), phase: corev1.PodRunning}.pod())
	}
	l.give(networkPolicyOf("shop", "np", 4, true))
	l.update()
	l.want("rules for the name", len(l.last.Set.AccessPolicies[0].Spec.Egress), maxNumbers)
	if p := l.Problems(); len(p) != 1 || p[0].Code != netpol.CodeUnsupported {
		t.Errorf("problems: %v", p)
	}
	if !slices.ContainsFunc(l.last.Set.AccessPolicies[0].Spec.Egress, func(r api.EgressRule) bool { return r.Ports[0].Port == 8080 }) {
		t.Error("others' pods crowd out the number that the namespace's own have")
	}
	l.take(networkPolicyOf("shop", "np", 4, true))
	l.update()
	l.want("policies", names(), "[]")
	l.want("problems", len(l.Problems()), 0)
}

// Would catch a policy that takes the place of a NetworkPolicy by its name.
func TestNameOfConversion(t *testing.T) {
	l := newLab(t, Options{NetworkPolicies: true})
	l.give(policyOf("shop", "np.np", 1, "app"))
	l.update()
	l.want("selectors", len(l.last.Set.AccessPolicies[0].Spec.Selector.MatchExpressions), 1)
	l.give(networkPolicyOf("shop", "np", 1, false))
	l.update()
	l.want("selectors", l.last.Set.AccessPolicies[0].Spec.Selector.MatchLabels, map[string]string{"app": "a"})
	if p := l.Problems(); len(p) != 1 || p[0].Code != api.CodeDuplicateObject || p[0].Object != "AccessPolicy shop/np.np" {
		t.Errorf("problems: %v", p)
	}
	l.take(networkPolicyOf("shop", "np", 1, false))
	l.update()
	l.want("selectors", len(l.last.Set.AccessPolicies[0].Spec.Selector.MatchExpressions), 1)
	l.want("problems", len(l.Problems()), 0)
}

// Would catch a status that has everything compiled again, and a change that has not.
func TestVersions(t *testing.T) {
	l := newLab(t, Options{})
	give := func(uid string, generation int64) any {
		p := policyOf("shop", "p", generation, "app")
		n := &api.NetworkSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "n", Generation: generation}}
		f := &api.ThreatFeed{ObjectMeta: metav1.ObjectMeta{Name: "f", Generation: generation}}
		c := &api.ClusterAccessPolicy{ObjectMeta: metav1.ObjectMeta{Name: "c", Generation: generation}}
		for _, o := range []metav1.Object{p, n, f, c} {
			o.SetUID(p.UID + "x")
			o.SetResourceVersion(fmt.Sprint(len(l.last.Left)))
			if uid != "" {
				o.SetUID("another")
			}
		}
		l.give(p, n, f, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", ResourceVersion: fmt.Sprint(generation)}})
		l.update()
		return l.last.Set
	}
	first := give("", 1)
	if give("", 1) != first {
		t.Error("the same generation makes another set")
	}
	second := give("", 2)
	third := give("again", 2)
	if second == first || third == second {
		t.Error("another generation, or object, makes no other set")
	}
	l.give(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"a": "b"}}})
	if l.update(); l.last.Set == third || l.last.Set.Namespaces[0].Labels["a"] != "b" {
		t.Error("labels of a namespace are not taken over")
	}
	l.take(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, &api.NetworkSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "n"}},
		&api.ThreatFeed{ObjectMeta: metav1.ObjectMeta{Name: "f"}}, &api.ClusterAccessPolicy{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, policyOf("shop", "p", 1))
	if l.update(); !reflect.DeepEqual(l.last.Set, &api.Set{
		AccessPolicies: []*api.AccessPolicy{}, ClusterAccessPolicies: []*api.ClusterAccessPolicy{}, NetworkSets: []*api.NetworkSet{},
		ThreatFeeds: []*api.ThreatFeed{}, Namespaces: []*api.Namespace{},
	}) {
		t.Errorf("left: %+v", l.last.Set)
	}
	if err := l.Changed(&corev1.Secret{}); err == nil {
		t.Error("a Secret is taken for part of the inventory")
	}
}

// Would catch a last good policy that selects nobody any more, because its labels are no longer
// asked for by the version that has errors.
func TestLabelsOfLastGood(t *testing.T) {
	inForce := &api.Set{}
	l := newLab(t, Options{InForce: func() *api.Set { return inForce }})
	good, bad := policyOf("shop", "p", 1, "app"), policyOf("shop", "p", 2, "other")
	l.give(good, web.pod())
	l.update()
	inForce = &api.Set{AccessPolicies: []*api.AccessPolicy{good}}
	for range 2 {
		l.give(bad)
		l.update()
		l.want("labels", l.workload("shop/web").Labels, map[string]string{"app": "web"})
	}
	inForce = &api.Set{AccessPolicies: []*api.AccessPolicy{bad}}
	l.want("nodes", l.update(), "")
	l.want("labels", len(l.workload("shop/web").Labels), 0)
	l.want("reclassified", l.Counts().Reclassified, 3)
}

func clusterNetworkPolicy(tier string, generation int64) *unstructured.Unstructured {
	all := map[string]any{"namespaces": map[string]any{}}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
		"metadata": map[string]any{"name": "deny", "generation": generation},
		"spec": map[string]any{
			"tier": tier, "priority": int64(5), "subject": all,
			"ingress": []any{map[string]any{"action": "Deny", "from": []any{all}}},
		},
	}}
}

// Would catch a ClusterNetworkPolicy that is dropped when somebody breaks it.
func TestClusterNetworkPolicy(t *testing.T) {
	l := newLab(t, Options{ClusterNetworkPolicies: true})
	l.give(clusterNetworkPolicy("Admin", 1))
	l.update()
	l.want("policies", l.last.Set.ClusterAccessPolicies[0].Name, "cnp.deny")
	good := l.last.Set.ClusterAccessPolicies[0]
	l.give(clusterNetworkPolicy("Nonsense", 2))
	l.update()
	if l.last.Set.ClusterAccessPolicies[0] != good || len(l.Problems()) != 1 {
		t.Errorf("broken: %v, problems %v", l.last.Set.ClusterAccessPolicies, l.Problems())
	}
	l.give(clusterNetworkPolicy("Baseline", 3))
	l.update()
	l.want("mended", l.last.Set.ClusterAccessPolicies[0].Spec.Tier, "Baseline")
	l.want("problems", len(l.Problems()), 0)
	l.take(clusterNetworkPolicy("Baseline", 3))
	l.update()
	l.want("policies", len(l.last.Set.ClusterAccessPolicies), 0)

	off := newLab(t, Options{})
	off.give(clusterNetworkPolicy("Admin", 1), networkPolicyOf("shop", "np", 1, false))
	off.update()
	l.want("policies where they are off", len(off.last.Set.ClusterAccessPolicies)+len(off.last.Set.AccessPolicies), 0)
	if err := l.Changed(&unstructured.Unstructured{Object: map[string]any{"kind": "Other"}}); err == nil {
		t.Error("another kind is taken for a ClusterNetworkPolicy")
	}
}

// Would catch what Transform drops and the inventory reads.
func TestTransform(t *testing.T) {
	full := podSpec{ns: "shop", name: "a-0", uid: "1", owner: "a", labels: "app=a", sidecar: true, ips: []string{"10.0.0.1"}, start: 5, port: 8080}.pod()
	always := corev1.ContainerRestartPolicyAlways
	full.Spec.InitContainers = []corev1.Container{
		{Name: "init", Ports: []corev1.ContainerPort{{Name: "no", ContainerPort: 1}}},
		{Name: "side", RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 2}, {Name: "m", ContainerPort: 3}, {Name: "u", ContainerPort: 4, Protocol: "UDP"}}},
	}
	full.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "x"}}
	slim, err := Transform(full.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	s := NewState(Options{Revision: "r1", NetworkPolicies: true})
	want, got := s.readPod(full), s.readPod(slim.(*corev1.Pod))
	if !got.same(&want) || len(got.ports) != 2 || !got.sidecar {
		t.Errorf("%+v, want %+v", got, want)
	}
	if len(slim.(*corev1.Pod).ManagedFields)+len(slim.(*corev1.Pod).Spec.InitContainers) > 0 {
		t.Error("not all was dropped")
	}
	for _, o := range []any{
		serviceOf("shop", "s", "10.96.0.1"), sliceOf("shop", "e", "s", "a-0"), networkPolicyOf("shop", "np", 1, false),
		clusterNetworkPolicy("Admin", 1), policyOf("shop", "p", 1, "app"),
	} {
		if o, err = Transform(o); err != nil {
			t.Fatal(err)
		}
		if err := s.Changed(o); err != nil {
			t.Error(err)
		}
	}
	if err := s.Changed(slim); err != nil {
		t.Error(err)
	}
	u, _ := s.Update()
	if w := u.Set.Workloads[0]; !slices.Equal(w.Spec.ServiceAddresses, []string{"10.96.0.1"}) || len(u.Set.AccessPolicies) != 3 {
		t.Errorf("%+v of %d policies", w, len(u.Set.AccessPolicies))
	}
	if o, err := Transform("no object"); err != nil || o != "no object" {
		t.Error(o, err)
	}
}

// many is n pods of n/10 owners, and policies that look at two labels.
func many(t testing.TB, n int) (*State, []*corev1.Pod) {
	s := NewState(Options{Revision: "r1"})
	pods := make([]*corev1.Pod, n)
	_ = s.Changed(policyOf("ns1", "p", 1, "app", "tier"))
	for i := range pods {
		o, _ := Transform(podSpec{
			ns: fmt.Sprint("ns", i/10%50), name: fmt.Sprint("p", i), uid: fmt.Sprint("uid", i), owner: fmt.Sprint("owner", i/10), sidecar: true,
			labels: fmt.Sprintf("app=a%d,tier=b,pod-template-hash=%d,more=c", i/10, i/10), start: 5, phase: corev1.PodRunning,
			ips: []string{fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)},
		}.pod())
		pods[i] = o.(*corev1.Pod)
		if err := s.Changed(pods[i]); err != nil {
			t.Fatal(err)
		}
	}
	return s, pods
}

// Would catch what is kept of each pod and grows.
func TestMemory(t *testing.T) {
	const n = 10_000
	_, pods := many(t, n)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s := NewState(Options{Revision: "r1"})
	_ = s.Changed(policyOf("ns1", "p", 1, "app", "tier"))
	for _, p := range pods {
		_ = s.Changed(p)
	}
	u, _ := s.Update()
	each := (heap() - before) / n
	t.Logf("%d pods in %d classes: %d octets each", n, len(u.Set.Workloads), each)
	if each > 2048 {
		t.Errorf("%d octets for each pod, want 2,048 at most", each)
	}
	runtime.KeepAlive(pods)
	runtime.KeepAlive(s)
}

func BenchmarkPodEvent(b *testing.B) {
	s, pods := many(b, 10_000)
	s.Update()
	other := pods[77].DeepCopy()
	other.Status.PodIPs = []corev1.PodIP{{IP: "10.200.0.1"}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = s.Changed([]*corev1.Pod{pods[77], other}[i%2])
		s.Update()
	}
}
