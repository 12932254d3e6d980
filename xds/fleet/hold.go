package fleet

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"pavise.dev/pavise/api"
)

// namespaceName is on every namespace.
const namespaceName = "kubernetes.io/metadata.name"

// hold finds the workloads that are given nothing new because of what was left wrong.
func (f *Fleet) hold(t *trial) {
	for key, err := range t.failed {
		t.held[key] = "the rules cannot be given to Envoy: " + err.Error()
		t.extra = append(t.extra, api.Problem{
			Code: codeNotForEnvoy, Severity: api.Error, Object: "Workload " + key, Message: t.held[key] + "; what its sidecars have stays in force",
		})
	}
	for i := range t.problems {
		// What is left of these is about policies that were good: a workload is what changed.
		if p := &t.problems[i]; p.Severity == api.Error {
			for _, w := range t.model.Workloads {
				for _, ref := range w.Policies {
					if p.Object == api.ObjectName(api.KindAccessPolicy, ref.Namespace, ref.Name) ||
						p.Object == api.ObjectName(api.KindClusterAccessPolicy, "", ref.Name) && ref.Namespace == "" {
						t.held[w.Key()] = p.Object + " has errors"
					}
				}
			}
		}
	}
}

// holdUnknown finds the workloads that a policy of unknown standing selects, and why.
func (f *Fleet) holdUnknown(t *trial) {
	t.held = map[string]string{}
	var namespaces map[string]labels.Set
	for _, r := range f.records {
		if !f.begun && r.problem() != nil && r.good == nil {
			r.unknown = true
		}
		if !r.unknown || r.problem() == nil {
			continue
		}
		if namespaces == nil {
			namespaces = namespaceLabels(t.set)
		}
		for _, w := range t.set.Workloads {
			if mayFit(r.object, w, namespaces[w.Namespace]) {
				t.held[w.Namespace+"/"+w.Name] = r.id.String() + " had errors when this started, and what stood in its place is not known"
			}
		}
	}
}

func namespaceLabels(set *api.Set) map[string]labels.Set {
	out := map[string]labels.Set{}
	for _, w := range set.Workloads {
		out[w.Namespace] = labels.Set{namespaceName: w.Namespace}
	}
	for _, n := range set.Namespaces {
		l := labels.Merge(n.Labels, labels.Set{namespaceName: n.Name})
		out[n.Name] = l
	}
	return out
}

// mayFit reports whether the policy selects the workload, or may: a selector that cannot be
// read might mean any.
func mayFit(o api.Object, w *api.Workload, namespace labels.Set) bool {
	switch p := o.(type) {
	case *api.AccessPolicy:
		return p.Namespace == w.Namespace && fits(&p.Spec.Selector, w.Labels)
	case *api.ClusterAccessPolicy:
		return fits(&p.Spec.NamespaceSelector, namespace) && fits(&p.Spec.Selector, w.Labels)
	}
	return false
}

func fits(s *metav1.LabelSelector, l labels.Set) bool {
	sel, err := metav1.LabelSelectorAsSelector(s)
	return err != nil || sel.Matches(l)
}

// compareKeys orders NAMESPACE/NAME as a model is ordered, by the namespace first.
func compareKeys(a, b string) int {
	an, aw, _ := strings.Cut(a, "/")
	bn, bw, _ := strings.Cut(b, "/")
	if c := strings.Compare(an, bn); c != 0 {
		return c
	}
	return strings.Compare(aw, bw)
}
