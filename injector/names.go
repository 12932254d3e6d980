package injector

// Labels and annotations that the injector reads and writes.
const (
	// InjectLabel is on namespaces, "enabled" or "disabled", and as label or annotation on
	// pods, where "true" and "false" mean the same.
	InjectLabel = "pavise.dev/inject"
	// RevisionLabel chooses the installation on a namespace, and says on a pod which one did it.
	RevisionLabel = "pavise.dev/revision"
	// OptOutLabel on a namespace, with "allowed", lets its pods opt out.
	OptOutLabel = "pavise.dev/opt-out"
	// PrivilegedLabel on a namespace, with "allowed", admits containers that could undo the
	// redirect.
	PrivilegedLabel = "pavise.dev/privileged"
	// StatusAnnotation is written by the injector: a [Status] as JSON.
	StatusAnnotation = "pavise.dev/status"

	// Annotations of a pod for its sidecar.
	CPURequestAnnotation    = "pavise.dev/cpu-request"
	CPULimitAnnotation      = "pavise.dev/cpu-limit"
	MemoryRequestAnnotation = "pavise.dev/memory-request"
	MemoryLimitAnnotation   = "pavise.dev/memory-limit"
	LogLevelAnnotation      = "pavise.dev/log-level"
	// Those about anomalies begin with api.AnomalyPrefix.

	defaultContainer = "kubectl.kubernetes.io/default-container"
	mirrorAnnotation = "kubernetes.io/config.mirror"
	osLabel          = "kubernetes.io/os"
)

// Names of what is put into pods.
const (
	SidecarContainer  = "pavise-sidecar"
	RedirectContainer = "pavise-redirect"

	runVolume   = "pavise-run"
	stateVolume = "pavise-state"
	tokenVolume = "pavise-token"
	caVolume    = "pavise-ca"
)

// Where things are in the sidecar.
const (
	binary   = "/usr/bin/pavise"
	runDir   = "/run/pavise"
	stateDir = "/var/lib/pavise"
	tokenDir = "/var/run/secrets/pavise" //nolint:gosec // a folder, which is no secret
	caDir    = "/var/run/secrets/pavise-ca"

	// ProbesEnv has the pod's probes for the agent: JSON as proxy/probe reads it.
	ProbesEnv = "PAVISE_PROBES"
	// PodIPEnv has the address that the kubelet would have asked.
	PodIPEnv = "PAVISE_POD_IP"

	podNameEnv      = "PAVISE_POD_NAME"
	podNamespaceEnv = "PAVISE_POD_NAMESPACE"

	// defaultRevision is that of namespaces without the label.
	defaultRevision = "default"
	allowed         = "allowed"
)

// Ports of the sidecar: proxy/redirect and the agent's defaults.
const (
	outboundPort = 15001
	inboundPort  = 15006
	dnsPort      = 15053
	metricsPort  = 15020
	readyPort    = 15021
)

var (
	ownPorts      = []int32{outboundPort, inboundPort, metricsPort, readyPort, dnsPort}
	ownContainers = []string{SidecarContainer, RedirectContainer}
	ownVolumes    = []string{runVolume, stateVolume, tokenVolume, caVolume}
)

// Reason is why a pod was skipped or refused, by name.
type Reason string

// Reasons to skip a pod.
const (
	OwnNamespace        Reason = "own-namespace"         // the control plane's
	SystemNamespace     Reason = "system-namespace"      // kube-system, kube-node-lease
	NamespaceNotEnabled Reason = "namespace-not-enabled" // no label, or "disabled"
	OptedOut            Reason = "opted-out"             // the pod asks, and may
	HostNetwork         Reason = "host-network"          // no network namespace of its own; may be refused too
	Windows             Reason = "windows"
	Mirror              Reason = "mirror"     // a static pod's reflection: the kubelet runs the file
	OtherMesh           Reason = "other-mesh" // Istio or Linkerd; refused where pods may not opt out
)

// Reasons to refuse a pod.
const (
	OptOutNotAllowed  Reason = "opt-out-not-allowed"
	BadLabel          Reason = "bad-label"          // a value that means nothing
	OtherRevision     Reason = "other-revision"     // another installation is asked for
	NeedsNative       Reason = "needs-native"       // the pod is to end, a classic sidecar would not
	Tampered          Reason = "tampered"           // it looks like ours and is not
	NameTaken         Reason = "name-taken"         // a container or volume with a name of ours
	PortTaken         Reason = "port-taken"         // a port of the sidecar
	SidecarUser       Reason = "sidecar-user"       // a container runs as the user that is exempt
	Privileged        Reason = "privileged"         // a container could undo the redirect
	SharedProcesses   Reason = "shared-processes"   // a container could end or trace the agent
	MayBecomeUser     Reason = "may-become-user"    // root that may become the sidecar's user
	BadProbe          Reason = "bad-probe"          // it cannot be done for the kubelet
	BadAnnotation     Reason = "bad-annotation"     // a resource or level out of bounds
	TooMuch           Reason = "too-much"           // more containers or volumes than are looked at
	SidecarImage      Reason = "sidecar-image"      // an update that changes what the sidecar is
	ShieldTakenOff    Reason = "shield-taken-off"   // an update that hides the sidecar from the control plane
	EphemeralInShield Reason = "ephemeral-in-agent" // an ephemeral container in the sidecar's processes
)

// Refusal is one thing that speaks against a pod.
type Refusal struct {
	Reason Reason
	// Message says where, what, and what would be right.
	Message string
}

func (r Refusal) String() string { return r.Message + " (" + string(r.Reason) + ")" }
