package source

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/xds"
	"pavise.dev/pavise/xds/fleet"
)

// server notes whom a fleet gave something.
type server struct{ set map[string]struct{} }

func (s *server) Set(_ context.Context, node string, _ *xds.Resources) error {
	s.set[node] = struct{}{}
	return nil
}

func (s *server) Forget(node string) { s.set["-"+node] = struct{}{} }

// Would catch an arrival that touches sidecars that have nothing to do with the pod, and a
// policy that selects nobody any more because its newest version has errors.
func TestWithFleet(t *testing.T) {
	s := &server{set: map[string]struct{}{}}
	f := fleet.New(fleet.Config{Server: s, Options: xds.Options{Resolver: xds.DefaultResolver, Module: true}})
	l := newLab(t, Options{InForce: f.Set})
	apply := func() string {
		t.Helper()
		clear(s.set)
		l.update()
		if _, err := f.Apply(t.Context(), l.last); err != nil {
			t.Fatal(err)
		}
		return strings.Join(slices.Sorted(maps.Keys(s.set)), " ")
	}
	// web takes from db and from nobody else; of other nothing is said.
	rule := api.IngressRule{Action: api.ActionAllow, From: []api.Peer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}}}}
	policy := &api.AccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", UID: "p", Generation: 1}}
	policy.Spec.Selector.MatchLabels, policy.Spec.Ingress = map[string]string{"app": "web"}, []api.IngressRule{rule}
	running := func(name, uid, ip string) *corev1.Pod {
		owner, _, _ := strings.Cut(name, "-")
		p := podSpec{ns: "shop", name: name, uid: uid, owner: owner, labels: "app=" + owner, sidecar: true, phase: corev1.PodRunning}
		if ip != "" {
			p.ips = []string{ip}
		}
		return p.pod()
	}
	l.give(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, policy,
		running("web-0", "1", "10.0.0.1"), running("db-0", "2", "10.0.0.2"), running("other-0", "3", "10.0.0.3"))
	l.want("the start", apply(), "shop/db-0 shop/other-0 shop/web-0")
	l.want("nothing", apply(), "")
	l.give(running("db-1", "4", ""))
	l.want("a pod without an address", apply(), "shop/db-1")
	l.give(running("db-1", "4", "10.0.0.4"))
	l.want("its address", apply(), "shop/web-0")
	l.take(running("db-1", "4", ""))
	l.want("its end", apply(), "-shop/db-1 shop/web-0")
	l.give(running("web-0", "1", "10.0.0.9"))
	l.want("an address that nobody names", apply(), "")

	// The next version asks for another label, and has an error.
	bad := policy.DeepCopy()
	bad.Generation, bad.Spec.Selector.MatchLabels = 2, map[string]string{"tier": "x"}
	bad.Spec.Ingress[0].Action = "Nonsense"
	l.give(bad)
	l.want("a version with errors", apply(), "")
	l.give(running("web-1", "5", "10.0.0.5"))
	l.want("a pod after it", apply(), "shop/web-1")
	for _, w := range f.Model().Workloads {
		if w.Name == "web" {
			l.want("policies of web", w.Policies, "[shop/p]")
		}
	}
	l.want("workload of the new pod", f.WorkloadOf("shop/web-1"), "shop/web")
}
