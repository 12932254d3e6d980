package anomaly

import (
	"context"
	"hash/maphash"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pavise.dev/pavise/internal/decisions"
)

const (
	shardCount = 16
	// forgetAfter is how long a workload is kept without traffic.
	forgetAfter = 31 * 24 * time.Hour
	// workloadBytes is a workload without traffic.
	workloadBytes = 4096
)

// Detector learns what is usual for workloads and raises alerts on what is not. It is safe for
// concurrent use.
type Detector struct {
	config Config
	// overrides are those that hold; they are read under the lock of any shard.
	overrides atomic.Pointer[[]Override]
	seed      maphash.Seed
	alerts    alerts
	shards    [shardCount]shard
	// bytes that baselines hold, and how many they may.
	bytes, mostBytes int64

	observed, ignored, unwatched atomic.Uint64
}

type shard struct {
	mu        sync.Mutex
	workloads map[string]*workload
}

// workload is what is known of one. Its shard's lock guards it.
type workload struct {
	name string
	// since is when it was first met, and last when it was met last.
	since, last time.Time
	learning    time.Duration
	factor      float64 // of its sensitivity
	// learned is set once the learning time is over.
	learned         bool
	ingress, egress *side
	dests           beacons
}

// New returns a detector that knows nothing, or what is wrong with the Config.
func New(c Config) (*Detector, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	d := &Detector{config: c, seed: maphash.MakeSeed(), mostBytes: int64(c.MaxBytes / 4 * 3)}
	d.overrides.Store(&d.config.Overrides)
	d.alerts = alerts{
		mostBytes: c.MaxBytes / 4, by: map[subject]*held{}, of: map[string]int{}, followers: map[*follower]struct{}{},
		raised: map[Kind]uint64{}, mutes: append([]Mute(nil), c.Mutes...),
	}
	for i := range d.shards {
		d.shards[i].workloads = map[string]*workload{}
	}
	return d, nil
}

// Observe takes a decision in. It keeps no reference to the record, does no I/O, and holds the
// lock of a sixteenth of the workloads for about a microsecond.
func (d *Detector) Observe(r *decisions.Record) {
	now := d.config.Now()
	e, ok := d.read(r, now)
	if !ok {
		d.ignored.Add(1)
		return
	}
	d.observed.Add(1)
	found := d.judge(&e, now)
	for i := range found {
		d.alerts.raise(found[i], r, now)
	}
}

func (d *Detector) judge(e *event, now time.Time) []Alert {
	sh := d.shardOf(e.workload)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	w := sh.workloads[e.workload]
	if w == nil {
		if w = d.newWorkload(strings.Clone(e.workload), e.at); w == nil {
			d.unwatched.Add(1)
			return nil
		}
		sh.workloads[w.name] = w
	}
	j := judgement{d: d, w: w, e: e}
	j.advance(now)
	if w.last.Before(e.at) {
		w.last = e.at
	}
	j.side = w.side(e.egress, e.at)
	j.values()
	j.rates()
	if e.egress && w.learned {
		j.calls()
	}
	return j.found
}

func (d *Detector) shardOf(workload string) *shard {
	return &d.shards[maphash.String(d.seed, workload)%shardCount]
}

func (d *Detector) newWorkload(name string, at time.Time) *workload {
	if d.room() < workloadBytes {
		return nil
	}
	w := &workload{name: name, since: at, last: at}
	d.settle(w)
	d.grow(workloadBytes + len(name))
	return w
}

// room is how many octets baselines may still grow by.
func (d *Detector) room() int { return int(max(0, d.mostBytes-atomic.LoadInt64(&d.bytes))) }

func (d *Detector) grow(n int) {
	if n != 0 {
		atomic.AddInt64(&d.bytes, int64(n))
	}
}

// Tick ends windows and hours of workloads that are silent, and forgets those that were for a
// month. Run calls it each minute.
func (d *Detector) Tick() {
	now := d.config.Now()
	for i := range d.shards {
		sh := &d.shards[i]
		var found []Alert
		sh.mu.Lock()
		for name, w := range sh.workloads {
			if now.Sub(w.last) > forgetAfter {
				d.grow(-w.bytes())
				delete(sh.workloads, name)
				continue
			}
			j := judgement{d: d, w: w}
			j.advance(now)
			found = append(found, j.found...)
		}
		sh.mu.Unlock()
		for i := range found {
			d.alerts.raise(found[i], nil, now)
		}
	}
}

// Run calls Tick each minute until ctx ends.
func (d *Detector) Run(ctx context.Context) {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			d.Tick()
		}
	}
}

// Stats counts what was done and what was not.
type Stats struct {
	// Observed decisions. Ignored are those without a workload, Unwatched those of workloads
	// for which there was no memory.
	Observed  uint64 `json:"observed"`
	Ignored   uint64 `json:"ignored"`
	Unwatched uint64 `json:"unwatched"`
	// Workloads that are known, and how many of them are learning.
	Workloads int `json:"workloads"`
	Learning  int `json:"learning"`
	// Bytes that baselines hold, about.
	Bytes int64 `json:"bytes"`
	// Overflow counts values and destinations for which there was no place.
	Overflow uint64 `json:"overflow"`
	// Alerts that are held, and AlertBytes what they hold, about.
	Alerts     int   `json:"alerts"`
	AlertBytes int64 `json:"alertBytes"`
	// Raised alerts by kind, Muted ones, those that were Evicted for others, and events that
	// followers Lost.
	Raised  map[Kind]uint64 `json:"raised,omitempty"`
	Muted   uint64          `json:"muted"`
	Evicted uint64          `json:"evicted"`
	Lost    uint64          `json:"lost"`
}

// Stats returns the counts. It looks at every workload.
func (d *Detector) Stats() Stats {
	s := Stats{
		Observed: d.observed.Load(), Ignored: d.ignored.Load(), Unwatched: d.unwatched.Load(),
		Bytes: atomic.LoadInt64(&d.bytes),
	}
	for i := range d.shards {
		sh := &d.shards[i]
		sh.mu.Lock()
		s.Workloads += len(sh.workloads)
		for _, w := range sh.workloads {
			if !w.learned {
				s.Learning++
			}
			s.Overflow += w.dests.overflow
			for _, sd := range w.sides() {
				for _, set := range sd.sets() {
					s.Overflow += set.overflow
				}
			}
		}
		sh.mu.Unlock()
	}
	a := &d.alerts
	a.mu.Lock()
	defer a.mu.Unlock()
	s.Alerts, s.AlertBytes, s.Raised = len(a.list), int64(a.bytes), maps.Clone(a.raised)
	s.Muted, s.Evicted, s.Lost = a.muted, a.evicted, a.lost
	return s
}
