// Package filter decides by threat feeds: it holds the snapshot that is in force and says
// of a connection, a request or a name whether a feed lists it, which feed, and in which
// line.
//
// One engine, several hosts: Envoy's module (proxy/module), ext_authz (proxy/extauthz),
// the resolver (proxy/dns), and explain and lookup, which so say what the others do.
//
// What comes in is asked about by its source address; what goes out by its destination
// address, its TLS server name, its host and the name it was resolved from. Nothing that a
// check does allocates memory, takes a lock or waits, so it may stand in front of every
// request; replacing the snapshot under it takes one pointer.
//
// Names are canonical: lower case, ACE, no dot at the end, no port. [Canonical] makes the
// usual ones so. What is not is not listed: hosts refuse what has no canonical form before
// they ask.
package filter
