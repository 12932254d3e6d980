package netpol

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// Names that reasons show. No user may give an AccessPolicy such a name: the two would be
// one object.
const (
	Prefix        = "np."  // np.NAME, of NetworkPolicy NAME
	PortPrefix    = "npp." // npp.PORT-NUMBER.NAME, its rules for a named port
	ClusterPrefix = "cnp." // cnp.NAME, of ClusterNetworkPolicy NAME
)

// maxName is how long the name of an object may be, in octets.
const maxName = 253

// bounded shortens a name that a prefix made too long, and keeps it apart from others.
func bounded(name string) string {
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:maxName-17] + "x" + hex.EncodeToString(sum[:8])
}

// PortLabelDomain is where the labels of named ports are.
const PortLabelDomain = "ports.pavise.dev"

// PortLabel is the label whose value is the number of a pod's named TCP port.
func PortLabel(name string) string { return PortLabelDomain + "/" + name }

// PortLabels are the labels of a pod's named TCP ports; of two of one name the first counts.
// A name that could not be part of a label is none that a policy could ask for.
func PortLabels(pod *corev1.PodSpec) map[string]string {
	out := map[string]string{}
	// Containers that ran before the others do not serve; sidecars among them do.
	containers := slices.Clone(pod.Containers)
	for i := range pod.InitContainers {
		if p := pod.InitContainers[i].RestartPolicy; p != nil && *p == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, pod.InitContainers[i])
		}
	}
	for i := range containers {
		for _, p := range containers[i].Ports {
			if p.Name == "" || !isPortName(p.Name) || p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
				continue
			}
			if _, twice := out[PortLabel(p.Name)]; !twice {
				out[PortLabel(p.Name)] = strconv.Itoa(int(p.ContainerPort))
			}
		}
	}
	return out
}

// isPortName is the form of RFC 6335, section 5.1, as far as a label asks for it.
func isPortName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' && i > 0 && i < len(s)-1) {
			return false
		}
	}
	return s != "" && len(s) <= 15
}
