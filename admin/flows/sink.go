package flows

import (
	"context"

	"pavise.dev/pavise/internal/decisions"
)

// Sink makes the store an output of a decision log. It gets what the log writes: with
// SampleAllows 0, no plain allows. Who wants those too, gives Add each record beside the log.
func (s *Store) Sink() decisions.Sink { return sink{s} }

type sink struct{ s *Store }

func (k sink) Write(_ context.Context, records []*decisions.Record) (int, error) {
	for _, r := range records {
		k.s.Add(r)
	}
	return len(records), nil
}

func (sink) Close() error { return nil }
