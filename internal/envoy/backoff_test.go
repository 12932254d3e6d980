package envoy

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	const ms = time.Millisecond
	b := Backoff{random: func() float64 { return 0.5 }} // the middle: no jitter
	b.setDefaults()
	for i, want := range []time.Duration{
		100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms,
		12800 * ms, 25600 * ms, 30 * time.Second, 30 * time.Second,
	} {
		if got := b.next(59 * time.Second); got != want {
			t.Errorf("wait %d: %s, want %s", i, got, want)
		}
	}
	if got := b.next(time.Minute); got != 100*ms {
		t.Errorf("after a minute of life: %s", got)
	}
	if got := b.next(0); got != 200*ms {
		t.Errorf("and then: %s", got)
	}
}

func TestBackoffJitterStaysInBounds(t *testing.T) {
	var b Backoff
	b.setDefaults()
	differ := map[time.Duration]bool{}
	for i := range 1000 { // long enough to overflow a doubling without a stop
		wait := b.next(0)
		if wait < b.Min || wait > b.Max {
			t.Fatalf("wait %d: %s", i, wait)
		}
		differ[wait] = true
	}
	if len(differ) < 100 {
		t.Errorf("only %d different waits", len(differ))
	}
}
