package anomaly

import (
	"slices"
	"sync"
	"testing"
	"time"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// TestWordsOfSettings: annotations know the kinds, sensitivities and bounds that the detector has.
func TestWordsOfSettings(t *testing.T) {
	for _, k := range Kinds {
		var s api.AnomalySettings
		if err := s.Set("mute", string(k)+":10.*"); err != nil || len(s.Mutes) != 1 || s.Mutes[0] != (api.AnomalyMute{Kind: string(k), Glob: "10.*"}) {
			t.Errorf("%s: %v %v", k, s, err)
		}
	}
	for _, v := range []Sensitivity{Low, Normal, High} {
		var s api.AnomalySettings
		if err := s.Set("sensitivity", string(v)); err != nil {
			t.Error(err)
		}
	}
	if api.LeastAnomalyLearning != leastLearning || api.MostAnomalyLearning != mostLearning {
		t.Error("other bounds of the learning time")
	}
}

// TestSetOverrides: settings change while traffic comes, what was learned stays, and a longer
// learning time silences a workload that is younger.
func TestSetOverrides(t *testing.T) {
	now := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	d, err := New(Config{Learning: 2 * time.Hour, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	see := func() {
		d.Observe(&decisions.Record{Workload: "shop/web", Direction: policy.Ingress, Verdict: policy.Allowed, Source: "192.0.2.1:1", Destination: "192.0.2.2:80", Time: clock()})
	}
	see()
	for range 3 * 6 {
		mu.Lock()
		now = now.Add(windowLength)
		mu.Unlock()
		see()
	}
	b, _ := d.Baseline("shop/web")
	if !b.Learned || b.Learning != "2h0m0s" || b.Sensitivity != Normal || len(b.Sides[0].Peers.Values) != 1 {
		t.Fatalf("before: %+v", b)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			see()
		}
	}()
	if err := d.SetMutes([]Mute{{Workload: "shop/*", Kind: Rate}, {Workload: "other/*"}}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := d.SetOverrides([]Override{{Workload: "shop/*", Learning: 48 * time.Hour, Sensitivity: High}}); err != nil {
			t.Fatal(err)
		}
	}
	<-done
	b, _ = d.Baseline("shop/web")
	if b.Learned || b.Learning != "48h0m0s" || b.Sensitivity != High || len(b.Sides[0].Peers.Values) != 1 || !slices.Equal(b.Mutes, []Mute{{Workload: "shop/*", Kind: Rate}}) {
		t.Errorf("after: %+v", b)
	}
	if err := d.SetOverrides([]Override{{Workload: "x", Learning: time.Minute}}); err == nil {
		t.Error("a minute is taken")
	}
	if err := d.SetOverrides(nil); err != nil {
		t.Fatal(err)
	}
	see()
	if b, _ = d.Baseline("shop/web"); !b.Learned || b.Sensitivity != Normal {
		t.Errorf("back: %+v", b)
	}
}
