package anomaly

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"pavise.dev/pavise/policy"
)

// snapshotHead is the first line of a snapshot, with its version.
const snapshotHead = "pavise-anomaly 1\n"

// What a snapshot holds: baselines, and no alerts.
type savedWorkload struct {
	Name    string      `json:"name"`
	Since   int64       `json:"since"` // Unix seconds
	Last    int64       `json:"last"`
	Learned bool        `json:"learned,omitempty"`
	Sides   []savedSide `json:"sides,omitempty"`
	Dests   []savedDest `json:"dests,omitempty"`
}

type savedSide struct {
	Direction policy.Direction `json:"direction"`
	// Sets are peers, names, ports, methods and shapes.
	Sets    []savedSet `json:"sets"`
	Allowed []cell     `json:"allowed,omitempty"`
	Denied  []cell     `json:"denied,omitempty"`
	Peak    []float32  `json:"peak"`
}

type savedSet struct {
	Values []savedEntry `json:"values,omitempty"`
	Open   bool         `json:"open,omitempty"`
}

type savedEntry struct {
	Value   string `json:"v"`
	Windows uint32 `json:"n"`
	First   int32  `json:"f"`
	Last    int32  `json:"l"`
}

type cell struct {
	Hour  int     `json:"h"` // of the week, from Thursday
	Count float32 `json:"c"`
	Weeks uint8   `json:"w"`
}

type savedDest struct {
	Name  string  `json:"name"`
	Calls []int64 `json:"calls"` // Unix ms
	Total uint64  `json:"total"`
}

// Snapshot returns what was learned, for Restore. It holds the lock of a sixteenth of the
// workloads at a time, while it copies them. Alerts are not in it.
func (d *Detector) Snapshot() ([]byte, error) {
	all := []savedWorkload{}
	for i := range d.shards {
		sh := &d.shards[i]
		sh.mu.Lock()
		for _, w := range sh.workloads {
			all = append(all, w.save())
		}
		sh.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b savedWorkload) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	b.WriteString(snapshotHead)
	if err := json.NewEncoder(&b).Encode(all); err != nil {
		return nil, fmt.Errorf("anomaly: snapshot: %w", err)
	}
	return b.Bytes(), nil
}

func (w *workload) save() savedWorkload {
	out := savedWorkload{Name: w.name, Since: w.since.Unix(), Last: w.last.Unix(), Learned: w.learned}
	for _, s := range w.sides() {
		o := savedSide{Direction: s.direction, Allowed: s.allowed.save(), Denied: s.denied.save(), Peak: s.scanners.peak[:]}
		o.Peak = slices.Clone(o.Peak)
		for _, set := range s.sets() {
			v := savedSet{Open: set.open}
			for _, e := range set.list {
				v.Values = append(v.Values, savedEntry{e.value, e.windows, e.first, e.last})
			}
			o.Sets = append(o.Sets, v)
		}
		out.Sides = append(out.Sides, o)
	}
	for _, c := range w.dests.list {
		out.Dests = append(out.Dests, savedDest{c.name, slices.Clone(c.calls), c.total})
	}
	return out
}

func (s *season) save() (out []cell) {
	for i := range s.cell {
		if s.weeks[i] > 0 {
			out = append(out, cell{i, s.cell[i], s.weeks[i]})
		}
	}
	return out
}

// Restore takes in what Snapshot returned, whole or not at all: bytes of another version,
// above four times MaxBytes, of another shape or out of bounds are refused, and the error says
// where. It replaces what was learned of the workloads in it; call it before the first Observe.
// What the time since the snapshot was silent about is not learned.
func (d *Detector) Restore(b []byte) error {
	if limit := 4 * d.config.MaxBytes; len(b) > limit {
		return fmt.Errorf("anomaly: snapshot of %d octets; at most %d", len(b), limit)
	}
	rest, ok := bytes.CutPrefix(b, []byte(snapshotHead))
	if !ok {
		head, _, _ := bytes.Cut(b[:min(len(b), 40)], []byte("\n"))
		return fmt.Errorf("anomaly: snapshot begins with %q; it begins with %q", head, strings.TrimSpace(snapshotHead))
	}
	if !utf8.Valid(rest) { // which the decoder would mend in silence
		return fmt.Errorf("anomaly: snapshot is no valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(rest))
	dec.DisallowUnknownFields()
	var all []savedWorkload
	if err := dec.Decode(&all); err != nil {
		return fmt.Errorf("anomaly: snapshot, at octet %d: %w", int64(len(snapshotHead))+dec.InputOffset(), err)
	}
	if len(bytes.TrimSpace(rest[dec.InputOffset():])) > 0 {
		return fmt.Errorf("anomaly: snapshot goes on after its end, at octet %d", int64(len(snapshotHead))+dec.InputOffset())
	}
	now := d.config.Now()
	loaded := make(map[string]*workload, len(all))
	size := 0
	for i := range all {
		w, err := d.load(&all[i], now)
		if err != nil {
			return fmt.Errorf("anomaly: snapshot, workload %d (%.100q): %w", i, all[i].Name, err)
		}
		if loaded[w.name] != nil {
			return fmt.Errorf("anomaly: snapshot, workload %d (%.100q): it is there twice", i, w.name)
		}
		loaded[w.name] = w
		size += w.bytes()
	}
	if size > d.room() {
		return fmt.Errorf("anomaly: snapshot needs %d octets; there is room for %d", size, d.room())
	}
	for name, w := range loaded {
		sh := d.shardOf(name)
		sh.mu.Lock()
		if old := sh.workloads[name]; old != nil {
			d.grow(-old.bytes())
		}
		sh.workloads[name] = w
		d.grow(w.bytes())
		sh.mu.Unlock()
	}
	return nil
}

func (d *Detector) load(in *savedWorkload, now time.Time) (*workload, error) {
	w := &workload{name: in.Name, since: time.Unix(in.Since, 0).UTC(), last: time.Unix(in.Last, 0).UTC(), learned: in.Learned}
	if in.Name == "" || len(in.Name) > 2*mostText {
		return nil, fmt.Errorf("a name of %d octets; from 1 to %d", len(in.Name), 2*mostText)
	}
	// A clock may be a little ahead.
	late := now.Add(time.Hour)
	if in.Since < 0 || w.since.After(w.last) || w.last.After(late) {
		return nil, fmt.Errorf("known from %d to %d; ascending, and not in the future", in.Since, in.Last)
	}
	d.settle(w)
	w.forgive(now)
	for i := range in.Sides {
		o := &in.Sides[i]
		switch {
		case o.Direction != policy.Ingress && o.Direction != policy.Egress:
			return nil, fmt.Errorf("direction %.100q; it is %s or %s", o.Direction, policy.Ingress, policy.Egress)
		case o.Direction == policy.Ingress && w.ingress != nil || o.Direction == policy.Egress && w.egress != nil:
			return nil, fmt.Errorf("direction %s is there twice", o.Direction)
		}
		if err := w.side(o.Direction == policy.Egress, now).load(o, windowOf(late)); err != nil {
			return nil, fmt.Errorf("%s: %w", o.Direction, err)
		}
	}
	if len(in.Dests) > mostDests {
		return nil, fmt.Errorf("%d destinations; at most %d", len(in.Dests), mostDests)
	}
	for _, o := range in.Dests {
		_, twice := w.dests.index[o.Name]
		if o.Name == "" || len(o.Name) > mostText || twice || len(o.Calls) == 0 || len(o.Calls) > mostCalls ||
			o.Total < uint64(len(o.Calls)) || !slices.IsSorted(o.Calls) || o.Calls[0] < 0 || o.Calls[len(o.Calls)-1] > late.UnixMilli() {
			return nil, fmt.Errorf("destination %.100q is out of bounds", o.Name)
		}
		c := &dest{name: o.Name, calls: o.Calls, last: o.Calls[len(o.Calls)-1], total: o.Total}
		w.dests.place(c, c.last, math.MaxInt)
	}
	return w, nil
}

func (s *side) load(in *savedSide, late int32) error {
	sets := s.sets()
	if len(in.Sets) != len(sets) || len(in.Peak) != int(dims) {
		return fmt.Errorf("%d sets and %d peaks; there are %d and %d", len(in.Sets), len(in.Peak), len(sets), dims)
	}
	for i, set := range sets {
		o := &in.Sets[i]
		if len(o.Values) > set.most {
			return fmt.Errorf("sets[%d] has %d values; at most %d", i, len(o.Values), set.most)
		}
		set.open, set.index = o.Open, make(map[string]int32, len(o.Values))
		for k, e := range o.Values {
			_, twice := set.index[e.Value]
			if e.Value == "" || len(e.Value) > mostText || twice || e.Windows == 0 || e.Windows > mostHold ||
				e.First < 0 || e.First > e.Last || e.Last > late {
				return fmt.Errorf("sets[%d].values[%d] (%.100q) is out of bounds", i, k, e.Value)
			}
			set.index[e.Value] = int32(k) // #nosec G115 -- at most most
			set.list = append(set.list, entry{e.Value, e.Windows, e.First, e.Last})
		}
	}
	for i, v := range in.Peak {
		if !(v >= 0 && v <= mostTried) { // nor NaN
			return fmt.Errorf("peak[%d] is %g; from 0 to %d", i, v, mostTried)
		}
		s.scanners.peak[i] = v
	}
	if err := s.allowed.load(in.Allowed); err != nil {
		return fmt.Errorf("allowed: %w", err)
	}
	if err := s.denied.load(in.Denied); err != nil {
		return fmt.Errorf("denied: %w", err)
	}
	return nil
}

func (s *season) load(in []cell) error {
	for i, c := range in {
		if c.Hour < 0 || c.Hour >= hoursPerWeek || s.weeks[c.Hour] > 0 || c.Weeks == 0 || !(c.Count >= 0 && c.Count <= math.MaxFloat32) {
			return fmt.Errorf("hour %d, the %dth, is out of bounds", c.Hour, i)
		}
		s.cell[c.Hour], s.weeks[c.Hour] = c.Count, c.Weeks
	}
	return nil
}
