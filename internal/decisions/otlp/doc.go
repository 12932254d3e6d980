// Package otlp is a sink of decisions that sends them to an OpenTelemetry collector, as log
// records by OTLP over gRPC (opentelemetry.io/docs/specs/otlp).
//
// Attributes have the names of the semantic conventions where these have one, and begin
// with "pavise." otherwise; doc comments of attributes.go list them. Severity is WARN for
// what was denied and INFO for the rest, the event name "pavise.decision".
//
// The SDK's own batch processor is not used: package decisions queues, tries again and
// counts what is dropped, and so knows what became of every record. The sink sends one
// request at a time. Of the environment variables of OpenTelemetry only
// OTEL_RESOURCE_ATTRIBUTES counts, and yields to Config.Resource; none can send decisions
// elsewhere or cut them short.
//
// It costs what OpenTelemetry does, 2.3 MB of a binary that has gRPC already; whoever
// does not import it does not pay.
package otlp
