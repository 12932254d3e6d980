// Package suggest makes least-privilege policies out of recorded flows: for each workload and
// direction one AccessPolicy that allows what was allowed and seen, and nothing else that is not
// said. It is in mode Audit, to be read and tried before it is enforced.
//
// A rule allows combinations that were seen: peers share a rule only where they did the same, paths
// share methods and ports only where each was asked for with each. Where a rule allows more than
// was seen, its [Generalised] lists say so: a path with what differs left out, addresses made one
// range, names made one wildcard, a protocol that is not looked into. Host, headers and query
// are not asked for in HTTP rules.
//
// Denied flows, flows that a feed alerts about, those of the resolver and those seen too seldom
// are left out and counted. The policies are evaluated after those that are there, so a rule that
// denies goes on denying. Package simulate tells what they would do to the flows they came from.
package suggest
