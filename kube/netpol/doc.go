// Package netpol turns Kubernetes' own policies into those of Pavise: NetworkPolicy
// (networking.k8s.io/v1) and ClusterNetworkPolicy (policy.networking.k8s.io, v1alpha2 and
// v1beta1).
//
// The conversion is pure: the same objects and the same ports give the same policies, and
// the cost is linear in the size of a policy. What cannot be converted never widens
// anything, and is a problem with a code: of an Allow, nothing is allowed; of a Deny or a
// Pass in a ClusterNetworkPolicy, everything is denied, as its documentation asks for. A
// policy of which not even the subject can be read is left out and is an error; whoever
// calls keeps what that policy came to before.
//
// Envoy carries TCP only: of UDP and SCTP nothing is enforced here, and a rule for nothing
// else is left out with a warning. NetworkPolicy exempts the node of a pod; Pavise does not:
// the kubelet's probes are answered by the agent.
//
// Names of ports belong to pods, and two pods may have different numbers for one. So the
// workloads that are made of pods have labels for them, [PortLabels], and a rule for a named
// port becomes one policy for each number, which selects by that label. Labels under
// [PortLabelDomain] that users put on pods have to be taken off: they would claim a port.
package netpol
