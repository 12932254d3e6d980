package decisions

import (
	"fmt"
	"math"
	"testing"

	"pavise.dev/pavise/policy"
)

func TestSampleAllows(t *testing.T) {
	for _, c := range []struct {
		share   float64
		of      uint32 // what Sampled says
		written int    // of 10,000
	}{
		{0, 0, 0}, {1, 0, 10_000}, {0.5, 2, 5000}, {0.34, 3, 3334}, {0.01, 100, 100}, {0.001, 1000, 10}, {1e-12, math.MaxUint32, 1},
	} {
		m := &memory{}
		l := newLog(t, Options{SampleAllows: c.share, Repeats: -1, Outputs: []Output{{Name: "m", Sink: m, MaxRecords: 30_000, MaxOctets: 1 << 30}}})
		for i := range 10_000 {
			l.Add(allowed(i))
		}
		l.Add(denied(0))
		if err := start(l)(); err != nil {
			t.Error(err)
		}
		s := balanced(t, l)
		got := int(s.Outputs[0].Written.Allow)
		// In the last block, which is not over, it may be any place.
		if got != c.written && got != c.written-1 || s.Outputs[0].Written.Deny != 1 || s.SampledOut != uint64(10_000-got) {
			t.Errorf("%v: %d of 10,000 allows written, want %d: %+v", c.share, got, c.written, s)
		}
		for _, r := range m.records() {
			if of := map[policy.Verdict]uint32{policy.Allowed: c.of}[r.Verdict]; r.Sampled != of {
				t.Fatalf("%v: %s says it is one of %d, want %d", c.share, r.Verdict, r.Sampled, of)
			}
		}
	}
}

// TestSampleIsNotDeafToRhythm: with every n-th, a probe that comes as every n-th request
// would be all that is seen, or never be.
func TestSampleIsNotDeafToRhythm(t *testing.T) {
	m := &memory{}
	l := newLog(t, Options{SampleAllows: 0.1, Repeats: -1, Outputs: []Output{{Name: "m", Sink: m}}})
	for i := range 20_000 {
		r := allowed(0)
		r.Path = fmt.Sprint("/", i%10)
		l.Add(r)
	}
	if err := start(l)(); err != nil {
		t.Error(err)
	}
	seen := map[string]int{}
	for _, r := range m.records() {
		seen[r.Path]++
	}
	for i := range 10 {
		if n := seen[fmt.Sprint("/", i)]; n < 100 || n > 320 { // 200 in the middle
			t.Errorf("path %d is seen %d times of 2000: %v", i, n, seen)
		}
	}
}

func TestQuietListenerIsSeen(t *testing.T) {
	l := newLog(t, Options{SampleAllows: 0.001, Outputs: []Output{{Name: "m", Sink: &memory{}}}})
	for i := range 2 * mostSampled {
		r := allowed(i)
		r.Listener = fmt.Sprint("shop/web/", i)
		l.Add(r)
	}
	if n := len(l.sample.among); n > mostSampled+1 {
		t.Errorf("%d listeners are kept", n)
	}
	if s := balanced(t, l); s.Added.Allow-s.SampledOut < mostSampled {
		t.Errorf("%d of %d listeners are seen", s.Added.Allow-s.SampledOut, mostSampled)
	}
}
