package anomaly

import (
	"cmp"
	"slices"
	"time"

	"pavise.dev/pavise/policy"
)

// Baseline is what is usual for a workload.
type Baseline struct {
	Workload string    `json:"workload"`
	Since    time.Time `json:"since"`
	Last     time.Time `json:"last"`
	// LearnsUntil is when alerts begin.
	LearnsUntil time.Time `json:"learnsUntil"`
	Learned     bool      `json:"learned"`
	// Learning (such as 48h0m0s), Sensitivity and Mutes are the settings that hold for it.
	Learning    string      `json:"learning"`
	Sensitivity Sensitivity `json:"sensitivity"`
	Mutes       []Mute      `json:"mutes,omitempty"`
	Sides       []Side      `json:"sides"`
}

// Side is one direction of it.
type Side struct {
	Direction policy.Direction `json:"direction"`
	Peers     Values           `json:"peers"`
	Names     Values           `json:"names"`
	Ports     Values           `json:"ports"`
	Methods   Values           `json:"methods"`
	Paths     Values           `json:"paths"`
	// Allowed and Denied are the averages for each hour of the week in UTC, the first that
	// of Monday from 0:00. -1 is an hour that is not known yet.
	Allowed [hoursPerWeek]float32 `json:"allowed"`
	Denied  [hoursPerWeek]float32 `json:"denied"`
}

// Values of a dimension, the most usual first.
type Values struct {
	Values []Value `json:"values"`
	// Open says that there is something new so often that it is no anomaly here.
	Open bool `json:"open,omitempty"`
	// Overflow counts values for which there was no place.
	Overflow uint64 `json:"overflow,omitempty"`
}

// Value was met in so many windows of ten minutes. It is usual from two on.
type Value struct {
	Value   string    `json:"value"`
	Windows uint32    `json:"windows"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// Baseline returns what is usual for a workload (NAMESPACE/NAME), and whether it is known.
func (d *Detector) Baseline(name string) (Baseline, bool) {
	mutes := slices.DeleteFunc(d.Mutes(), func(m Mute) bool { return m.Workload != "" && !glob(m.Workload, name) })
	_, sensitivity := d.of(name)
	sh := d.shardOf(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	w := sh.workloads[name]
	if w == nil {
		return Baseline{}, false
	}
	b := Baseline{
		Workload: w.name, Since: w.since, Last: w.last, LearnsUntil: w.since.Add(w.learning), Learned: w.learned,
		Learning: w.learning.String(), Sensitivity: sensitivity, Mutes: mutes, Sides: []Side{},
	}
	for _, s := range w.sides() {
		b.Sides = append(b.Sides, Side{
			Direction: s.direction, Peers: s.peers.values(), Names: s.names.values(), Ports: s.ports.values(),
			Methods: s.methods.values(), Paths: s.shapes.values(), Allowed: s.allowed.fromMonday(), Denied: s.denied.fromMonday(),
		})
	}
	return b, true
}

// Workloads lists those that are known, sorted.
func (d *Detector) Workloads() []string {
	out := []string{}
	for i := range d.shards {
		sh := &d.shards[i]
		sh.mu.Lock()
		for name := range sh.workloads {
			out = append(out, name)
		}
		sh.mu.Unlock()
	}
	slices.Sort(out)
	return out
}

func (s *set) values() Values {
	v := Values{Values: make([]Value, 0, len(s.list)), Open: s.open, Overflow: s.overflow}
	for i := range s.list {
		e := &s.list[i]
		v.Values = append(v.Values, Value{e.value, e.windows, timeOf(e.first), timeOf(e.last)})
	}
	slices.SortFunc(v.Values, func(a, b Value) int {
		return cmp.Or(cmp.Compare(b.Windows, a.Windows), cmp.Compare(a.Value, b.Value))
	})
	return v
}

func timeOf(window int32) time.Time {
	return time.Unix(int64(window)*int64(windowLength/time.Second), 0).UTC()
}

// fromMonday turns the week: Unix time began on a Thursday.
func (s *season) fromMonday() (out [hoursPerWeek]float32) {
	for i := range out {
		from := (i + 4*hoursPerDay) % hoursPerWeek
		if out[i] = -1; s.weeks[from] > 0 {
			out[i] = s.cell[from]
		}
	}
	return out
}
