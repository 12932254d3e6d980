// Package status writes into the objects what became of them: whether they were accepted, on
// how many sidecars a policy is programmed and who refused it, and what is in force of a feed.
//
// A sidecar is connected to one replica of the control plane, so no replica can count alone.
// Each publishes what it counts, by policy, in one ConfigMap of its own, [Name]; one replica,
// the one that leads, adds them up and writes. A ConfigMap that did not change for three
// heartbeats is a replica's that is gone, and is not counted. Which sidecar is in what state is
// not published there, 10,000 of them would not fit: [SidecarsHandler] shows it, page by page,
// and [Collect] reads it.
//
// Statuses are written by server-side apply with the field manager pavise, when they changed,
// and no faster than Config.Rate: the API server is no place for what changes with each pod.
// Of many changes those of conditions go first. A condition's lastTransitionTime moves with its
// status alone.
//
// What comes from a sidecar or from another replica is bounded and escaped before it is shown.
//
// NetworkPolicies and ClusterNetworkPolicies have no status for this: their problems are Events.
package status
