package install

import (
	"context"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kinds "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
)

// object is one of a cluster, as small as it may be.
func object(version, kind, namespace, name string, labels map[string]string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": version, "kind": kind}}
	o.SetName(name)
	o.SetNamespace(namespace)
	o.SetLabels(labels)
	return o
}

// cluster holds the two revisions' objects in memory. What is tested with it is which calls are
// made and in which order; it proves nothing of an API server.
func cluster(objects ...runtime.Object) (*Cluster, *fake.FakeDynamicClient) {
	lists := map[kinds.GroupVersionResource]string{namespaces: "NamespaceList", crds: "CustomResourceDefinitionList"}
	for _, r := range removed {
		lists[r] = r.Resource + "List"
	}
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists, objects...)
	return &Cluster{dynamic: client}, client
}

func deleted(client *fake.FakeDynamicClient) (out []string) {
	for _, a := range client.Actions() {
		if a.GetVerb() == "delete" {
			out = append(out, a.GetResource().Resource)
		}
	}
	return out
}

// TestWebhooksGoFirst: a control plane that is removed before its webhook, which then refuses
// every pod. The other revision's objects stay.
func TestWebhooksGoFirst(t *testing.T) {
	ours, theirs := map[string]string{revisionLabel: "default"}, map[string]string{revisionLabel: "canary"}
	c, client := cluster(
		object("apps/v1", "Deployment", "pavise-system", "pavise-control-plane", ours),
		object("apps/v1", "Deployment", "pavise-system", "pavise-control-plane-canary", theirs),
		object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "", "pavise-injector", ours),
		object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "", "pavise-injector-canary", theirs),
		object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "", "pavise-validator", ours),
	)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.Uninstall(ctx, Options{}, UninstallOptions{}); err != nil {
		t.Fatal(err)
	}
	want := "mutatingwebhookconfigurations validatingwebhookconfigurations deployments"
	if got := strings.Join(deleted(client), " "); got != want {
		t.Errorf("deleted %s; want %s", got, want)
	}
}

// TestLabelledNamespacesHoldUninstall: pods that start without a shield since somebody removed
// Pavise by mistake.
func TestLabelledNamespacesHoldUninstall(t *testing.T) {
	c, client := cluster(object("v1", "Namespace", "", "shop", map[string]string{"pavise.dev/inject": "enabled"}))
	err := c.Uninstall(t.Context(), Options{}, UninstallOptions{})
	if err == nil || !strings.Contains(err.Error(), "shop") || len(deleted(client)) != 0 {
		t.Errorf("error %v, deleted %v", err, deleted(client))
	}
}
