// Package dns is the resolver beside a workload.
//
// It answers Envoy, for the names that an explicit proxy is asked for, with one address
// each. One, because a rule by address is asked about one: Envoy itself would keep all
// the addresses of a name, have the first judged, and connect to the next if the first
// does not answer, so that whoever answers for an allowed name could reach an address
// that is denied.
package dns
