package injector

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	// holdSeconds is how long a pod waits for its shield before the sidecar is started anew.
	holdSeconds = 600
	// tokenSeconds is how long a token is valid; the kubelet renews it at 80 %.
	tokenSeconds = 3600
	// readable lets the sidecar's user read what the kubelet writes as root.
	readable = 0o444
)

func to[T any](v T) *T { return &v }

func (j *job) sidecar(o options, probes string, pull corev1.PullPolicy) corev1.Container {
	args := []string{
		"agent",
		"--node=$(" + podNamespaceEnv + ")/$(" + podNameEnv + ")",
		"--control-plane=" + j.ControlPlane,
		"--feeds-url=" + j.FeedsURL,
		"--ca=" + caDir + "/ca.pem",
		"--token-file=" + tokenDir + "/token",
		// A folder in the volume, which is the agent's own; the volume is everybody's.
		"--run-dir=" + runDir + "/agent",
		"--state=" + stateDir + "/agent",
		"--concurrency=" + strconv.Itoa(j.Concurrency),
		"--log-level=" + o.logLevel,
	}
	if j.ClusterDomain != "cluster.local" { // which the agent knows
		args = append(args, "--dns-private-zone="+j.ClusterDomain)
	}
	args = append(args, o.anomalies...)
	c := corev1.Container{
		Name: SidecarContainer, Image: j.Image, ImagePullPolicy: pull,
		Command: []string{binary}, Args: args,
		Env: []corev1.EnvVar{
			fieldEnv(podNamespaceEnv, "metadata.namespace"),
			fieldEnv(podNameEnv, "metadata.name"),
			fieldEnv(PodIPEnv, "status.podIP"),
		},
		Ports: []corev1.ContainerPort{
			{Name: "pavise-metrics", ContainerPort: metricsPort, Protocol: corev1.ProtocolTCP},
			{Name: "pavise-ready", ContainerPort: readyPort, Protocol: corev1.ProtocolTCP},
		},
		Resources:      corev1.ResourceRequirements{Requests: o.requests, Limits: o.limits},
		ReadinessProbe: ready(2, 15),
		VolumeMounts: []corev1.VolumeMount{
			{Name: runVolume, MountPath: runDir},
			{Name: stateVolume, MountPath: stateDir},
			{Name: tokenVolume, MountPath: tokenDir, ReadOnly: true},
			{Name: caVolume, MountPath: caDir, ReadOnly: true},
		},
		TerminationMessagePath:   corev1.TerminationMessagePathDefault,
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		SecurityContext: &corev1.SecurityContext{
			Privileged:               to(false),
			AllowPrivilegeEscalation: to(false),
			ReadOnlyRootFilesystem:   to(true),
			RunAsNonRoot:             to(true),
			RunAsUser:                to(j.UID),
			RunAsGroup:               to(j.GID),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	if probes != "" {
		c.Env = append(c.Env, corev1.EnvVar{Name: ProbesEnv, Value: probes})
	}
	switch {
	case j.native:
		c.RestartPolicy = to(corev1.ContainerRestartPolicyAlways)
		if j.HoldApplication {
			c.StartupProbe = ready(1, holdSeconds)
		}
	default:
		c.Lifecycle = j.hooks()
	}
	return c
}

// hooks of a classic sidecar: the kubelet starts the next container after postStart, and ends
// all at the same time.
func (j *job) hooks() *corev1.Lifecycle {
	var l corev1.Lifecycle
	if j.HoldApplication {
		l.PostStart = run("wait", fmt.Sprintf("--url=http://127.0.0.1:%d/healthz/ready", readyPort), "--timeout="+(holdSeconds*time.Second).String())
	}
	if j.DrainSeconds > 0 {
		l.PreStop = run("wait", fmt.Sprintf("--for=%ds", j.DrainSeconds))
	}
	if l.PostStart == nil && l.PreStop == nil {
		return nil
	}
	return &l
}

func run(args ...string) *corev1.LifecycleHandler {
	return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: append([]string{binary}, args...)}}
}

func ready(period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: "/healthz/ready", Port: intstr.FromInt32(readyPort), Scheme: corev1.URISchemeHTTP,
		}},
		TimeoutSeconds: 2, PeriodSeconds: period, SuccessThreshold: 1, FailureThreshold: failures,
	}
}

func fieldEnv(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
}

// redirect sets the rules. NET_ADMIN takes user 0: another has it in no effective set.
func (j *job) redirect(pull corev1.PullPolicy) corev1.Container {
	args := []string{"redirect", "set", fmt.Sprintf("--uid=%d", j.UID), fmt.Sprintf("--gid=%d", j.GID), "--udp=" + j.UDP}
	for _, f := range [][2]string{
		{"--exclude-inbound-ports=", j.ExcludeInboundPorts},
		{"--exclude-outbound-ports=", j.ExcludeOutboundPorts},
		{"--exclude-outbound-cidrs=", j.ExcludeOutboundCIDRs},
		{"--exclude-udp-ports=", j.ExcludeUDPPorts},
	} {
		if f[1] != "" {
			args = append(args, f[0]+f[1])
		}
	}
	small := list("10m", "32Mi")
	return corev1.Container{
		Name: RedirectContainer, Image: j.Image, ImagePullPolicy: pull,
		Command: []string{binary}, Args: args,
		Resources:                corev1.ResourceRequirements{Requests: small, Limits: list("1", "128Mi")},
		TerminationMessagePath:   corev1.TerminationMessagePathDefault,
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext: &corev1.SecurityContext{
			Privileged:               to(false),
			AllowPrivilegeEscalation: to(false),
			ReadOnlyRootFilesystem:   to(true),
			RunAsNonRoot:             to(false),
			RunAsUser:                to(int64(0)),
			RunAsGroup:               to(int64(0)),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN"}},
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
}

func (j *job) volumes() []corev1.Volume {
	return []corev1.Volume{
		{Name: runVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory, SizeLimit: to(resource.MustParse("64Mi")),
		}}},
		{Name: stateVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: to(j.StateSize.DeepCopy())}}},
		{Name: tokenVolume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			DefaultMode: to(int32(readable)),
			Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
				Audience: "pavise", ExpirationSeconds: to(int64(tokenSeconds)), Path: "token",
			}}},
		}}},
		{Name: caVolume, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "pavise-ca" + revisionSuffix(j.Revision)},
			Items:                []corev1.KeyToPath{{Key: "ca.pem", Path: "ca.pem"}},
			DefaultMode:          to(int32(readable)),
		}}},
	}
}
