package anomaly

import (
	"fmt"
	"testing"
	"time"
)

// A flood of other new destinations takes the place of no beacon.
func TestBeaconUnderFlood(t *testing.T) {
	l := newLab(t, Config{})
	l.learn()
	for i := range 12 {
		from := 25*time.Hour + time.Duration(i)*10*time.Minute
		l.at(from)
		l.out("beat.c2.example")
		for k := range 200 {
			l.at(from + time.Duration(k)*time.Second)
			l.out(fmt.Sprintf("d%dx%d.example", i, k))
		}
	}
	found := false
	for _, a := range everything(t, l.Detector) {
		found = found || a.Kind == Beacon && a.Name == "c2.example"
	}
	if !found {
		t.Errorf("%s", l.kinds())
	}
	if l.Stats().Overflow == 0 {
		t.Error("what found no place is not counted")
	}
}

// The bounds of regularity, on intervals that are given.
func TestRegular(t *testing.T) {
	calls := func(n int, gap func(i int) float64) *dest {
		d, at := &dest{}, 0.0
		for i := range n {
			d.calls = append(d.calls, int64(at*1000))
			at += gap(i)
		}
		d.total = uint64(n)
		return d
	}
	swing := func(base, by float64) func(int) float64 {
		return func(i int) float64 { return base + by*float64(i%3-1) }
	}
	for _, c := range []struct {
		name string
		d    *dest
		want bool
	}{
		{"eight intervals", calls(9, swing(60, 5)), true},
		{"seven intervals", calls(8, swing(60, 0)), false},
		{"few and uneven", calls(9, swing(60, 20)), false},
		{"many and as uneven", calls(30, swing(60, 20)), true},
		{"missed beats", calls(40, func(i int) float64 { return 60 + float64(i%10/9*60) }), true},
		{"growing apart", calls(20, func(i int) float64 { return 60 * float64(int(1)<<i) }), false},
		{"at once", calls(20, swing(0, 0)), false},
	} {
		if r, ok := c.d.judge(1); ok != c.want {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}
