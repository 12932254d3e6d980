// Package decisions is the decision log: the record that every host of the engine writes
// of what it decided, and the log that takes records and never holds traffic up.
//
// A host fills in a [Record] and gives it to [Log.Add]. What is in a record was partly
// written by whoever is being judged, so Add bounds every text, and the line that
// [Record.AppendJSON] makes of it is printable ASCII whatever was in it: no name, path or
// header makes a second line, or means anything to a terminal.
//
// A log has outputs, each with a queue, a goroutine and counters of its own, so that one
// which hangs holds up no other. [NewWriter] and [NewFile] make sinks of JSON lines;
// package decisions/otlp makes one for OpenTelemetry, apart so that only who wants it
// carries it.
//
// # What is left out, and where that is seen
//
//   - Allows are sampled, none of them unless Options.SampleAllows says so. A record that
//     was sampled says of how many it is one.
//   - Floods are folded: what repeats within a second is one record with a count. A scan of
//     a million requests makes some hundred lines and not a million. See [Options].
//   - Queues are bounded, in records and octets. Plain allows may fill half of one, so that
//     what was denied, alerted on, or would be denied by an audited policy finds room when
//     it matters.
//
// Nothing is left out in silence: [Log.Stats] counts every decision, and at any moment, for
// each output,
//
//	Added = SampledOut + Folding + Written + Dropped + Queued
//
// # Costs
//
// Add takes a lock and, of what it keeps, one copy: about a microsecond. It waits for no
// sink. A queue at its bound holds 8 MiB unless set otherwise; an idle one next to nothing.
//
// # What not to do
//
// A record is shared between sinks: who gets one reads it and leaves it alone. And a log is
// no proof: what was dropped is counted, but it is gone.
package decisions
