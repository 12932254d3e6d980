package injector

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"pavise.dev/pavise/api"
)

// systemNamespaces have what the cluster itself needs to come up.
var systemNamespaces = []string{"kube-system", "kube-node-lease"}

// skip says why a pod is left alone. Where that is not for the pod to say it refuses, which
// counts for more than what is returned.
func (j *job) skip(p *corev1.Pod) Reason {
	switch {
	case j.namespace.Name == j.Namespace:
		return OwnNamespace
	case slices.Contains(systemNamespaces, j.namespace.Name):
		return SystemNamespace
	}
	switch {
	// Neither runs on a Linux node: the kubelet holds them to what they say.
	case p.Annotations[mirrorAnnotation] != "":
		return Mirror
	case p.Spec.OS != nil && p.Spec.OS.Name == corev1.Windows, p.Spec.OS == nil && p.Spec.NodeSelector[osLabel] == string(corev1.Windows):
		return Windows
	}
	asks := j.asks(p)
	switch on := j.namespace.Labels[InjectLabel]; {
	case on == "enabled", on == "" && asks == "enabled":
	default:
		return NamespaceNotEnabled
	}
	switch {
	case p.Spec.HostNetwork && (j.HostNetwork == Skip || j.mayOptOut()):
		j.warn("it is in the host's network, and has no shield")
		return HostNetwork
	case p.Spec.HostNetwork:
		j.refuse(HostNetwork, "spec.hostNetwork: such a pod can have no shield; leave it out, or label namespace %s %s=%s",
			j.namespace.Name, OptOutLabel, allowed)
		return ""
	}
	if asks == "disabled" {
		if j.mayOptOut() {
			return OptedOut
		}
		j.refuse(OptOutNotAllowed, "%s: the pod asks for no shield, which %s; leave it out%s", InjectLabel, j.whyNot(), j.orLabel())
	}
	if mesh := otherMesh(p); mesh != "" {
		if j.mayOptOut() {
			j.warn("it has the sidecar of %s, and no shield of Pavise", mesh)
			return OtherMesh
		}
		// Their marks can be forged by whoever makes the pod.
		j.refuse(OtherMesh, "it has the sidecar of %s, and two redirects in a pod undo each other; that it goes without ours %s; "+
			"switch %s off for the pod%s", mesh, j.whyNot(), mesh, j.orLabel())
	}
	j.rightRevision(p)
	return ""
}

// asks is enabled, disabled or nothing: what the pod itself says.
func (j *job) asks(p *corev1.Pod) string {
	said := ""
	for _, from := range []map[string]string{p.Labels, p.Annotations} {
		v, ok := from[InjectLabel]
		if !ok {
			continue
		}
		switch v {
		case "enabled", "true":
			v = "enabled"
		case "disabled", "false":
			v = "disabled"
		default:
			j.refuse(BadLabel, "%s: %.40q means nothing; write enabled or disabled", InjectLabel, v)
			continue
		}
		if said != "" && said != v {
			j.refuse(BadLabel, "%s: the label says %s and the annotation %s; say it once", InjectLabel, said, v)
		}
		said = v
	}
	return said
}

func (j *job) mayOptOut() bool {
	return j.OptOut == AnyoneMayOptOut || j.OptOut == NamespaceMayOptOut && j.namespace.Labels[OptOutLabel] == allowed
}

func (j *job) whyNot() string {
	if j.OptOut == NeverOptOut {
		return "this installation never allows (optOut: Never)"
	}
	return fmt.Sprintf("namespace %s does not allow", j.namespace.Name)
}

func (j *job) orLabel() string {
	if j.OptOut == NeverOptOut {
		return ""
	}
	return fmt.Sprintf(", or label the namespace %s=%s", OptOutLabel, allowed)
}

func (j *job) rightRevision(p *corev1.Pod) {
	of := j.namespace.Labels[RevisionLabel]
	if of == "" {
		of = defaultRevision
	}
	if of != j.Revision {
		j.refuse(OtherRevision, "namespace %s belongs to revision %.40q, and this is %q: the label was changed a moment ago, or the webhook selects too much",
			j.namespace.Name, of, j.Revision)
	}
	asked, ok := p.Labels[RevisionLabel]
	if ok && asked != j.Revision && p.Annotations[StatusAnnotation] == "" {
		j.refuse(OtherRevision, "label %s: the pod asks for %.40q, and its namespace belongs to %q; leave it out, or label the namespace", RevisionLabel, asked, of)
	}
}

func otherMesh(p *corev1.Pod) string {
	for _, mark := range [][2]string{{"sidecar.istio.io/status", "Istio"}, {"linkerd.io/proxy-version", "Linkerd"}} {
		if p.Annotations[mark[0]] != "" {
			return mark[1]
		}
	}
	for _, l := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range l {
			switch l[i].Name {
			case "istio-proxy", "istio-init", "istio-validation":
				return "Istio"
			case "linkerd-proxy", "linkerd-init":
				return "Linkerd"
			}
		}
	}
	return ""
}

// options are what the pod's annotations say about its sidecar.
type options struct {
	requests, limits corev1.ResourceList
	logLevel         string
	anomalies        []string // flags
}

func (j *job) options() options {
	o := options{requests: j.Resources.Requests.DeepCopy(), limits: j.Resources.Limits.DeepCopy(), logLevel: j.LogLevel}
	for _, a := range []struct {
		key  string
		name corev1.ResourceName
		to   *corev1.ResourceList
	}{
		{CPURequestAnnotation, corev1.ResourceCPU, &o.requests},
		{CPULimitAnnotation, corev1.ResourceCPU, &o.limits},
		{MemoryRequestAnnotation, corev1.ResourceMemory, &o.requests},
		{MemoryLimitAnnotation, corev1.ResourceMemory, &o.limits},
	} {
		text, ok := j.pod.Annotations[a.key]
		if !ok {
			continue
		}
		most := j.MaxResources[a.name]
		q, err := parseQuantity(text)
		if err != nil || q.Sign() <= 0 || q.Cmp(most) > 0 {
			j.refuse(BadAnnotation, "annotation %s: %.40q: it is a quantity of more than 0 and up to %s", a.key, text, most.String())
			continue
		}
		if *a.to == nil {
			*a.to = corev1.ResourceList{}
		}
		(*a.to)[a.name] = q
	}
	for name, request := range o.requests {
		if limit, ok := o.limits[name]; ok && request.Cmp(limit) > 0 {
			j.refuse(BadAnnotation, "annotations of %s: the sidecar's request %s is more than its limit %s; give both", name, request.String(), limit.String())
		}
	}
	if text, ok := j.pod.Annotations[LogLevelAnnotation]; ok {
		if !slices.Contains(logLevels, text) {
			j.refuse(BadAnnotation, "annotation %s: %.40q: it is debug, info, warn or error", LogLevelAnnotation, text)
		}
		o.logLevel = text
	}
	o.anomalies = j.anomalies()
	return o
}

// anomalies are the agent's flags of the annotations about anomalies. The texts were read by the
// same code as the agent reads them with, and are flags of one argument each.
func (j *job) anomalies() (flags []string) {
	var s api.AnomalySettings
	for _, key := range slices.Sorted(maps.Keys(j.pod.Annotations)) {
		name, ok := strings.CutPrefix(key, api.AnomalyPrefix)
		if !ok {
			continue
		}
		text := j.pod.Annotations[key]
		err := s.Set(name, text)
		if err == nil && strings.Contains(text, "$(") {
			err = errors.New("$( would be replaced by Kubernetes; it is in no name of a peer")
		}
		if err != nil {
			j.refuse(BadAnnotation, "annotation %.100s: %v", key, err)
			continue
		}
		flags = append(flags, "--anomaly-"+name+"="+text)
	}
	return flags
}

// parseQuantity bounds what is read: a quantity may have any number of digits.
func parseQuantity(s string) (resource.Quantity, error) {
	if len(s) > 32 {
		return resource.Quantity{}, fmt.Errorf("%.32q… is too long", s)
	}
	return resource.ParseQuantity(s)
}
