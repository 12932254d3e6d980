package main

import (
	"fmt"
	"io"
	"time"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/xds"
)

// controlPlaneStatus is what status shows.
type controlPlaneStatus struct {
	folderState
	// Nodes by name.
	Nodes       map[string]xds.Status `json:"nodes"`
	Feeds       []feeds.Status        `json:"feeds,omitempty"`
	FeedTrouble string                `json:"feedTrouble,omitempty"`
}

// clusterState is what status shows of one replica of a control plane on Kubernetes.
type clusterState struct {
	// Cluster is NAMESPACE/REVISION.
	Cluster string `json:"cluster"`
	Replica string `json:"replica"`
	Leading bool   `json:"leading"`
	Digest  string `json:"digest"`
	// Missing is what keeps it from serving.
	Missing string `json:"missing,omitempty"`
	// Pods, Workloads and Sidecars of the inventory.
	Pods      int `json:"pods"`
	Workloads int `json:"workloads"`
	// Sidecars by state.
	Sidecars   map[string]int `json:"sidecars"`
	Problems   []api.Problem  `json:"problems,omitempty"`
	LastGood   []string       `json:"lastGood,omitempty"`
	OutOfForce []string       `json:"outOfForce,omitempty"`
	// Held are workloads that are given nothing new, with the reason.
	Held map[string]string `json:"held,omitempty"`
	// Unshielded are pods of labelled namespaces without a sidecar.
	Unshielded  []string       `json:"unshielded,omitempty"`
	Certificate time.Time      `json:"certificateExpiry,omitzero"`
	Trouble     string         `json:"certificateTrouble,omitempty"`
	Feeds       []feeds.Status `json:"feeds,omitempty"`
	FeedTrouble string         `json:"feedTrouble,omitempty"`
}

// sidecarState is the state of a sidecar in a word.
func sidecarState(s xds.Status) string {
	switch {
	case !s.Connected:
		return "away"
	case s.NACK != nil:
		return "refused"
	case !s.InForce():
		return "pending"
	}
	return "in-force"
}

// sidecarOf is what a control plane knows of a sidecar, but for its feeds.
func sidecarOf(node, workload string, st *xds.NodeStatus) admin.Sidecar {
	s := admin.Sidecar{
		Node: node, Workload: workload, State: sidecarState(st.Status), Wanted: st.Wanted, Acked: st.Acked,
		Pending: st.Pending, NACKs: st.NACKs, Since: st.Since, InForceAt: st.InForceAt,
	}
	if st.NACK != nil {
		s.NACK, s.NACKTime = st.NACK.Message, st.NACK.Time
	}
	return s
}

func (s *clusterState) print(w io.Writer) {
	fmt.Fprintf(w, "control plane\t%s, replica %s\n", s.Cluster, s.Replica)
	if s.Missing != "" {
		fmt.Fprintf(w, "missing\t%s\n", oneLine(s.Missing))
	}
	fmt.Fprintf(w, "policies\t%s\n", short(s.Digest))
	fmt.Fprintf(w, "inventory\t%s, %s\n", plural(s.Pods, "pod"), plural(s.Workloads, "workload"))
	for _, state := range sortedKeys(s.Sidecars) {
		fmt.Fprintf(w, "sidecars\t%d %s\n", s.Sidecars[state], state)
	}
	for _, p := range s.Problems {
		fmt.Fprintf(w, "\t%s\n", p)
	}
	for _, o := range s.LastGood {
		fmt.Fprintf(w, "last good\t%s: an earlier version is in force\n", o)
	}
	for _, o := range s.OutOfForce {
		fmt.Fprintf(w, "out of force\t%s\n", o)
	}
	for _, workload := range sortedKeys(s.Held) {
		fmt.Fprintf(w, "held\t%s: %s\n", workload, oneLine(s.Held[workload]))
	}
	for _, p := range s.Unshielded {
		fmt.Fprintf(w, "unshielded\t%s: restart it\n", p)
	}
	if s.Trouble != "" {
		fmt.Fprintf(w, "certificates\t%s\n", oneLine(s.Trouble))
	}
	printFeedLines(w, s.Feeds, s.FeedTrouble)
}

func (s *clusterState) inOrder() bool {
	return s.Missing == "" && s.Trouble == "" && len(s.LastGood)+len(s.OutOfForce)+len(s.Held)+len(s.Unshielded) == 0 &&
		s.Sidecars["refused"]+s.Sidecars["pending"] == 0 && feedsInOrder(s.Feeds, s.FeedTrouble)
}
