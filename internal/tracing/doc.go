// Package tracing sends traces of what a control plane hands out to an OpenTelemetry collector.
//
// A change is a trace. Its root is the span change, which takes until every Envoy that it
// concerns was given its resources, with compile and set below it. The span rollout takes until
// the last of them has answered, and says how many took it over, refused it, were replaced by a
// later change or were away. Below rollout there is a span push for the first 32 Envoys, and for
// up to 64 more that refused it, in their words.
//
// Nothing waits for a collector: spans for which there is no room are dropped and counted.
package tracing
