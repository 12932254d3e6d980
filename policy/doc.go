// Package policy is the compiled model: what the objects of package api mean,
// for each listener of each workload, and the evaluator that says so.
//
// [Compile] turns a set of objects into a [Model]. Its listeners hold a
// [Program]: the rules that apply there, in the order in which they are asked.
// [Listener.Evaluate] runs a request through the program and returns the verdict,
// the reason by name, and a trace of what was passed over and why. Package xds
// translates the same programs into Envoy's matchers; tests hold the two to the
// same verdict and the same reason for every request.
//
// A Model is immutable and safe for concurrent use. Evaluation is linear in the
// number of rules and made for explaining; Envoy decides the traffic.
//
// The package knows neither Envoy nor Kubernetes nor HTTP servers.
package policy
