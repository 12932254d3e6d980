package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/admin/flows/history"
	"pavise.dev/pavise/internal/decisions"
)

// How much of what happened lately is kept, in octets: by a process that serves others or is
// alone, and by a sidecar, of which there are many.
const (
	latelyBytes      = 64 << 20
	agentLatelyBytes = 8 << 20
)

// saveBaselines is how often what is usual is written to the state directory.
const saveBaselines = 5 * time.Minute

// lately is what happened within the last hour, and what of it was unusual.
type lately struct {
	flows     *flows.Store
	anomalies *anomaly.Detector
	path      string         // of the baselines
	mutes     []anomaly.Mute // for every workload
	history   *history.File  // nil for none
	log       *slog.Logger
}

// newLately goes on with the baselines in the state directory, if there are any. Those that
// cannot be read are moved aside: what is usual is learnt anew. who knows workloads; nil for
// nobody.
func newLately(state string, bytes int, who *directory, c anomaly.Config, log *slog.Logger) (*lately, error) {
	fc := flows.Config{MaxBytes: bytes / 2}
	if who != nil {
		c.Resolve, fc.Resolve, fc.Describe = who.workload, who.workload, who.describe
	}
	store, err := flows.New(fc)
	if err != nil {
		return nil, err
	}
	c.MaxBytes = bytes / 2
	d, err := anomaly.New(c)
	if err != nil {
		return nil, err
	}
	l := &lately{flows: store, anomalies: d, path: filepath.Join(state, "baselines"), mutes: c.Mutes, log: log}
	text, err := os.ReadFile(l.path)
	if err == nil {
		err = d.Restore(text)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Error("what is usual is learnt anew; the baselines could not be read", "file", l.path, "error", err)
		_ = os.Rename(l.path, l.path+".damaged") // it is written over otherwise
	}
	return l, nil
}

// add takes a decision. It does not wait.
func (l *lately) add(r *decisions.Record) {
	l.flows.Add(r)
	l.anomalies.Observe(r)
}

// run writes the baselines from time to time, and when the context ends; likewise flows where
// there is a history of them.
func (l *lately) run(ctx context.Context) error {
	keeping := make(chan struct{})
	go func() {
		defer close(keeping)
		if l.history != nil {
			_ = l.history.Run(ctx, l.flows) // which logs what cannot be written
			if err := l.history.Close(); err != nil {
				l.log.Warn("the history of flows could not be closed", "error", err)
			}
		}
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.anomalies.Run(ctx)
	}()
	tick := time.NewTicker(saveBaselines)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		if err := l.save(); err != nil {
			l.log.Warn("the baselines could not be written; a restart would learn anew", "error", err)
		}
	}
	<-done
	<-keeping
	return nil
}

// save replaces the file in one step.
func (l *lately) save() error {
	text, err := l.anomalies.Snapshot()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(l.path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(l.path+".new", l.path)
}
