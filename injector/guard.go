package injector

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// powers are capabilities with which a container could flush the rules, send past them, or take
// over the agent.
var powers = []string{"ALL", "NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO", "BPF"}

// guard refuses what would make the shield worthless, and names of ours that are taken. The pod
// has nothing of ours in it.
func (j *job) guard() {
	p := j.pod
	free := j.namespace.Labels[PrivilegedLabel] == allowed
	if !j.native && p.Spec.RestartPolicy != corev1.RestartPolicyAlways && p.Spec.RestartPolicy != "" {
		j.refuse(NeedsNative, "spec.restartPolicy: %s: the pod is to end, and a sidecar of this cluster would not; "+
			"native sidecars take Kubernetes 1.29 (nativeSidecars: Always, where all nodes have it)", p.Spec.RestartPolicy)
	}
	if !free && (p.Spec.HostPID || on(p.Spec.ShareProcessNamespace)) {
		j.refuse(SharedProcesses, "spec.hostPID, spec.shareProcessNamespace: containers could trace or end the agent; "+
			"leave them out, or label namespace %s %s=%s", j.namespace.Name, PrivilegedLabel, allowed)
	}
	if sc := p.Spec.SecurityContext; sc != nil && sc.RunAsUser != nil && *sc.RunAsUser == j.UID {
		j.refuse(SidecarUser, "spec.securityContext.runAsUser: %d is the sidecar's, whose traffic no rule sees; take another", j.UID)
	}
	for i := range p.Spec.Volumes {
		if n := p.Spec.Volumes[i].Name; slices.Contains(ownVolumes, n) {
			j.refuse(NameTaken, "volume %q: the name is the sidecar's; take another", n)
		}
	}
	var root []string
	each(p, func(_ string, c *corev1.Container) {
		if slices.Contains(ownContainers, c.Name) {
			j.refuse(NameTaken, "container %q: the name is the sidecar's; take another", c.Name)
		}
		for _, port := range c.Ports {
			if slices.Contains(ownPorts, port.ContainerPort) {
				j.refuse(PortTaken, "container %q: port %d is the sidecar's; take another", c.Name, port.ContainerPort)
			}
		}
		j.guardMounts(c.Name, c.VolumeMounts)
		j.guardSecurity(c.Name, c.SecurityContext, free)
		if !free && j.mayBecomeUser(c.SecurityContext) {
			root = append(root, c.Name)
		}
	})
	j.guardRoot(root)
}

// each visits all containers but ephemeral ones.
func each(p *corev1.Pod, visit func(path string, c *corev1.Container)) {
	for i := range p.Spec.InitContainers {
		visit("initContainers", &p.Spec.InitContainers[i])
	}
	for i := range p.Spec.Containers {
		visit("containers", &p.Spec.Containers[i])
	}
}

func (j *job) guardMounts(container string, mounts []corev1.VolumeMount) {
	for _, m := range mounts {
		if slices.Contains(ownVolumes, m.Name) {
			j.refuse(NameTaken, "container %q: it mounts %q, which is the sidecar's; leave it out", container, m.Name)
		}
	}
}

func (j *job) guardSecurity(container string, sc *corev1.SecurityContext, free bool) {
	if sc == nil {
		return
	}
	if sc.RunAsUser != nil && *sc.RunAsUser == j.UID {
		// Whatever the namespace allows: such a container has no shield at all.
		j.refuse(SidecarUser, "container %q: runAsUser: %d is the sidecar's, whose traffic no rule sees; take another", container, j.UID)
	}
	if free {
		return
	}
	if on(sc.Privileged) {
		j.refuse(Privileged, "container %q: privileged: it could undo the redirect; leave it out, or label namespace %s %s=%s",
			container, j.namespace.Name, PrivilegedLabel, allowed)
	}
	if sc.Capabilities == nil {
		return
	}
	for _, c := range sc.Capabilities.Add {
		if slices.Contains(powers, capability(c)) {
			j.refuse(Privileged, "container %q: capability %.40q: it could undo the redirect; leave it out, or label namespace %s %s=%s",
				container, c, j.namespace.Name, PrivilegedLabel, allowed)
		}
	}
}

// capability as runtimes read it: in any case, and some with a prefix.
func capability(c corev1.Capability) string {
	return strings.TrimPrefix(strings.ToUpper(string(c)), "CAP_")
}

// mayBecomeUser reports whether a container may be root with CAP_SETUID, or packet sockets,
// which runtimes give by default: then it may become the sidecar's user, or send past the rules.
func (j *job) mayBecomeUser(sc *corev1.SecurityContext) bool {
	var user *int64
	nonRoot, escalates := false, true
	if of := j.pod.Spec.SecurityContext; of != nil {
		user, nonRoot = of.RunAsUser, on(of.RunAsNonRoot)
	}
	if sc != nil {
		if sc.RunAsUser != nil {
			user = sc.RunAsUser
		}
		if sc.RunAsNonRoot != nil {
			nonRoot = *sc.RunAsNonRoot
		}
		escalates = sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation
	}
	// A program with the setuid bit makes root of another user.
	if (nonRoot || user != nil && *user != 0) && !escalates {
		return false
	}
	has := map[string]bool{"SETUID": true, "NET_RAW": true}
	if sc != nil && sc.Capabilities != nil {
		for _, c := range sc.Capabilities.Drop {
			if capability(c) == "ALL" {
				clear(has)
			}
			delete(has, capability(c))
		}
		for _, c := range sc.Capabilities.Add {
			has[capability(c)] = true
		}
	}
	return has["SETUID"] || has["NET_RAW"]
}

func (j *job) guardRoot(containers []string) {
	if len(containers) == 0 || j.RootContainers == Ignore {
		return
	}
	const right = "set runAsNonRoot and allowPrivilegeEscalation: false, or drop the capabilities SETUID and NET_RAW"
	names := strings.Join(containers[:min(len(containers), 10)], ", ")
	if j.RootContainers == Refuse {
		j.refuse(MayBecomeUser, "containers %s: root could become user %d and pass by the shield: %s", names, j.UID, right)
		return
	}
	j.warn("containers %s: root could become user %d and pass by the shield: %s", names, j.UID, right)
}

func on(b *bool) bool { return b != nil && *b }
