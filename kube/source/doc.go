// Package source is the inventory of a cluster: it watches pods, namespaces, Services and
// policies, and says what that means to a fleet of sidecars.
//
// Policies select pods, and there are many more pods than kinds of them. So pods are put in
// classes: those of one namespace, owner and service account, whose labels are the same as far
// as any selector looks at them, and who all have a sidecar of this revision or all have none.
// A class is one [api.Workload], which bears the name of the owner and, where the owner has
// several, a hash behind it. A pod with a sidecar is a node, NAMESPACE/POD.
//
// [State] is the pure part. It takes objects one by one, and [State.Update] costs what changed:
// a pod costs its class. Objects that did not change keep their pointers, which is what
// policy.Compiler goes by. Only where a policy looks at another label than any did before are
// all pods classified again; that is counted. [Source] feeds a State from informers.
//
// # What is no address of a pod
//
// A pod on the host's network has the address of its node, and so have all the others there:
// the address says nothing about who calls, so no class has it. A pod that ended has no address
// any more. Where two pods claim an address, the one that started later has it: the other is
// one whose end was not seen yet. Its class would otherwise lend its rights to a stranger.
//
// # Services
//
// The cluster IPs of a Service belong to each class that has a pod among its endpoints, ready or
// not. Endpoints count that name a pod of the namespace of the Service; others, and headless
// Services, have nothing that could be named. Whoever may write EndpointSlices in a namespace
// may have its Services lead elsewhere, here as in the cluster.
//
// # What is trusted
//
// Names of owners, labels and annotations are the users'. A pod that claims a sidecar and has
// none is a node that nobody can connect as: that takes a token of the pod. A name of an owner
// that could not be that of an object is replaced by that of the pod. Labels of named ports
// (netpol.PortLabelDomain) are taken from the ports, and from nowhere else.
//
// # What it needs to read
//
//	"":                          pods, namespaces, services          list, watch
//	discovery.k8s.io:            endpointslices                      list, watch
//	pavise.dev:                  accesspolicies, networksets,
//	                             clusteraccesspolicies, threatfeeds  list, watch
//	networking.k8s.io:           networkpolicies                     list, watch, if they are on
//	policy.networking.k8s.io:    clusternetworkpolicies              list, watch, if they are on
//
// It writes nothing.
package source
