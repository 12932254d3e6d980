// Package fleet gives many Envoys their resources, and after a change gives them to those that
// the change concerns and to no others.
//
// A [Fleet] takes one [Update] after the other: the whole set of objects, and which node stands
// beside which workload. It compiles what changed, translates the workloads whose digest
// changed, once each however many nodes they have, and hands the result to the [Server].
//
// What is wrong stops nobody but itself. For an object with errors its last good version stays
// in force, and for a workload that cannot be translated what its nodes have. Which that is:
//
//   - An object that has errors and was good before: the good version.
//   - A NetworkSet that is deleted while policies name it: its last members, until none does. A
//     Deny rule without its addresses would let through what it was written against.
//   - An object that came with errors while the Fleet watched: nothing, which is what was in
//     force before it came. It neither loosens nor tightens anything.
//   - A policy that had errors at the first update: nobody here knows what stood in its place
//     before, and to leave it out might allow what was denied. The workloads that it selects
//     are held: they are given nothing new until the policy is mended or deleted. Sidecars that
//     run keep what they have, those that start wait.
//   - Rules that Envoy cannot be given: the policy among them that changed last is put back to
//     its last good version, one of a namespace before one of the cluster, so that who may write
//     in one namespace cannot keep the cluster's rules away. Where none changed, the workload is
//     held.
//
// The last good versions are in memory only. Everything is reported, see [Report].
package fleet
