package anomaly

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Sensitivity scales every threshold of the table in the package comment.
type Sensitivity string

const (
	// Low doubles thresholds, Normal takes them as they are, High halves them.
	Low    Sensitivity = "low"
	Normal Sensitivity = "normal"
	High   Sensitivity = "high"
)

// factor multiplies a threshold.
func (s Sensitivity) factor() float64 {
	switch s {
	case Low:
		return 2
	case High:
		return 0.5
	}
	return 1
}

const (
	defaultLearning = 24 * time.Hour
	leastLearning   = 2 * time.Hour // a first and a second half of six windows each
	mostLearning    = 31 * 24 * time.Hour
	defaultBytes    = 32 << 20
	leastBytes      = 1 << 20
	mostRules       = 1024 // mutes, and overrides
)

// Config of a Detector. The zero value is usable.
type Config struct {
	// Learning is how long nothing is alerted on for a workload that was not met before.
	// Default 24 h, at least 2 h, at most 31 days.
	Learning time.Duration
	// Sensitivity is Normal by default.
	Sensitivity Sensitivity
	// Overrides say otherwise for some workloads; the first that matches holds. At most 1024.
	Overrides []Override
	// Mutes are for what is known and meant. At most 1024.
	Mutes []Mute
	// MaxBytes bounds what is held: three quarters for baselines, a quarter for alerts.
	// Default 32 MiB, at least 1 MiB.
	MaxBytes int
	// Resolve names the workload (NAMESPACE/NAME) that has an address. It is called without
	// any lock held, maybe concurrently. nil knows none.
	Resolve func(netip.Addr) (workload string, ok bool)
	// Inside are domains that are no external destinations. Default cluster.local.
	Inside []string
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Override is for the workloads that a glob matches.
type Override struct {
	// Workload is a glob for NAMESPACE/NAME; * stands for any text, / included.
	Workload string
	// Learning and Sensitivity replace those of Config unless they are zero.
	Learning    time.Duration
	Sensitivity Sensitivity
}

// Mute keeps alerts from being raised. Every condition that is not empty has to hold. What is
// muted is learned all the same, and counted in Stats.
type Mute struct {
	// Workload, Peer and Name are globs; * stands for any text, / included.
	Workload string `json:"workload,omitempty"`
	Kind     Kind   `json:"kind,omitempty"`
	Peer     string `json:"peer,omitempty"`
	Name     string `json:"name,omitempty"`
	// Until is when it ends; zero is never.
	Until time.Time `json:"until,omitzero"`
}

func (m *Mute) mutes(a *Alert, now time.Time) bool {
	return (m.Until.IsZero() || now.Before(m.Until)) &&
		(m.Kind == "" || m.Kind == a.Kind) &&
		(m.Workload == "" || glob(m.Workload, a.Workload)) &&
		(m.Peer == "" || glob(m.Peer, a.Peer)) &&
		(m.Name == "" || glob(m.Name, a.Name))
}

func checkMutes(mutes []Mute) error {
	if len(mutes) > mostRules {
		return fmt.Errorf("anomaly: %d mutes; at most %d", len(mutes), mostRules)
	}
	for i := range mutes {
		m := &mutes[i]
		if m.Kind != "" && !m.Kind.known() {
			return fmt.Errorf("anomaly: mutes[%d].kind is %q; it is one of %v", i, m.Kind, Kinds)
		}
		if *m == (Mute{Until: m.Until}) {
			return fmt.Errorf("anomaly: mutes[%d] says nothing of what it mutes; workload * is every workload", i)
		}
		for _, g := range []string{m.Workload, m.Peer, m.Name} {
			if len(g) > mostText {
				return fmt.Errorf("anomaly: mutes[%d] has a glob of %d octets; at most %d", i, len(g), mostText)
			}
		}
	}
	return nil
}

func checkLearning(where string, d time.Duration) error {
	if d < leastLearning || d > mostLearning {
		return fmt.Errorf("anomaly: %s is %s; it is from %s to %s", where, d, leastLearning, mostLearning)
	}
	return nil
}

func checkSensitivity(where string, s Sensitivity) error {
	switch s {
	case Low, Normal, High:
		return nil
	}
	return fmt.Errorf("anomaly: %s is %q; it is %s, %s or %s", where, s, Low, Normal, High)
}

// complete sets defaults and says what is wrong.
func (c *Config) complete() error {
	if c.Learning == 0 {
		c.Learning = defaultLearning
	}
	if c.Sensitivity == "" {
		c.Sensitivity = Normal
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultBytes
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Inside == nil {
		c.Inside = []string{"cluster.local"}
	}
	if err := checkLearning("learning", c.Learning); err != nil {
		return err
	}
	if err := checkSensitivity("sensitivity", c.Sensitivity); err != nil {
		return err
	}
	if c.MaxBytes < leastBytes {
		return fmt.Errorf("anomaly: maxBytes is %d; at least %d", c.MaxBytes, leastBytes)
	}
	return errors.Join(checkOverrides(c.Overrides), checkMutes(c.Mutes))
}

func checkOverrides(overrides []Override) error {
	if len(overrides) > mostRules {
		return fmt.Errorf("anomaly: %d overrides; at most %d", len(overrides), mostRules)
	}
	for i, o := range overrides {
		if o.Workload == "" || len(o.Workload) > mostText {
			return fmt.Errorf("anomaly: overrides[%d].workload has %d octets; it is a glob of 1 to %d", i, len(o.Workload), mostText)
		}
		if o.Learning != 0 {
			if err := checkLearning(fmt.Sprintf("overrides[%d].learning", i), o.Learning); err != nil {
				return err
			}
		}
		if o.Sensitivity != "" {
			if err := checkSensitivity(fmt.Sprintf("overrides[%d].sensitivity", i), o.Sensitivity); err != nil {
				return err
			}
		}
	}
	return nil
}

// SetOverrides replaces the overrides. What was learned stays. A workload whose learning time
// is longer now than it is known for is learning again.
func (d *Detector) SetOverrides(overrides []Override) error {
	if err := checkOverrides(overrides); err != nil {
		return err
	}
	overrides = slices.Clone(overrides)
	d.overrides.Store(&overrides)
	now := d.config.Now()
	for i := range d.shards {
		sh := &d.shards[i]
		sh.mu.Lock()
		for _, w := range sh.workloads {
			d.settle(w)
			w.forgive(now)
		}
		sh.mu.Unlock()
	}
	return nil
}

// settle gives a workload the settings that hold for it. Who calls it has its shard, or has it
// alone.
func (d *Detector) settle(w *workload) {
	var s Sensitivity
	w.learning, s = d.of(w.name)
	w.factor = s.factor()
}

// forgive has a workload learn again whose learning time has become longer.
func (w *workload) forgive(now time.Time) {
	if w.learned && now.Before(w.since.Add(w.learning)) {
		w.learned = false
	}
}

// of returns what holds for a workload.
func (d *Detector) of(workload string) (time.Duration, Sensitivity) {
	learning, sensitivity := d.config.Learning, d.config.Sensitivity
	for _, o := range *d.overrides.Load() {
		if !glob(o.Workload, workload) {
			continue
		}
		if o.Learning != 0 {
			learning = o.Learning
		}
		if o.Sensitivity != "" {
			sensitivity = o.Sensitivity
		}
		break
	}
	return learning, sensitivity
}

// glob says whether a text matches a pattern in which * stands for any text. It takes at
// most len(pattern)*len(s) steps.
func glob(pattern, s string) bool {
	p, i, star, from := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
