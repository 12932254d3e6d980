package source

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/xds/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// podSpec is a pod in few words.
type podSpec struct {
	ns, name, uid, owner string
	labels               string // "app=web,tier=x"
	ips                  []string
	sidecar, host        bool
	phase                corev1.PodPhase
	start                int64
	port                 int32 // of the name http
}

func labelsOf(text string) map[string]string {
	out := map[string]string{}
	for _, pair := range strings.Split(text, ",") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			out[k] = v
		}
	}
	return out
}

func (p podSpec) pod() *corev1.Pod {
	yes := true
	o := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.ns, Name: p.name, UID: types.UID(p.uid), Labels: labelsOf(p.labels), CreationTimestamp: metav1.Unix(1000, 0),
		},
		Spec:   corev1.PodSpec{ServiceAccountName: "sa", HostNetwork: p.host},
		Status: corev1.PodStatus{Phase: p.phase},
	}
	if p.owner != "" {
		o.OwnerReferences = []metav1.OwnerReference{{Kind: "StatefulSet", Name: p.owner, Controller: &yes}}
	}
	if p.sidecar {
		o.Annotations = map[string]string{StatusAnnotation: "{}"}
		o.Labels[RevisionLabel] = "r1"
	}
	if p.start != 0 {
		at := metav1.NewTime(time.Unix(p.start, 0))
		o.Status.StartTime = &at
	}
	for _, ip := range p.ips {
		o.Status.PodIPs = append(o.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	if p.port != 0 {
		o.Spec.Containers = []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: p.port}}}}
	}
	return o
}

func policyOf(ns, name string, generation int64, keys ...string) *api.AccessPolicy {
	p := &api.AccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(ns + name), Generation: generation}}
	p.Spec.Ingress = []api.IngressRule{{Action: api.ActionAllow}}
	for i, key := range keys {
		req := metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpExists}
		sel := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{req}}
		if i == 0 {
			p.Spec.Selector = *sel
		} else {
			p.Spec.Ingress[0].From = append(p.Spec.Ingress[0].From, api.Peer{PodSelector: sel})
		}
	}
	return p
}

func networkPolicyOf(ns, name string, generation int64, egress bool) *networkingv1.NetworkPolicy {
	http := intstr.FromString("http")
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(ns + name), Generation: generation}}
	p.Spec.PodSelector = metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}
	ports := []networkingv1.NetworkPolicyPort{{Port: &http}}
	if egress {
		p.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{Ports: ports}}
	} else {
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: ports}}
	}
	return p
}

func serviceOf(ns, name string, ips ...string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.ServiceSpec{ClusterIPs: ips}}
}

func sliceOf(ns, name, service string, pods ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: ns, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service},
	}}
	for _, p := range pods {
		pns, pname, ok := strings.Cut(p, "/")
		if !ok {
			pns, pname = ns, p
		}
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pns, Name: pname}})
	}
	s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{"198.51.100.1"}})
	return s
}

// identity is what of a workload its pods have in common, beside the owner.
func identity(w *api.Workload) string {
	return fmt.Sprintf("%s sa=%s sidecar=%t labels=%v", w.Namespace, w.Spec.ServiceAccount, w.Spec.Transparent != nil, w.Labels)
}

func describe(w *api.Workload) string {
	return fmt.Sprintf("%s %v %v", identity(w), w.Spec.Addresses, w.Spec.ServiceAddresses)
}

// lab is a State, and the fleet's view of its nodes.
type lab struct {
	*State
	t     *testing.T
	nodes map[string]string
	last  fleet.Update
}

func newLab(t *testing.T, o Options) *lab {
	if o.Revision == "" {
		o.Revision = "r1"
	}
	return &lab{State: NewState(o), t: t, nodes: map[string]string{}}
}

func (l *lab) give(objects ...any) {
	l.t.Helper()
	for _, o := range objects {
		if err := l.Changed(o); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *lab) take(objects ...any) {
	l.t.Helper()
	for _, o := range objects {
		if err := l.Gone(o); err != nil {
			l.t.Fatal(err)
		}
	}
}

// update updates, and returns what came and went as "node>workload" and "-node".
func (l *lab) update() string {
	l.t.Helper()
	u, changed := l.Update()
	if !changed && (u.Set != l.last.Set || len(u.Nodes)+len(u.Left) > 0) {
		l.t.Error("what changed is said to be nothing")
	}
	l.last = u
	var out []string
	for _, n := range u.Left {
		if _, known := l.nodes[n]; !known {
			l.t.Errorf("node %s left, and was not there", n)
		}
		delete(l.nodes, n)
		out = append(out, "-"+n)
	}
	var came []string
	for n, w := range u.Nodes {
		if l.nodes[n] == w {
			l.t.Errorf("node %s is said to come to %s, where it is", n, w)
		}
		l.nodes[n] = w
		came = append(came, n+">"+w)
	}
	slices.Sort(came)
	return strings.Join(append(out, came...), " ")
}

func (l *lab) workload(key string) *api.Workload {
	for _, w := range l.last.Set.Workloads {
		if w.Namespace+"/"+w.Name == key {
			return w
		}
	}
	return &api.Workload{}
}

func (l *lab) want(what string, got, want any) {
	l.t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		l.t.Errorf("%s: %s, want %s", what, g, w)
	}
}
