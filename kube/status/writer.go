package status

import (
	"context"
	"sync"
	"time"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/xds/fleet"
)

// Writer publishes what this replica counts and, where it leads, writes statuses. Applied and
// Wake may be called from any goroutine and do not wait.
type Writer struct {
	c     Config
	woken chan struct{}

	mu      sync.Mutex
	set     *api.Set
	report  *fleet.Report
	foreign []api.Problem

	// What follows is Run's alone.
	published  publication
	replicas   map[string]*replica
	written    map[key]writing
	resyncAt   time.Time
	told       map[string]time.Time // events
	complained string               // the last error that was logged
}

// New checks the configuration. Nothing is read or written before Run.
func New(c Config) (*Writer, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	return &Writer{
		c: c, woken: make(chan struct{}, 1),
		replicas: map[string]*replica{}, written: map[key]writing{}, told: map[string]time.Time{},
	}, nil
}

// Applied tells what an update came to: the set that was given to the Fleet and its report, both
// of which are not to be changed afterwards. foreign are problems of objects that were
// translated to those of the set, by their own names, such as NetworkPolicy shop/web.
func (w *Writer) Applied(set *api.Set, report *fleet.Report, foreign []api.Problem) {
	w.mu.Lock()
	w.set, w.report, w.foreign = set, report, foreign
	w.mu.Unlock()
	w.Wake()
}

// Wake has the next round begin as soon as the interval allows, such as when a feed changed.
func (w *Writer) Wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// Run works until the context ends, and takes the ConfigMap away then. The error is nil.
// What fails is logged and tried again.
func (w *Writer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := w.c.Server.Changed() // before the round, so that no change is missed
		more, err := w.round(ctx)
		w.complain(ctx, err)
		if !sleep(ctx, w.c.Interval) || more {
			continue
		}
		beat := time.NewTimer(w.c.Heartbeat - w.c.Interval)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-w.woken:
		case <-beat.C:
		}
		beat.Stop()
	}
	return w.withdraw(ctx)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// complain logs an error once for as long as it stays the same.
func (w *Writer) complain(ctx context.Context, err error) {
	text := ""
	if err != nil && ctx.Err() == nil {
		text = err.Error()
	}
	switch {
	case text != "" && text != w.complained:
		w.c.Logger.Warn("statuses could not be written; trying again", "error", err)
	case text == "" && w.complained != "":
		w.c.Logger.Info("statuses are written again")
	}
	w.complained = text
}

// round counts, publishes and writes once. It reports whether there is more to be written than
// the rate allows now.
func (w *Writer) round(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.c.Heartbeat+w.c.Interval)
	defer cancel()
	w.mu.Lock()
	set, report, foreign := w.set, w.report, w.foreign
	w.mu.Unlock()
	if set == nil {
		return false, nil // a replica that knows nothing yet would publish zeroes
	}
	own := count(w.c.Fleet, w.c.Server)
	if err := w.publish(ctx, own); err != nil {
		return false, err
	}
	if !w.c.Leading() {
		clear(w.written)
		clear(w.told)
		return false, nil
	}
	others, err := w.others(ctx)
	if err != nil {
		return false, err
	}
	now := w.c.now()
	if now.Sub(w.resyncAt) >= resync {
		clear(w.written)
		w.resyncAt = now
	}
	v := verdictsOf(report)
	more, err = w.write(ctx, v.desired(set, merge(own, w.c.Revision, others), viewOf(w.c.Feeds)))
	if err != nil {
		return false, err
	}
	return more, w.tell(ctx, set, report, foreign)
}
