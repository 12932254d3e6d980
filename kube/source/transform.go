package source

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Transform drops from an object what nobody here reads, before a cache keeps it: it is for
// cache.Options.DefaultTransform. Of pods there is left what tells classes apart, with the start of
// the network as the time of start, of Services
// the cluster IPs, of EndpointSlices the names of pods; other kinds lose managed fields and what
// kubectl applied last. The object is changed in place. It never fails, and what it does not
// know passes.
func Transform(obj any) (any, error) {
	m, ok := obj.(metav1.Object)
	if !ok {
		return obj, nil // such as the last state of an object whose deletion was missed
	}
	m.SetManagedFields(nil)
	switch o := obj.(type) {
	case *corev1.Pod:
		slimPod(o)
	case *corev1.Service:
		o.ObjectMeta = slimMeta(&o.ObjectMeta)
		o.Spec = corev1.ServiceSpec{Type: o.Spec.Type, ClusterIP: o.Spec.ClusterIP, ClusterIPs: o.Spec.ClusterIPs}
		o.Status = corev1.ServiceStatus{}
	case *discoveryv1.EndpointSlice:
		slimSlice(o)
	case *corev1.Namespace:
		o.Annotations, o.Spec = nil, corev1.NamespaceSpec{}
	case *networkingv1.NetworkPolicy:
		o.ObjectMeta = slimMeta(&o.ObjectMeta)
	default:
		if a := m.GetAnnotations(); a[corev1.LastAppliedConfigAnnotation] != "" {
			delete(a, corev1.LastAppliedConfigAnnotation)
			m.SetAnnotations(a)
		}
	}
	return obj, nil
}

// slimMeta is what names an object and one version of it.
func slimMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, Generation: m.Generation,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
	}
}

func slimPod(o *corev1.Pod) {
	meta := slimMeta(&o.ObjectMeta)
	meta.Labels = o.Labels
	if _, injected := o.Annotations[StatusAnnotation]; injected {
		meta.Annotations = map[string]string{StatusAnnotation: ""} // that it is there counts, and what it says may be long
	}
	for _, r := range o.OwnerReferences {
		if r.Controller != nil && *r.Controller {
			meta.OwnerReferences = []metav1.OwnerReference{{Kind: r.Kind, Name: r.Name, Controller: r.Controller}}
			break
		}
	}
	o.ObjectMeta = meta
	// All named ports in one container come to the same labels.
	var ports []corev1.ContainerPort
	containers := slices.Clone(o.Spec.Containers)
	for i := range o.Spec.InitContainers {
		if p := o.Spec.InitContainers[i].RestartPolicy; p != nil && *p == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, o.Spec.InitContainers[i])
		}
	}
	for i := range containers {
		for _, p := range containers[i].Ports {
			if p.Name != "" && (p.Protocol == "" || p.Protocol == corev1.ProtocolTCP) {
				ports = append(ports, corev1.ContainerPort{Name: p.Name, ContainerPort: p.ContainerPort})
			}
		}
	}
	spec := corev1.PodSpec{ServiceAccountName: o.Spec.ServiceAccountName, HostNetwork: o.Spec.HostNetwork}
	if len(ports) > 0 {
		spec.Containers = []corev1.Container{{Ports: slices.Clip(ports)}}
	}
	o.Spec = spec
	o.Status = corev1.PodStatus{Phase: o.Status.Phase, PodIP: o.Status.PodIP, PodIPs: o.Status.PodIPs, StartTime: startOf(o)}
}

func slimSlice(o *discoveryv1.EndpointSlice) {
	meta := slimMeta(&o.ObjectMeta)
	if service := o.Labels[discoveryv1.LabelServiceName]; service != "" {
		meta.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	}
	o.ObjectMeta, o.Ports = meta, nil
	endpoints := make([]discoveryv1.Endpoint, 0, len(o.Endpoints))
	for _, e := range o.Endpoints {
		if e.TargetRef != nil {
			endpoints = append(endpoints, discoveryv1.Endpoint{
				TargetRef: &corev1.ObjectReference{Kind: e.TargetRef.Kind, Namespace: e.TargetRef.Namespace, Name: e.TargetRef.Name},
			})
		}
	}
	o.Endpoints = slices.Clip(endpoints)
}
