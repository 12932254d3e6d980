package envoy

import (
	"math/rand/v2"
	"time"
)

// Backoff says how long to wait before Envoy is started again. The wait doubles
// with every exit and has a fifth of jitter either way, so that the sidecars of
// a node that broke together do not come back together.
type Backoff struct {
	Min   time.Duration // the first wait; 100 ms when 0
	Max   time.Duration // no wait is longer; 30 s when 0
	Reset time.Duration // an Envoy that lived this long starts the count anew; 60 s when 0

	exits  int
	random func() float64 // in [0,1); tests set it
}

func (b *Backoff) setDefaults() {
	if b.Min <= 0 {
		b.Min = 100 * time.Millisecond
	}
	if b.Max <= 0 {
		b.Max = 30 * time.Second
	}
	if b.Reset <= 0 {
		b.Reset = time.Minute
	}
	if b.random == nil {
		b.random = rand.Float64
	}
	b.exits = 0
}

// next returns the wait after an Envoy that lived for lived. Living counts, not
// being ready: an Envoy that waits for its control plane is not a broken Envoy.
func (b *Backoff) next(lived time.Duration) time.Duration {
	if lived >= b.Reset {
		b.exits = 0
	}
	wait := b.Min
	for range b.exits {
		if wait >= b.Max {
			break // before the doubling overflows
		}
		wait *= 2
	}
	b.exits++
	wait = min(wait, b.Max)
	wait += time.Duration((b.random() - 0.5) * 0.4 * float64(wait))
	return min(max(wait, b.Min), b.Max)
}
