// Package xds speaks to Envoy: it translates a compiled policy model into Envoy's
// resources and serves them over incremental ADS, and it receives what Envoy
// decided.
//
// Listeners and clusters depend on workloads only. Policies travel as extension
// configs (ECDS) of the RBAC filters, so a change of policy drains no listener.
// Versions are hashes of the content, so what did not change is not sent again.
//
// [Translate] makes the [Resources] of a set of workloads; [Server] serves them;
// [Bootstrap] is what an Envoy is started with. Only this package imports
// go-control-plane; what decides is in package policy and in xds/matcher.
package xds
