package certs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxErrors bounds how many namespaces an error names.
const maxErrors = 8

// distribute hands the bundle out to everybody who has another one. One failure does not
// keep it from the others.
func (m *Manager) distribute(ctx context.Context, bundle []byte) error {
	var errs []error
	failed := 0
	add := func(err error) {
		if err == nil {
			return
		}
		if failed++; failed <= maxErrors {
			errs = append(errs, err)
		}
	}
	for _, name := range m.c.Mutating {
		add(m.webhooks(ctx, "MutatingWebhookConfiguration", name, bundle))
	}
	for _, name := range m.c.Validating {
		add(m.webhooks(ctx, "ValidatingWebhookConfiguration", name, bundle))
	}
	if m.c.Namespaces != nil {
		for _, ns := range m.c.Namespaces() {
			if ctx.Err() != nil {
				add(ctx.Err())
				break
			}
			add(m.configMap(ctx, ns, bundle))
		}
	}
	if failed > maxErrors {
		errs = append(errs, fmt.Errorf("and %d more", failed-maxErrors))
	}
	return errors.Join(errs...)
}

// configMap writes the bundle into a namespace. Whatever else is in the ConfigMap goes: pods
// mount it, and trust what is in it.
func (m *Manager) configMap(ctx context.Context, namespace string, bundle []byte) error {
	maps := m.c.Core.ConfigMaps(namespace)
	found, err := maps.Get(ctx, m.c.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = maps.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: m.c.Name, Namespace: namespace, Labels: map[string]string{
				DistributedLabel: "ca", "app.kubernetes.io/managed-by": "pavise",
			}},
			Data: map[string]string{BundleKey: string(bundle)},
		}, metav1.CreateOptions{})
		if apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil // the namespace went
		}
	case err != nil:
	case found.Data[BundleKey] == string(bundle) && len(found.Data) == 1 && len(found.BinaryData) == 0 && found.Labels[DistributedLabel] == "ca":
		return nil
	default:
		found = found.DeepCopy()
		if found.Labels == nil {
			found.Labels = map[string]string{}
		}
		found.Labels[DistributedLabel] = "ca"
		found.Data, found.BinaryData = map[string]string{BundleKey: string(bundle)}, nil
		_, err = maps.Update(ctx, found, metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("ConfigMap %s/%s: %w", namespace, m.c.Name, err)
	}
	return nil
}

// operation is one of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// webhooks writes the caBundle of those webhooks of a configuration that are a Service in our
// namespace. Each write holds only while the webhook at that place is the one that was read.
func (m *Manager) webhooks(ctx context.Context, kind, name string, bundle []byte) error {
	var patch []operation
	look := func(i int, name string, c *admissionv1.WebhookClientConfig) {
		if c.Service == nil || c.Service.Namespace != m.c.Namespace || bytes.Equal(c.CABundle, bundle) {
			return
		}
		at := fmt.Sprintf("/webhooks/%d", i)
		patch = append(patch, operation{"test", at + "/name", name}, operation{"add", at + "/clientConfig/caBundle", bundle})
	}
	err := m.eachWebhook(ctx, kind, name, look)
	if err == nil && len(patch) > 0 {
		var b []byte
		if b, err = json.Marshal(patch); err == nil {
			err = m.patchWebhooks(ctx, kind, name, b)
		}
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", kind, name, err)
	}
	return nil
}

func (m *Manager) eachWebhook(ctx context.Context, kind, name string, look func(int, string, *admissionv1.WebhookClientConfig)) error {
	if kind == "MutatingWebhookConfiguration" {
		c, err := m.c.Admission.MutatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for i := range c.Webhooks {
			look(i, c.Webhooks[i].Name, &c.Webhooks[i].ClientConfig)
		}
		return nil
	}
	c, err := m.c.Admission.ValidatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for i := range c.Webhooks {
		look(i, c.Webhooks[i].Name, &c.Webhooks[i].ClientConfig)
	}
	return nil
}

func (m *Manager) patchWebhooks(ctx context.Context, kind, name string, patch []byte) (err error) {
	if kind == "MutatingWebhookConfiguration" {
		_, err = m.c.Admission.MutatingWebhookConfigurations().Patch(ctx, name, types.JSONPatchType, patch, metav1.PatchOptions{})
		return err
	}
	_, err = m.c.Admission.ValidatingWebhookConfigurations().Patch(ctx, name, types.JSONPatchType, patch, metav1.PatchOptions{})
	return err
}
