package decisions

import (
	"time"

	"pavise.dev/pavise/policy"
)

// Tally counts decisions by verdict.
type Tally struct{ Allow, Deny uint64 }

// Total is how many they are together.
func (t Tally) Total() uint64 { return t.Allow + t.Deny }

func (t *Tally) of(v policy.Verdict) *uint64 {
	if v == policy.Allowed {
		return &t.Allow
	}
	return &t.Deny
}

func (t *Tally) add(v policy.Verdict, n uint64) { *t.of(v) += n }
func (t *Tally) sub(v policy.Verdict, n uint64) { *t.of(v) -= n }

func (t *Tally) addAll(o Tally) {
	t.Allow += o.Allow
	t.Deny += o.Deny
}

// Drop is why a decision was not written.
type Drop string

const (
	// QueueFull: the queue of the output was at its bound, or half full for a plain allow.
	QueueFull Drop = "queue-full"
	// Refused: the sink will not take it, however often it is tried.
	Refused Drop = "refused"
	// GaveUp: the sink failed for as long as a record is tried.
	GaveUp Drop = "gave-up"
	// Stopped: it was not written before the log had to end, or came after that.
	Stopped Drop = "stopped"
)

// Drops lists every reason.
var Drops = [...]Drop{QueueFull, Refused, GaveUp, Stopped}

// Stats count decisions since New. A record that stands for several counts as those. For
// each output Added is the sum of SampledOut, Folding, Written, Queued and all of Dropped.
type Stats struct {
	// Added were given to Add.
	Added Tally
	// SampledOut are allows that were not picked.
	SampledOut uint64
	// Folding are counted in records that are not yet in a queue.
	Folding Tally
	// Outputs are in the order of Options.
	Outputs []OutputStats
}

// OutputStats are those of one output.
type OutputStats struct {
	Name string
	// Written were taken by the sink, in Records records.
	Written Tally
	Records uint64
	// Dropped has every reason, the ones that never happened too.
	Dropped map[Drop]Tally
	// Queued wait for the sink, or are with it, in QueuedRecords records of QueuedOctets.
	Queued                      Tally
	QueuedRecords, QueuedOctets int
	// Err is why the sink does not write now, since Since; nil where it does.
	Err   error
	Since time.Time
}
