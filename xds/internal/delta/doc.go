// Package delta serves resources over incremental ADS to many clients.
//
// A [Content] is what one kind of client is given, sealed: each resource is marshalled
// once, and who has the same resource, set of resources or step from one set to another
// shares its bytes. A [Stream] is the protocol for one client, without goroutine or socket
// of its own; a [Hub] keeps the clients, their streams and what they have acknowledged.
//
// What it costs: a client that has acknowledged all it was given keeps three pointers to
// shared sets. Only one that has something else, because it refused a part or has yet to
// ask for it, keeps names and versions. A push to many clients marshals nothing.
//
// The order on a stream is that of the ADS (Envoy's xDS protocol, "eventual consistency
// considerations"): clusters, then listeners, then extension configs, and clusters are
// withdrawn after the listeners that might use them were acknowledged. One response of a
// type is under way at a time, so a client that is slow gets the last content only. What a
// client refused is not offered again until it changes; then all of it is.
package delta
