package status

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// Label is on the ConfigMap of each replica, with the revision as its value.
	Label = "pavise.dev/control-plane"
	// heartbeatAnnotation is for people; replicas go by the resourceVersion.
	heartbeatAnnotation = "pavise.dev/heartbeat"
	// shareKey is the key of what is published.
	shareKey = "counts.json"
	// manager of the fields that are written.
	manager = client.FieldOwner("pavise")
	// beats that a replica may miss.
	beats = 3
	// buried is how many heartbeats later its ConfigMap is deleted.
	buried = 20
	// maxReplicas bounds the ConfigMaps that are read.
	maxReplicas = 100
	// patience of the last request.
	patience = 5 * time.Second
)

var podName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,200}[a-z0-9])?$`)

// Name of the ConfigMap of a replica.
func Name(identity string) string {
	if !podName.MatchString(identity) {
		sum := sha256.Sum256([]byte(identity))
		identity = hex.EncodeToString(sum[:8])
	}
	return "pavise-status-" + identity
}

// publication is what was published last.
type publication struct {
	text string
	at   time.Time
}

func (w *Writer) publish(ctx context.Context, own map[key]*counts) error {
	text, err := encode(w.c.Identity, w.c.Revision, own)
	if err != nil {
		return fmt.Errorf("counts: %w", err)
	}
	now := w.c.now()
	if string(text) == w.published.text && now.Sub(w.published.at) < w.c.Heartbeat-w.c.Interval/2 {
		return nil
	}
	metadata := map[string]any{
		"name": Name(w.c.Identity), "namespace": w.c.Namespace,
		"labels":      map[string]any{Label: w.c.Revision, "app.kubernetes.io/managed-by": "pavise"},
		"annotations": map[string]any{heartbeatAnnotation: now.UTC().Format(time.RFC3339Nano)},
	}
	if o := w.c.Owner; o != nil {
		metadata["ownerReferences"] = []any{map[string]any{
			"apiVersion": o.APIVersion, "kind": o.Kind, "name": o.Name, "uid": string(o.UID),
		}}
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": map[string]any{shareKey: string(text)},
	}}
	if err := w.c.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), manager, client.ForceOwnership); err != nil {
		return fmt.Errorf("publish counts in ConfigMap %s/%s: %w", w.c.Namespace, u.GetName(), err)
	}
	w.published = publication{string(text), now}
	return nil
}

// withdraw takes away what was published: the sidecars of this replica go to others.
func (w *Writer) withdraw(ctx context.Context) error {
	if w.published.at.IsZero() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.c.Namespace, Name: Name(w.c.Identity)}}
	if err := w.c.Client.Delete(ctx, m); err != nil && !apierrors.IsNotFound(err) {
		w.c.Logger.Warn("the counts of this replica stay until they are stale", "configmap", m.Name, "error", err)
	}
	return nil
}

// replica is another's ConfigMap.
type replica struct {
	version string    // resourceVersion
	since   time.Time // by our own clock: those of two machines may differ
	share   *share    // nil for one that cannot be read
}

// others reads what other replicas count, without those that are gone.
func (w *Writer) others(ctx context.Context) ([]*share, error) {
	var list corev1.ConfigMapList
	if err := w.c.Reader.List(ctx, &list, client.InNamespace(w.c.Namespace), client.HasLabels{Label}, client.Limit(maxReplicas)); err != nil {
		return nil, fmt.Errorf("list the ConfigMaps of other replicas in %s: %w", w.c.Namespace, err)
	}
	now := w.c.now()
	seen := map[string]bool{}
	var out []*share
	for i := range list.Items {
		m := &list.Items[i]
		text, is := m.Data[shareKey]
		if !is || m.Name == Name(w.c.Identity) {
			continue
		}
		seen[m.Name] = true
		r := w.replicas[m.Name]
		if r == nil || r.version != m.ResourceVersion {
			r = &replica{version: m.ResourceVersion, since: now}
			w.replicas[m.Name] = r
			s, err := decode(text)
			if err != nil {
				w.c.Logger.Warn("the counts of another replica cannot be read", "configmap", m.Name, "error", err)
			}
			r.share = s
		}
		switch silent := now.Sub(r.since); {
		case silent > buried*w.c.Heartbeat:
			if err := client.IgnoreNotFound(w.c.Client.Delete(ctx, m, client.Preconditions{ResourceVersion: &m.ResourceVersion})); err != nil {
				w.c.Logger.Warn("the counts of a replica that is gone could not be deleted", "configmap", m.Name, "error", err)
			}
		case silent <= beats*w.c.Heartbeat && r.share != nil:
			out = append(out, r.share)
		}
	}
	for name := range w.replicas {
		if !seen[name] {
			delete(w.replicas, name)
		}
	}
	return out, nil
}
