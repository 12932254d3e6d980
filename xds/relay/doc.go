// Package relay stands between one Envoy and its control plane: Envoy asks it over a unix
// socket as it would ask the control plane (incremental ADS), and it asks the control
// plane over TLS. It is for an Envoy that has to start, and to go on, while the control
// plane is away; where both run in one process, package xds serves Envoy directly.
//
// # What it carries
//
// One stream of Envoy becomes one stream to the control plane. What the control plane
// sends, Envoy is asked about, and what Envoy answers, ACK or NACK in its own words, goes
// back: the control plane sees Envoy, and not a relay that says yes in its place. When
// the connection breaks, the next one begins with what Envoy has acknowledged
// (initial_resource_versions), so that nothing is sent twice. Access logs end here, in
// [Config.AccessLog].
//
// # What it keeps
//
// When Envoy has acknowledged all that it asked for, and nothing of that was refused, the
// set is written to [Config.Dir]: it is pinned. The pinned set is served where an Envoy
// starts and the control plane does not answer in time, and also where the control plane
// does answer and Envoy refuses it: without that, an Envoy that kept its last good
// resources through a refusal would lose them by a restart, and be live without listeners.
// Once Envoy has the pinned set, the control plane is asked again, from there on.
//
// Without a control plane and without a pinned set Envoy waits, closed; [Status] says why.
//
// # What it costs
//
// The resources of one Envoy in memory, shared between what is in force and what is
// pinned, and their size on disk. Messages are passed on as they are, without being
// translated; a stuck Envoy is not buffered for.
//
// # What it refuses
//
// A message of the control plane may have 64 MiB, all resources together 256 MiB, a type
// 100,000 of them, a name 1,024 octets. A response that is beyond that, or has a resource
// without name, version or body, is refused as a whole and in the relay's own words, and
// Envoy does not see it. Clusters, listeners and extension configs pass; other types are
// counted and ignored, secrets among them, since what passes is written to disk.
//
// # What one must not do
//
// Two relays must not have the same folder. The socket and the folder are the trust
// boundary: who can open the socket is Envoy, and who can write the folder chooses what an
// Envoy without control plane enforces.
package relay
