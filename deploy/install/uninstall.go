package install

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	revisionLabel = "pavise.dev/control-plane"
	caName        = "pavise-ca"
)

// removed are the kinds that carry the revision's label, in the order in which they go.
var removed = []schema.GroupVersionResource{
	{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"},
	{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"},
	{Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	{Version: "v1", Resource: "services"},
	{Group: "monitoring.coreos.com", Version: "v1", Resource: "servicemonitors"},
	{Group: "monitoring.coreos.com", Version: "v1", Resource: "prometheusrules"},
	{Group: "cert-manager.io", Version: "v1", Resource: "certificates"},
	{Group: "cert-manager.io", Version: "v1", Resource: "issuers"},
	{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
	{Version: "v1", Resource: "configmaps"},
	{Version: "v1", Resource: "secrets"},
	{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"},
	{Version: "v1", Resource: "serviceaccounts"},
}

var (
	namespaces  = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	configMaps  = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	secrets     = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	crds        = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// UninstallOptions say how far Uninstall goes.
type UninstallOptions struct {
	// CRDs go too, and with them every policy and feed that users have written.
	CRDs bool
	// Labelled goes on although namespaces are still labelled for injection. Their pods keep their
	// sidecars and the last good policies, but new pods start without.
	Labelled bool
}

// Uninstall removes a revision: webhooks first, then the control plane, then what it wrote.
// What several revisions share goes with the last of them. It is safe to repeat. It returns
// once nothing of what it deletes is found any more, or when the context ends.
func (c *Cluster) Uninstall(ctx context.Context, o Options, u UninstallOptions) error {
	o = o.normal()
	others, err := c.others(ctx, o)
	if err != nil {
		return err
	}
	if err := c.labelled(ctx, o, others, u); err != nil {
		return err
	}
	ours := metav1.ListOptions{LabelSelector: revisionLabel + "=" + o.Revision}
	for _, r := range removed {
		if err := c.remove(ctx, r, "", ours); err != nil {
			return err
		}
	}
	ca := caName
	if o.Revision != "default" {
		ca += "-" + o.Revision
	}
	if err := c.remove(ctx, secrets, o.Namespace, named(ca)); err != nil {
		return err
	}
	if err := c.remove(ctx, configMaps, "", named(ca)); err != nil {
		return err
	}
	if others {
		c.say("another revision stays, and with it the custom resources and the namespace")
		return nil
	}
	if u.CRDs {
		if err := c.removeCRDs(ctx); err != nil {
			return err
		}
	}
	return c.remove(ctx, namespaces, "", metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=pavise", FieldSelector: "metadata.name=" + o.Namespace})
}

func named(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: "metadata.name=" + name}
}

// others says whether another revision is installed.
func (c *Cluster) others(ctx context.Context, o Options) (bool, error) {
	list, err := c.dynamic.Resource(deployments).List(ctx, metav1.ListOptions{LabelSelector: revisionLabel + "," + revisionLabel + "!=" + o.Revision})
	if err != nil {
		return false, fmt.Errorf("looking for other revisions: %w", err)
	}
	return len(list.Items) > 0, nil
}

// labelled refuses while namespaces count on the revision.
func (c *Cluster) labelled(ctx context.Context, o Options, others bool, u UninstallOptions) error {
	list, err := c.dynamic.Resource(namespaces).List(ctx, metav1.ListOptions{LabelSelector: "pavise.dev/inject=enabled"})
	if err != nil {
		return fmt.Errorf("looking for labelled namespaces: %w", err)
	}
	var names []string
	for _, n := range list.Items {
		revision, given := n.GetLabels()["pavise.dev/revision"]
		if revision == o.Revision || (!given && o.Revision == "default") || !others {
			names = append(names, n.GetName())
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	shown := names[:min(len(names), 10)]
	if !u.Labelled {
		return fmt.Errorf("%d namespaces are still labelled for revision %s (%v): their new pods would start without a shield; take the label away, or say that it is meant",
			len(names), o.Revision, shown)
	}
	c.say("new pods of %d labelled namespaces start without a shield: %v", len(names), shown)
	return nil
}

func (c *Cluster) removeCRDs(ctx context.Context) error {
	list, err := c.dynamic.Resource(crds).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing custom resources: %w", err)
	}
	for _, crd := range list.Items {
		if group, _, _ := unstructured.NestedString(crd.Object, "spec", "group"); group != "pavise.dev" {
			continue
		}
		if err := c.remove(ctx, crds, "", named(crd.GetName())); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes what is selected and waits until it is gone. A kind that the cluster does not
// have is none of ours. An empty namespace is all of them.
func (c *Cluster) remove(ctx context.Context, r schema.GroupVersionResource, namespace string, which metav1.ListOptions) error {
	failed := func(err error) error { return fmt.Errorf("removing %s: %w", r.Resource, err) }
	all := c.dynamic.Resource(r)
	list, err := all.Namespace(namespace).List(ctx, which)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return failed(err)
	}
	foreground := metav1.DeletePropagationForeground
	for _, o := range list.Items {
		uid := o.GetUID()
		err := all.Namespace(o.GetNamespace()).Delete(ctx, o.GetName(), metav1.DeleteOptions{
			PropagationPolicy: &foreground, Preconditions: &metav1.Preconditions{UID: &uid},
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return failed(err)
		}
		c.say("%s %s removed", o.GetKind(), o.GetName())
	}
	if len(list.Items) == 0 {
		return nil
	}
	return c.poll(ctx, r.Resource+" to be gone", func(ctx context.Context) (bool, error) {
		left, err := all.Namespace(namespace).List(ctx, which)
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return err == nil && len(left.Items) == 0, err
	})
}
