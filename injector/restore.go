package injector

import (
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"pavise.dev/pavise/proxy/probe"
)

// existing is what was found of ours in a pod.
type existing struct {
	containers map[string]corev1.Container
	pullAlways bool
}

// restore takes out what the injector put in, so that the rest of the pod is as its author and
// other webhooks have it. Without our annotation nothing is ours, and guard refuses the names.
func (j *job) restore() existing {
	p := j.pod
	was := existing{containers: map[string]corev1.Container{}}
	text, ok := p.Annotations[StatusAnnotation]
	if !ok {
		eachProbe(p, func(c *corev1.Container, key string, pr *corev1.Probe) {
			if toOurs(pr) {
				j.refuse(BadProbe, "container %q: probe %s asks the sidecar; probe the application", c.Name, key)
			}
		})
		return was
	}
	var s Status
	if len(text) > 4<<10 || json.Unmarshal([]byte(text), &s) != nil || s.Mode == "" {
		j.refuse(Tampered, "annotation %s: it is the injector's to write, and it did not write this; leave it out", StatusAnnotation)
		return was
	}
	take := func(c corev1.Container) bool {
		if !slices.Contains(ownContainers, c.Name) {
			return false
		}
		was.containers[c.Name] = c
		was.pullAlways = was.pullAlways || c.ImagePullPolicy == corev1.PullAlways
		return true
	}
	p.Spec.InitContainers = slices.DeleteFunc(p.Spec.InitContainers, take)
	p.Spec.Containers = slices.DeleteFunc(p.Spec.Containers, take)
	p.Spec.Volumes = slices.DeleteFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return slices.Contains(ownVolumes, v.Name) })
	j.restoreProbes(was.containers[SidecarContainer])
	return was
}

// restoreProbes gives the probes back that the agent was told. That the sidecar may be forged
// does no harm: a probe so written is one that the pod's author might have written.
func (j *job) restoreProbes(sidecar corev1.Container) {
	set := probe.Set{}
	for _, e := range sidecar.Env {
		if e.Name != ProbesEnv {
			continue
		}
		var err error
		if set, err = probe.Parse([]byte(e.Value)); err != nil {
			j.refuse(Tampered, "container %q: %s: it is the injector's to write, and it did not write this: %v", SidecarContainer, ProbesEnv, err)
			return
		}
	}
	eachProbe(j.pod, func(c *corev1.Container, key string, pr *corev1.Probe) {
		if !toOurs(pr) {
			return
		}
		was, ok := set[key]
		if !ok || pr.HTTPGet.Path != probe.Prefix+key {
			j.refuse(Tampered, "container %q: probe %s asks the sidecar for what it was not told; write the probe as the application has it", c.Name, key)
			return
		}
		pr.ProbeHandler = handler(was)
	})
}

// toOurs reports whether a probe asks the agent for another.
func toOurs(p *corev1.Probe) bool {
	return p.HTTPGet != nil && p.HTTPGet.Host == "" && p.HTTPGet.Port.IntValue() == metricsPort && strings.HasPrefix(p.HTTPGet.Path, probe.Prefix)
}

// compare warns where what stood under our names was something else than what the injector
// writes and platforms add.
func (e *existing) compare(j *job, now ...corev1.Container) {
	for i := range now {
		was, ok := e.containers[now[i].Name]
		if ok && !equality.Semantic.DeepEqual(core(was), core(now[i])) {
			j.warn("container %q was not as this injector writes it; it is written anew", now[i].Name)
		}
	}
}

// core is what makes a container do what it does, without what is added to every container of a
// namespace: the API server's token, limits, and policies of pulling.
func core(c corev1.Container) corev1.Container {
	mounts := slices.DeleteFunc(slices.Clone(c.VolumeMounts), func(m corev1.VolumeMount) bool {
		return m.MountPath == "/var/run/secrets/kubernetes.io/serviceaccount"
	})
	env := slices.DeleteFunc(slices.Clone(c.Env), func(e corev1.EnvVar) bool { return e.Name == ProbesEnv })
	return corev1.Container{
		Image: c.Image, Command: c.Command, Args: c.Args, Env: env, EnvFrom: c.EnvFrom, VolumeMounts: mounts,
		VolumeDevices: c.VolumeDevices, SecurityContext: c.SecurityContext, RestartPolicy: c.RestartPolicy,
	}
}
