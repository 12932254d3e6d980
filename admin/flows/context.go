package flows

// Context is what is known of a workload, or of a peer, beside its name. It is shared, and
// not to be changed.
type Context struct {
	// Owner is what made it, KIND/NAME such as Deployment/web; and Pod which of several it
	// is, NAMESPACE/NAME. Both are known on Kubernetes.
	Owner string `json:"owner,omitempty"`
	Pod   string `json:"pod,omitempty"`
	// Address of a peer that Peer names.
	Address        string            `json:"address,omitempty"`
	ServiceAccount string            `json:"serviceAccount,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
}

// described is a flow with what is known now of its workload and its peer.
func (s *Store) described(f Flow) Flow {
	if s.c.Describe != nil {
		f.WorkloadContext, f.PeerContext = s.c.Describe(f.Workload), s.c.Describe(f.Peer)
	}
	return f
}
