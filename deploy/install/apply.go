package install

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// fieldManager owns what Apply sets.
const fieldManager = "pavise-install"

// Cluster is where Apply and Uninstall work. One goroutine at a time.
type Cluster struct {
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	// Progress is told each step, a line without line end; nil tells nobody.
	Progress func(line string)
}

// Connect makes a Cluster; it asks nothing yet.
func Connect(config *rest.Config) (*Cluster, error) {
	d, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	disco, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Cluster{dynamic: d, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))}, nil
}

func (c *Cluster) say(format string, args ...any) {
	if c.Progress != nil {
		c.Progress(fmt.Sprintf(format, args...))
	}
}

func (c *Cluster) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	m, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		return nil, fmt.Errorf("%s %s: the cluster has no %s: install what brings it, or turn the value off that asks for it", gvk.Kind, o.GetName(), gvk.GroupVersion())
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", gvk.Kind, o.GetName(), err)
	}
	r := c.dynamic.Resource(m.Resource)
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		return r.Namespace(o.GetNamespace()), nil
	}
	return r, nil
}

// ApplyOptions say how Apply goes about it.
type ApplyOptions struct {
	// DryRun has the API server check every object without keeping one. Objects in a namespace
	// or of a kind that the same run would make are refused by it.
	DryRun bool
	// Wait until the control plane is rolled out before its webhooks are registered, and until
	// they answer. Without it, pods of labelled namespaces are refused until it is up.
	Wait bool
	// Force takes over fields that others own.
	Force bool
}

// Apply puts the objects of Render into the cluster by server-side apply. It stops at the first
// that is refused; what is applied stays, and a further Apply goes on from there. The context
// bounds it.
func (c *Cluster) Apply(ctx context.Context, objects []*unstructured.Unstructured, o ApplyOptions) error {
	last := map[string]int{}
	for i, obj := range objects {
		last[obj.GetKind()] = i
	}
	for i, obj := range objects {
		if err := c.apply(ctx, obj, o); err != nil {
			return err
		}
		if o.DryRun {
			continue
		}
		switch kind := obj.GetKind(); {
		case kind == "CustomResourceDefinition" && i == last[kind]:
			if err := c.established(ctx, objects[:i+1]); err != nil {
				return err
			}
		case kind == "Deployment" && o.Wait:
			if err := c.wait(ctx, obj, "to be rolled out", rolledOut); err != nil {
				return err
			}
		}
	}
	if !o.Wait || o.DryRun {
		return nil
	}
	return c.answering(ctx, objects)
}

func (c *Cluster) apply(ctx context.Context, obj *unstructured.Unstructured, o ApplyOptions) error {
	r, err := c.resource(obj)
	if err != nil {
		return err
	}
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: o.Force}
	if o.DryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	if _, err := r.Apply(ctx, obj.GetName(), obj, options); err != nil {
		return fmt.Errorf("%s %s: %w", obj.GetKind(), obj.GetName(), err)
	}
	c.say("%s %s applied", obj.GetKind(), obj.GetName())
	return nil
}

func (c *Cluster) established(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, obj := range objects {
		if obj.GetKind() != "CustomResourceDefinition" {
			continue
		}
		if err := c.wait(ctx, obj, "to be established", func(o *unstructured.Unstructured) bool { return condition(o, "Established") }); err != nil {
			return err
		}
	}
	c.mapper.Reset()
	return nil
}

// answering waits until the leader has given every webhook its authorities and the validator
// has been reached.
func (c *Cluster) answering(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, obj := range objects {
		switch obj.GetKind() {
		case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
			if err := c.wait(ctx, obj, "to have its authorities", trusted); err != nil {
				return err
			}
		}
	}
	probe := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "pavise.dev/v1alpha1", "kind": "NetworkSet",
		"metadata": map[string]any{"name": "pavise-install-probe", "namespace": "default"},
		"spec":     map[string]any{"cidrs": []any{"192.0.2.0/24"}},
	}}
	r, err := c.resource(probe)
	if err != nil {
		return err
	}
	return c.poll(ctx, "the webhook to answer", func(ctx context.Context) (bool, error) {
		_, err := r.Apply(ctx, probe.GetName(), probe, metav1.ApplyOptions{FieldManager: fieldManager, DryRun: []string{metav1.DryRunAll}})
		return err == nil, err
	})
}

func (c *Cluster) wait(ctx context.Context, obj *unstructured.Unstructured, what string, done func(*unstructured.Unstructured) bool) error {
	r, err := c.resource(obj)
	if err != nil {
		return err
	}
	return c.poll(ctx, fmt.Sprintf("%s %s %s", obj.GetKind(), obj.GetName(), what), func(ctx context.Context) (bool, error) {
		now, err := r.Get(ctx, obj.GetName(), metav1.GetOptions{})
		return err == nil && done(now), err
	})
}

const pollEvery = 250 * time.Millisecond

// poll asks until it is done or the context ends; the last error is part of what is said then.
func (c *Cluster) poll(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	c.say("waiting for %s", what)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		ok, err := done(ctx)
		if ok {
			return nil
		}
		if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

func condition(o *unstructured.Unstructured, name string) bool {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range list {
		if m, ok := c.(map[string]any); ok && m["type"] == name {
			return m["status"] == "True"
		}
	}
	return false
}

func rolledOut(o *unstructured.Unstructured) bool {
	number := func(path ...string) int64 { n, _, _ := unstructured.NestedInt64(o.Object, path...); return n }
	want := number("spec", "replicas")
	return number("status", "observedGeneration") >= o.GetGeneration() && number("status", "replicas") == want &&
		number("status", "updatedReplicas") == want && number("status", "availableReplicas") == want
}

func trusted(o *unstructured.Unstructured) bool {
	hooks, _, _ := unstructured.NestedSlice(o.Object, "webhooks")
	for _, h := range hooks {
		m, ok := h.(map[string]any)
		if !ok {
			return false
		}
		if bundle, _, _ := unstructured.NestedString(m, "clientConfig", "caBundle"); bundle == "" {
			return false
		}
	}
	return true
}
