package injector

import (
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// What is looked at in a pod.
const (
	maxContainers = 500
	maxVolumes    = 2000
)

// Input is one pod.
type Input struct {
	// Pod as it came. It is not changed.
	Pod *corev1.Pod
	// Namespace with its labels.
	Namespace *corev1.Namespace
	// Native says that all nodes have native sidecars, see [HasNative].
	Native bool
}

// Result is what becomes of a pod: exactly one of Pod, Skipped and Refused is set.
type Result struct {
	// Pod with its shield.
	Pod *corev1.Pod
	// Skipped says why the pod is left as it is.
	Skipped Reason
	// Refused says what speaks against the pod, all at once.
	Refused []Refusal
	// Warnings are for whoever made it.
	Warnings []string
}

// Status is what [StatusAnnotation] says.
type Status struct {
	Revision string `json:"revision"`
	Image    string `json:"image"`
	// Mode is native or classic.
	Mode string `json:"mode"`
}

// Inject says what becomes of a pod. It is pure: the same input gives the same result. An error
// is a mistake of the caller, or of this package.
func Inject(c Config, in Input) (Result, error) {
	if in.Pod == nil || in.Namespace == nil {
		return Result{}, errors.New("injector: Input.Pod and Input.Namespace are required")
	}
	j := job{Config: c, namespace: in.Namespace, native: c.NativeSidecars == Always || c.NativeSidecars == Auto && in.Native}
	if len(in.Pod.Spec.Containers)+len(in.Pod.Spec.InitContainers) > maxContainers || len(in.Pod.Spec.Volumes) > maxVolumes {
		j.refuse(TooMuch, "there are more than %d containers or %d volumes; have fewer", maxContainers, maxVolumes)
		return Result{Refused: j.refused}, nil
	}
	if skip := j.skip(in.Pod); skip != "" && len(j.refused) == 0 {
		return Result{Skipped: skip, Warnings: j.warnings}, nil
	}
	j.pod = in.Pod.DeepCopy() // what else speaks against it is said at once
	was := j.restore()
	j.guard()
	set := j.rewriteProbes()
	opts := j.options()
	if len(j.refused) > 0 {
		return Result{Refused: j.refused, Warnings: j.warnings}, nil
	}
	probes, err := encodeProbes(set)
	if err != nil {
		j.refuse(BadProbe, "%v", err)
		return Result{Refused: j.refused, Warnings: j.warnings}, nil
	}
	if err := j.build(opts, probes, was); err != nil {
		return Result{}, err
	}
	return Result{Pod: j.pod, Warnings: j.warnings}, nil
}

// job is one run of Inject.
type job struct {
	Config
	namespace *corev1.Namespace
	native    bool
	pod       *corev1.Pod

	refused  []Refusal
	warnings []string
}

func (j *job) refuse(r Reason, format string, args ...any) {
	j.refused = append(j.refused, Refusal{r, fmt.Sprintf(format, args...)})
}

func (j *job) warn(format string, args ...any) {
	j.warnings = append(j.warnings, fmt.Sprintf(format, args...))
}

// build puts everything in. Fields are given in full, so that the API server's defaults change
// nothing and a second run gives the same.
func (j *job) build(o options, probes string, was existing) error {
	mode := "classic"
	if j.native {
		mode = "native"
	}
	status, err := json.Marshal(Status{Revision: j.Revision, Image: j.Image, Mode: mode})
	if err != nil {
		return fmt.Errorf("injector: status: %w", err)
	}
	p := j.pod
	first := ""
	if len(p.Spec.Containers) > 0 {
		first = p.Spec.Containers[0].Name
	}
	setIn(&p.Labels, RevisionLabel, j.Revision)
	setIn(&p.Annotations, StatusAnnotation, string(status))
	if !j.native && p.Annotations[defaultContainer] == "" && first != "" {
		// kubectl logs would show the sidecar, which is the first.
		setIn(&p.Annotations, defaultContainer, first)
	}
	pull := j.ImagePullPolicy
	if was.pullAlways {
		// The platform's admission plugin AlwaysPullImages insists.
		pull = corev1.PullAlways
	}
	sidecar, redirect := j.sidecar(o, probes, pull), j.redirect(pull)
	front := []corev1.Container{redirect}
	if j.native {
		front = append(front, sidecar)
	} else {
		p.Spec.Containers = append([]corev1.Container{sidecar}, p.Spec.Containers...)
	}
	if len(p.Spec.InitContainers) > 0 && !j.native {
		j.warn("init containers run before the sidecar, and what they connect to is refused; this cluster has no native sidecars")
	}
	p.Spec.InitContainers = append(front, p.Spec.InitContainers...)
	p.Spec.Volumes = append(p.Spec.Volumes, j.volumes()...)
	was.compare(j, sidecar, redirect)
	return nil
}

func setIn(m *map[string]string, key, value string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[key] = value
}
