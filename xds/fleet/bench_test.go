package fleet

import (
	"context"
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/xds"
)

// BenchmarkArrival is a pod that comes and goes among 10,000 in 1,000 classes of 50 namespaces under
// 200 policies, which two classes name.
func BenchmarkArrival(b *testing.B) {
	var objects []api.Object
	nodes := map[string]string{}
	for n := range 50 {
		ns := fmt.Sprintf("ns%02d", n)
		for i := range 20 {
			w := &api.Workload{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("app%02d", i), Labels: map[string]string{"app": fmt.Sprint(i)}}, Spec: api.WorkloadSpec{Transparent: &api.Transparent{}}}
			for a := range 10 {
				w.Spec.Addresses = append(w.Spec.Addresses, fmt.Sprintf("10.%d.%d.%d", n, i, a+1))
				nodes[fmt.Sprintf("%s/app%02d-%d", ns, i, a)] = ns + "/" + w.Name
			}
			objects = append(objects, w)
		}
		for i := range 4 {
			p := &api.AccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("p%d", i)}}
			p.Spec.Selector.MatchLabels = map[string]string{"app": fmt.Sprint(i)}
			for r := range 10 {
				p.Spec.Ingress = append(p.Spec.Ingress, api.IngressRule{
					Action: api.ActionAllow, From: []api.Peer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprint(10 + r + i)}}}},
					RuleMatch: api.RuleMatch{HTTP: []api.HTTPMatch{{Paths: []api.PathMatch{{Prefix: fmt.Sprintf("/v%d", r)}}}}},
				})
			}
			objects = append(objects, p)
		}
	}
	first, _ := api.NewSet(objects...)
	i := slices.IndexFunc(objects, func(o api.Object) bool { return o.GetNamespace() == "ns07" && o.GetName() == "app11" })
	more := *objects[i].(*api.Workload)
	more.Spec.Addresses = append(slices.Clone(more.Spec.Addresses), "10.200.0.1")
	objects[i] = &more
	second, _ := api.NewSet(objects...)
	s := &recorder{resources: map[string]*xds.Resources{}}
	f := New(Config{Server: s, Options: xds.Options{Resolver: xds.DefaultResolver, Module: true}})
	if _, err := f.Apply(context.Background(), Update{Set: first, Nodes: nodes}); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for n := range b.N {
		r, err := f.Apply(context.Background(), Update{Set: []*api.Set{second, first}[n%2]})
		if err != nil || r.Set != 20 {
			b.Fatal(r, err)
		}
	}
}
