package injector

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Config says what pods get. Start with [Default] or [Read]. It must not be changed while it
// is used.
type Config struct {
	// Namespace and Revision are those of the control plane; they are not in files.
	Namespace string `json:"-"`
	Revision  string `json:"-"`

	// Image of the sidecar, which is that of the redirect too. Required.
	Image string `json:"image"`
	// ImagePullPolicy is Always, IfNotPresent or Never. Default IfNotPresent.
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// ControlPlane is HOST:PORT for xDS. Default the Service of the chart in Namespace, port 15012.
	ControlPlane string `json:"controlPlane,omitempty"`
	// FeedsURL is where feeds are. Default https:// on the same host, port 15013.
	FeedsURL string `json:"feedsURL,omitempty"`
	// ClusterDomain is that of Services, whose names may have private addresses. Default
	// cluster.local.
	ClusterDomain string `json:"clusterDomain,omitempty"`

	// UID and GID are whom the sidecar runs as and the redirect exempts. Default 1337 for both,
	// as for Istio: nothing else uses them, and it is the image's. Not 0.
	UID int64 `json:"uid,omitempty"`
	GID int64 `json:"gid,omitempty"`
	// Resources of the sidecar, cpu and memory, unless the pod's annotations say otherwise.
	// Default requests 50m and 96Mi, limits 2 and 512Mi.
	Resources Resources `json:"resources,omitempty"`
	// MaxResources bound what annotations may ask for. Default 4 and 4Gi.
	MaxResources corev1.ResourceList `json:"maxResources,omitempty"`
	// StateSize bounds feeds and snapshots on the node's disk. Default 1Gi.
	StateSize resource.Quantity `json:"stateSize,omitempty"`
	// LogLevel is debug, info, warn or error. Default info.
	LogLevel string `json:"logLevel,omitempty"`
	// Concurrency is Envoy's worker threads, 1 to 128. Default 2.
	Concurrency int `json:"concurrency,omitempty"`

	// OptOut says who may opt out. Default [NamespaceMayOptOut].
	OptOut OptOut `json:"optOut,omitempty"`
	// HostNetwork says what becomes of pods in the host's network. Default [Skip].
	HostNetwork Conduct `json:"hostNetwork,omitempty"`
	// RootContainers says what becomes of containers that could become UID: those that may be
	// root with the capabilities that runtimes give by default. Default [Warn], since many
	// images are such.
	RootContainers Conduct `json:"rootContainers,omitempty"`
	// NativeSidecars says which kind is made. Default [Auto].
	NativeSidecars Native `json:"nativeSidecars,omitempty"`
	// HoldApplication keeps the application from starting before the shield is up. Default
	// true. Without, it starts at once, and is cut off until then.
	HoldApplication bool `json:"holdApplication"`
	// DrainSeconds is how long a classic sidecar stays after the pod is told to end, 0 to 3600.
	// Default 5. A native one ends after the others by itself.
	DrainSeconds int `json:"drainSeconds"`

	// What passes by Envoy, in every pod, as `pavise redirect set` reads it. Pods have no
	// annotation for it: it would take off the shield.
	ExcludeInboundPorts  string `json:"excludeInboundPorts,omitempty"`
	ExcludeOutboundPorts string `json:"excludeOutboundPorts,omitempty"`
	ExcludeOutboundCIDRs string `json:"excludeOutboundCIDRs,omitempty"`
	ExcludeUDPPorts      string `json:"excludeUDPPorts,omitempty"`
	// UDP that is not DNS: Drop or Allow. Default Drop.
	UDP string `json:"udp,omitempty"`
}

// Resources of a container.
type Resources struct {
	Requests corev1.ResourceList `json:"requests,omitempty"`
	Limits   corev1.ResourceList `json:"limits,omitempty"`
}

// OptOut is who may opt out.
type OptOut string

const (
	// NamespaceMayOptOut lets pods opt out where their namespace has the label [OptOutLabel].
	NamespaceMayOptOut OptOut = "Namespace"
	// NeverOptOut lets nobody.
	NeverOptOut OptOut = "Never"
	// AnyoneMayOptOut lets whoever may make pods.
	AnyoneMayOptOut OptOut = "Anyone"
)

// Conduct is what becomes of something that is not as it should be.
type Conduct string

const (
	Skip   Conduct = "Skip"   // leave the pod without a shield, by name
	Refuse Conduct = "Refuse" // refuse the pod
	Warn   Conduct = "Warn"   // go on, and warn
	Ignore Conduct = "Ignore" // go on
)

// Native is which kind of sidecar is made.
type Native string

const (
	// Auto makes native ones where all nodes are known to have them, see [HasNative].
	Auto   Native = "Auto"
	Always Native = "Always"
	Never  Native = "Never"
)

// Default returns the configuration of a control plane but for its image.
func Default(namespace, revision string) Config {
	host := "pavise-control-plane" + revisionSuffix(revision) + "." + namespace + ".svc"
	return Config{
		Namespace: namespace, Revision: revision,
		ImagePullPolicy: corev1.PullIfNotPresent,
		ControlPlane:    host + ":15012",
		FeedsURL:        "https://" + host + ":15013",
		ClusterDomain:   "cluster.local",
		UID:             1337, GID: 1337,
		Resources: Resources{
			Requests: list("50m", "96Mi"),
			Limits:   list("2", "512Mi"),
		},
		MaxResources: list("4", "4Gi"),
		StateSize:    resource.MustParse("1Gi"),
		LogLevel:     "info", Concurrency: 2,
		OptOut: NamespaceMayOptOut, HostNetwork: Skip, RootContainers: Warn, NativeSidecars: Auto,
		HoldApplication: true, DrainSeconds: 5,
		UDP: "Drop",
	}
}

// revisionSuffix is behind the names of what belongs to a revision, as the chart has it.
func revisionSuffix(revision string) string {
	if revision == defaultRevision {
		return ""
	}
	return "-" + revision
}

func list(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}
