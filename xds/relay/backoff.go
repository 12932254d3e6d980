package relay

import (
	"math/rand/v2"
	"time"
)

// steady is how long a stream has to live for its end to be no failure.
const steady = 30 * time.Second

// backoff says how long to wait before the next connection. The wait doubles, and half
// of it is chance, so that the sidecars that lost a control plane together do not come back
// together.
type backoff struct {
	min, max time.Duration
	failures int
}

// next is the wait after a stream that lived that long, 0 for one that never opened.
func (b *backoff) next(lived time.Duration) time.Duration {
	if lived >= steady {
		b.failures = 0
	}
	wait := b.min
	for range b.failures {
		if wait >= b.max {
			break // before the doubling overflows
		}
		wait *= 2
	}
	b.failures++
	wait = min(wait, b.max)
	return wait/2 + rand.N(wait/2+1) //nolint:gosec // chance, not a secret
}

// alarm is a timer that may be off.
type alarm struct{ timer *time.Timer }

func (a *alarm) set(d time.Duration) {
	if a.timer == nil {
		a.timer = time.NewTimer(d)
		return
	}
	a.timer.Reset(d)
}

func (a *alarm) off() {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}

// C is nil while the alarm is off.
func (a *alarm) C() <-chan time.Time {
	if a.timer == nil {
		return nil
	}
	return a.timer.C
}
