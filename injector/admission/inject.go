package admission

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"pavise.dev/pavise/injector"
)

const (
	// maxRefusals and maxWarnings bound what is said about one pod; the rest is counted.
	maxRefusals = 20
	maxWarnings = 8
	// maxWarning is in octets: the API server cuts longer ones.
	maxWarning = 240
)

// inject answers for a pod that is made, and for changes of one.
func (s *server) inject(ctx context.Context, r *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	if r.Resource.Group != "" || r.Resource.Version != "v1" || r.Resource.Resource != "pods" {
		return nil, failf(http.StatusBadRequest, "%.60q of %.60q is not what this judges; right is pods of v1", r.Resource.Resource, r.Resource.Group)
	}
	var pod corev1.Pod
	if err := kjson.Unmarshal(r.Object.Raw, &pod); err != nil {
		return nil, failf(http.StatusBadRequest, "pod %s: %w", podName(r, nil), err)
	}
	namespace, err := s.Namespace(ctx, r.Namespace)
	if err != nil {
		return nil, failf(http.StatusInternalServerError, "namespace %.70q: %w", r.Namespace, err)
	}
	if namespace == nil || namespace.Name != r.Namespace {
		return nil, failf(http.StatusInternalServerError, "namespace %.70q is not known here yet", r.Namespace)
	}
	switch {
	case r.Operation == admissionv1.Create && r.SubResource == "":
		return s.create(r, &pod, namespace)
	case r.Operation == admissionv1.Update && (r.SubResource == "" || r.SubResource == "ephemeralcontainers"):
		return s.update(r, &pod, namespace)
	}
	return nil, failf(http.StatusBadRequest, "pod %s: %.20q of %.40q is not what this judges; right is CREATE, or UPDATE of it or of its ephemeralcontainers",
		podName(r, &pod), r.Operation, r.SubResource)
}

func (s *server) create(r *admissionv1.AdmissionRequest, pod *corev1.Pod, namespace *corev1.Namespace) (*admissionv1.AdmissionResponse, error) {
	name := podName(r, pod)
	res, err := injector.Inject(s.Injector(), injector.Input{Pod: pod, Namespace: namespace, Native: s.Native()})
	if err != nil {
		return nil, failf(http.StatusInternalServerError, "pod %s: %w", name, err)
	}
	if len(res.Refused) > 0 {
		return s.refused(name, res.Refused, res.Warnings), nil
	}
	out := allow()
	out.Warnings = warnings(name, res.Warnings)
	if res.Skipped != "" {
		s.Stats.count("inject", "skipped", string(res.Skipped))
		s.Logger.Info("a pod has no shield", "pod", name, "reason", res.Skipped)
		out.AuditAnnotations = map[string]string{"skipped": string(res.Skipped)}
		return out, nil
	}
	if out.Patch, err = injector.Patch(pod, res.Pod); err != nil {
		return nil, failf(http.StatusInternalServerError, "pod %s: %w", name, err)
	}
	if out.Patch != nil {
		kind := admissionv1.PatchTypeJSONPatch
		out.PatchType = &kind
	}
	s.Stats.count("inject", "injected", "")
	return out, nil
}

func (s *server) update(r *admissionv1.AdmissionRequest, pod *corev1.Pod, namespace *corev1.Namespace) (*admissionv1.AdmissionResponse, error) {
	var before corev1.Pod
	if err := kjson.Unmarshal(r.OldObject.Raw, &before); err != nil {
		return nil, failf(http.StatusBadRequest, "pod %s: oldObject: %w", podName(r, pod), err)
	}
	refusals, warned := injector.Update(s.Injector(), namespace, &before, pod)
	if len(refusals) > 0 {
		return s.refused(podName(r, pod), refusals, warned), nil
	}
	s.Stats.count("inject", "update", "")
	out := allow()
	out.Warnings = warnings(podName(r, pod), warned)
	return out, nil
}

func (s *server) refused(name string, list []injector.Refusal, warned []string) *admissionv1.AdmissionResponse {
	var text []string
	for i, r := range list {
		s.Stats.count("inject", "refused", string(r.Reason))
		if i < maxRefusals {
			text = append(text, r.String())
		}
	}
	if more := len(list) - maxRefusals; more > 0 {
		text = append(text, fmt.Sprintf("and %d more", more))
	}
	message := printable("pavise: pod " + name + ": " + strings.Join(text, "; "))
	s.Logger.Info("a pod is refused", "pod", name, "reason", list[0].Reason, "message", message)
	out := refuse(message)
	out.Warnings = warnings(name, warned)
	return out
}

func warnings(name string, list []string) []string {
	var out []string
	for i, w := range list {
		if i == maxWarnings {
			break
		}
		w = printable("pavise: pod " + name + ": " + w)
		if len(w) > maxWarning {
			w = strings.ToValidUTF8(w[:maxWarning-len("…")], "") + "…"
		}
		out = append(out, w)
	}
	return out
}

// printable has nothing that a terminal or a header would take for more than text: nobody has
// validated the pod yet, so its names may be anything.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// podName is NAMESPACE/NAME; pods of a controller have no name yet, but its beginning.
func podName(r *admissionv1.AdmissionRequest, pod *corev1.Pod) string {
	name := r.Name
	if name == "" && pod != nil {
		if name = pod.Name; name == "" {
			name = pod.GenerateName + "*"
		}
	}
	return fmt.Sprintf("%.63s/%.253s", r.Namespace, name)
}
