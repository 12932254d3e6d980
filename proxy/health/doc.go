// Package health says over HTTP whether a sidecar shields its workload, and what it
// counts: /healthz/ready, /healthz/live and /metrics.
//
// Ready means more than that Envoy runs: an Envoy that was given nothing is live, and lets
// nothing or everything by. So readiness is a list of named checks, all of which have to
// hold, and the answer names each that does not and why, for the person who reads the
// events of a pod.
//
// Metrics are those of this process and of Envoy on one page, since who scrapes a sidecar
// has one port for it. What is served here is no secret and cannot be written to; it may
// be reached from outside the pod.
package health
