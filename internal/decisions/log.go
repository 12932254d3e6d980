package decisions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Options of a Log. The zero value can be used: it counts, and writes nowhere.
type Options struct {
	// Outputs are where records go. May be empty.
	Outputs []Output
	// SampleAllows is the share of plain allows to write, from 0, none, which is the
	// default, to 1, all. One of each round(1/SampleAllows) of a listener is written, and
	// its Sampled says of how many. Plain is what was allowed and what neither a feed nor
	// an audited policy has anything against; all else is always written.
	SampleAllows float64
	// Repeats is how many records of the same thing are written in a second: same
	// workload, listener, verdict, reason, feed, source without port, and host, server
	// name or question, or if there is none destination. The others of that second make
	// one record with their Count. 10 when 0; all are written when negative.
	Repeats int
	// PerSource is the same without the host: how much one source, or of IPv6 one /64, is
	// written of in a second for one reason at one listener. 100 when 0.
	PerSource int
	// FlushTimeout bounds how long Run writes what is queued after its context has ended.
	// 5 s when 0.
	FlushTimeout time.Duration
	// Log is told of sinks that fail and of records that are dropped. nil is silent.
	Log *slog.Logger
}

const (
	window = time.Second
	// partingTime is for sinks to notice that the time to flush is over.
	partingTime = 250 * time.Millisecond
	leastOctets = 64 << 10
)

// Log takes records, and writes them to its outputs while it runs. Its methods may be
// called from any goroutine.
type Log struct {
	o       Options
	outputs []*output

	mu         sync.Mutex // held while giving to queues, so that all have the same order
	running    bool
	sample     sampler
	fold       folder
	added      Tally
	sampledOut uint64
}

// New returns a log. It starts nothing: until Run records are queued, as far as there is room.
func New(o Options) (*Log, error) {
	if o.SampleAllows < 0 || o.SampleAllows > 1 || o.SampleAllows != o.SampleAllows {
		return nil, fmt.Errorf("decisions: sample %v of the allows: it is a share from 0 (none) to 1 (all)", o.SampleAllows)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Repeats = cmp.Or(o.Repeats, 10)
	if o.PerSource <= 0 {
		o.PerSource = 100
	}
	if o.FlushTimeout <= 0 {
		o.FlushTimeout = 5 * time.Second
	}
	l := &Log{o: o, sample: newSampler(o.SampleAllows), fold: newFolder(o.Repeats, o.PerSource)}
	names := map[string]bool{}
	for _, out := range o.Outputs {
		if out.Name == "" || out.Sink == nil || names[out.Name] {
			return nil, fmt.Errorf("decisions: output %q: each needs a sink, and a name of its own", out.Name)
		}
		names[out.Name] = true
		if out.MaxRecords <= 0 {
			out.MaxRecords = 8192
		}
		if out.MaxOctets <= 0 {
			out.MaxOctets = 8 << 20
		}
		out.MaxOctets = max(out.MaxOctets, leastOctets)
		if out.GiveUp <= 0 {
			out.GiveUp = 5 * time.Minute
		}
		l.outputs = append(l.outputs, &output{Output: out, q: newQueue(out.MaxRecords, out.MaxOctets), log: o.Log})
	}
	return l, nil
}

// Add takes a record. It never waits for a sink. Sampled and Count are set by the log.
func (l *Log) Add(r Record) {
	plain := r.plain()
	if !plain || l.picks(&r) {
		l.keep(r, plain)
	}
}

// keep gives a record to the queues, or folds it. It is apart from Add since its record
// outlives it, and that of an allow which is not picked is not to cost memory.
func (l *Log) keep(r Record, plain bool) {
	r.Sampled, r.Count = 0, 0
	r.bound(time.Now())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.added.add(r.Verdict, 1)
	if plain && l.sample.n > 1 {
		r.Sampled = l.sample.n
	}
	if l.fold.passes(&r) {
		l.give(&r)
	}
}

// picks says whether a plain record is picked, and counts it if it is not.
func (l *Log) picks(r *Record) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sample.picks(r) {
		return true
	}
	l.added.add(r.Verdict, 1)
	l.sampledOut++
	return false
}

// give puts a record into every queue. The lock is held.
func (l *Log) give(r *Record) {
	for _, o := range l.outputs {
		o.q.put(r)
	}
}

// Run writes to the outputs until the context ends, and then for at most
// Options.FlushTimeout what is queued. Records that come after that are dropped, and
// counted. It returns an error if it could not write all; a sink that hangs in a Write is
// then left behind with its goroutine. It may be called once.
func (l *Log) Run(ctx context.Context) error {
	l.mu.Lock()
	again := l.running
	l.running = true
	l.mu.Unlock()
	if again {
		return errors.New("decisions: Run was called twice")
	}
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	done := make([]chan struct{}, len(l.outputs))
	for i, o := range l.outputs {
		done[i] = make(chan struct{})
		go func() {
			defer close(done[i])
			o.run(working)
		}()
	}
	l.tend(ctx)
	return l.finish(stop, done)
}

// tend ends windows, and says what was dropped, until the context ends.
func (l *Log) tend(ctx context.Context) {
	tick := time.NewTicker(window)
	defer tick.Stop()
	var said time.Time
	before := map[string]uint64{}
	for {
		select {
		case now := <-tick.C:
			l.endWindow()
			if now.Sub(said) >= sayEvery && l.sayDropped(before) {
				said = now
			}
		case <-ctx.Done():
			return
		}
	}
}

func (l *Log) endWindow() {
	l.mu.Lock()
	folded := l.fold.take()
	l.mu.Unlock()
	for _, f := range folded { // there may be many, and traffic need not wait for all
		l.mu.Lock()
		l.fold.pending.sub(f.sum.Verdict, f.sum.weight())
		l.give(f.sum)
		l.mu.Unlock()
	}
}

// sayDropped says what was dropped since it was last said, and whether anything was.
func (l *Log) sayDropped(before map[string]uint64) (said bool) {
	for _, o := range l.outputs {
		s := o.stats()
		var now uint64
		var by []any
		for _, why := range Drops {
			if n := s.Dropped[why].Total(); n > 0 {
				now += n
				by = append(by, string(why), n)
			}
		}
		if more := now - before[o.Name]; more > 0 {
			said = true
			o.log.Warn("decisions were dropped", "output", o.Name, "more", more, slog.Group("since_the_start", by...))
		}
		before[o.Name] = now
	}
	return said
}

// finish flushes, for a bounded time.
func (l *Log) finish(stop context.CancelFunc, done []chan struct{}) error {
	l.mu.Lock()
	l.fold.repeats = 0 // there is no next window to count into
	l.mu.Unlock()
	l.endWindow()
	for _, o := range l.outputs {
		o.q.close()
	}
	defer time.AfterFunc(l.o.FlushTimeout, stop).Stop()
	given := make(chan struct{})
	defer time.AfterFunc(l.o.FlushTimeout+partingTime, func() { close(given) }).Stop()
	var lost []string
	for i, o := range l.outputs {
		select {
		case <-done[i]:
		case <-given:
		}
		o.q.stop()
		if n := o.q.stats().Dropped[Stopped].Total(); n > 0 {
			lost = append(lost, fmt.Sprintf("%s (%d decisions)", o.Name, n))
		}
	}
	if lost != nil {
		return fmt.Errorf("decisions: not all could be written within %v of the end: %s", l.o.FlushTimeout, strings.Join(lost, ", "))
	}
	return nil
}

// Stats returns what was counted so far, all of it at one moment.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{Added: l.added, SampledOut: l.sampledOut, Folding: l.fold.pending}
	for _, o := range l.outputs {
		s.Outputs = append(s.Outputs, o.stats())
	}
	return s
}
