package decisions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// Sink writes records somewhere. Its methods are called by one goroutine.
type Sink interface {
	// Write writes records, in order, and returns how many of the first of them it has
	// written. What is left with an error is tried again later, unless it is a [RefusedError].
	// An error with all records written is only told. Write may block; it should return
	// when the context ends, which it does a while after the log is to end. It must not
	// keep or change the records.
	Write(context.Context, []*Record) (int, error)
	// Close is called once, after the last Write, unless that hangs.
	Close() error
}

// RefusedError is why records cannot be written however often they are tried.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

// Output is a sink and how it is fed.
type Output struct {
	// Name in statistics and in the log; each output has another.
	Name string
	Sink Sink
	// MaxRecords and MaxOctets bound the queue; octets are those in memory. 8192 and 8 MiB
	// when 0. Fewer octets than 64 KiB are not possible: some records are that large.
	MaxRecords, MaxOctets int
	// Linger is how long to wait, when there is something to write, for more to be written
	// with it. 0, the default, writes at once.
	Linger time.Duration
	// GiveUp is how long the same records are tried before they are dropped. 5 minutes
	// when 0.
	GiveUp time.Duration
}

const (
	// A batch has at most that much. What OpenTelemetry makes of one stays below the 4 MiB
	// that gRPC servers take.
	batchRecords = 256
	batchOctets  = 512 << 10

	firstPause, longestPause = 100 * time.Millisecond, 10 * time.Second
	// sayEvery is how often a sink that fails is spoken of.
	sayEvery = 10 * time.Second
)

// output is an Output at work.
type output struct {
	Output
	q   *queue
	log *slog.Logger

	mu    sync.Mutex
	err   error // of the last write
	since time.Time

	// Of the goroutine: whether it was said to fail, and when anything was said.
	failing bool
	said    time.Time
}

func (o *output) run(ctx context.Context) {
	for {
		batch := o.q.take(ctx, batchRecords, batchOctets, o.Linger)
		if batch == nil {
			break
		}
		o.deliver(ctx, batch)
	}
	if err := o.guard(o.Sink.Close); err != nil {
		o.log.Warn("an output of decisions could not be closed", "output", o.Name, "error", err)
	}
}

// deliver writes a batch, for as long as it takes, and settles all of it.
func (o *output) deliver(ctx context.Context, batch []*Record) {
	began, pause, closing := time.Now(), firstPause, o.q.closing
	for {
		n, err := o.write(ctx, batch)
		o.q.settle(n, "")
		batch = batch[n:]
		o.report(err)
		refused := (*RefusedError)(nil)
		switch {
		case len(batch) == 0:
			return
		case errors.As(err, &refused):
			o.q.settle(len(batch), Refused)
			return
		case n > 0:
			began, pause = time.Now(), firstPause
		case time.Since(began) >= o.GiveUp:
			o.q.settle(len(batch), GaveUp)
			return
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, longestPause)
		case <-closing: // there is little time left: try again at once, and soon again
			pause, closing = firstPause, nil
		case <-ctx.Done():
			o.q.settle(len(batch), Stopped)
			return
		}
	}
}

// write is Sink.Write, held to what it promises.
func (o *output) write(ctx context.Context, batch []*Record) (n int, err error) {
	err = o.guard(func() error {
		n, err = o.Sink.Write(ctx, batch)
		return err
	})
	n = max(0, min(n, len(batch)))
	if n < len(batch) && err == nil {
		err = errors.New("the sink wrote only some records and did not say why")
	}
	return n, err
}

// guard makes an error of a panic: what may have caused it is in the records.
func (o *output) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			o.log.Error("a sink of decisions panicked", "output", o.Name, "panic", p, "stack", string(debug.Stack()))
			err = &RefusedError{fmt.Errorf("the sink panicked: %v", p)}
		}
	}()
	return f()
}

// report keeps the state, and says when it has changed, but not too often.
func (o *output) report(err error) {
	o.mu.Lock()
	if err != nil && o.err == nil {
		o.since = time.Now()
	}
	o.err = err
	o.mu.Unlock()
	if (err != nil) == o.failing || time.Since(o.said) < sayEvery {
		return
	}
	o.failing, o.said = err != nil, time.Now()
	if err != nil {
		o.log.Warn("an output of decisions fails", "output", o.Name, "error", err)
	} else {
		o.log.Info("an output of decisions writes again", "output", o.Name)
	}
}

func (o *output) stats() OutputStats {
	s := o.q.stats()
	s.Name = o.Name
	o.mu.Lock()
	defer o.mu.Unlock()
	if s.Err = o.err; s.Err != nil {
		s.Since = o.since
	}
	return s
}
