package injector

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Update judges a change of a pod that is there: its ephemeral containers, and what may be
// changed of the sidecar. A pod without a shield is not judged. It returns what speaks against
// the change, and warnings.
func Update(c Config, namespace *corev1.Namespace, before, after *corev1.Pod) (refused []Refusal, warnings []string) {
	if before == nil || after == nil || namespace == nil || !shielded(before) {
		return nil, nil
	}
	j := job{Config: c, namespace: namespace, pod: after}
	j.keepsShield(before)
	free := namespace.Labels[PrivilegedLabel] == allowed
	var root []string
	if len(after.Spec.EphemeralContainers) > maxContainers {
		j.refuse(TooMuch, "there are more than %d ephemeral containers; make the pod anew", maxContainers)
		return j.refused, nil
	}
	for i := range after.Spec.EphemeralContainers {
		e := &after.Spec.EphemeralContainers[i]
		if slices.ContainsFunc(before.Spec.EphemeralContainers, func(x corev1.EphemeralContainer) bool { return x.Name == e.Name }) {
			continue // it can't be changed any more
		}
		if slices.Contains(ownContainers, e.Name) {
			j.refuse(NameTaken, "container %q: the name is the sidecar's; take another", e.Name)
		}
		if slices.Contains(ownContainers, e.TargetContainerName) && !free {
			j.refuse(EphemeralInShield, "container %q: target %q: it could trace or end the agent; target another, or label namespace %s %s=%s",
				e.Name, e.TargetContainerName, namespace.Name, PrivilegedLabel, allowed)
		}
		j.guardMounts(e.Name, e.VolumeMounts)
		j.guardSecurity(e.Name, e.SecurityContext, free)
		if e.SecurityContext == nil || e.SecurityContext.RunAsUser == nil {
			if sc := after.Spec.SecurityContext; sc != nil && sc.RunAsUser != nil && *sc.RunAsUser == c.UID {
				j.refuse(SidecarUser, "container %q: it would run as the pod's user %d, the sidecar's; set runAsUser", e.Name, c.UID)
			}
		}
		if !free && j.mayBecomeUser(e.SecurityContext) {
			root = append(root, e.Name)
		}
	}
	j.guardRoot(root)
	return j.refused, j.warnings
}

// keepsShield refuses what a running pod may have changed of the sidecar: images can be, and an
// image of somebody else would run as the user that is exempt.
func (j *job) keepsShield(before *corev1.Pod) {
	images := map[string]string{}
	each(before, func(_ string, c *corev1.Container) { images[c.Name] = c.Image })
	each(j.pod, func(_ string, c *corev1.Container) {
		if slices.Contains(ownContainers, c.Name) && c.Image != images[c.Name] {
			j.refuse(SidecarImage, "container %q: image: the sidecar of a running pod cannot be changed; make the pod anew", c.Name)
		}
	})
	if j.pod.Labels[RevisionLabel] != before.Labels[RevisionLabel] || j.pod.Annotations[StatusAnnotation] != before.Annotations[StatusAnnotation] {
		j.refuse(ShieldTakenOff, "label %s and annotation %s: they say which shield the pod has, and stay as they are; make the pod anew", RevisionLabel, StatusAnnotation)
	}
}

func shielded(p *corev1.Pod) bool {
	found := false
	each(p, func(_ string, c *corev1.Container) { found = found || c.Name == SidecarContainer })
	return found && p.Annotations[StatusAnnotation] != ""
}
