package anomaly

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// raceDetector says that the race detector is on.
var raceDetector bool

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock that tests turn.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = t
}

func everything(t testing.TB, d *Detector) []Alert {
	t.Helper()
	var out []Alert
	for cursor := ""; ; {
		p, err := d.Alerts(Filter{}, cursor, MostPage)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p.Alerts...)
		if cursor = p.Next; cursor == "" {
			return out
		}
	}
}

// measure runs four weeks of traffic through a detector.
func measure(t testing.TB, seed uint64, s Sensitivity, into map[Kind]score) (wrong []Alert, missed []*label) {
	tr := newTraffic(seed, 27)
	c := &clock{t: tr.start}
	d, err := New(Config{
		Now: c.now, Sensitivity: s,
		Resolve: func(a netip.Addr) (string, bool) { w, ok := tr.pods[a]; return w, ok },
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range tr.slots() {
		c.set(tr.at(n))
		d.Tick()
		for _, r := range tr.slot(n) {
			c.set(r.Time)
			d.Observe(&r)
		}
	}
	if st := d.Stats(); st.Evicted > 0 || st.Unwatched > 0 {
		t.Fatalf("seed %d: %+v", seed, st)
	}
	wrong = compare(everything(t, d), tr.labels, into)
	for _, l := range tr.labels {
		if !l.derived && !l.found {
			missed = append(missed, l)
		}
	}
	return wrong, missed
}

// The numbers that the package comment promises, on traffic with labels: of what is alerted
// on, how much is right, and of what is there, how much is found.
func TestMeasured(t *testing.T) {
	if raceDetector {
		t.Skip("one goroutine for each seed shares nothing, and the race detector takes ten times as long")
	}
	const seeds = 10
	var mu sync.Mutex
	total := map[Kind]score{}
	var wg sync.WaitGroup
	limit := make(chan struct{}, 2)
	for seed := range uint64(seeds) {
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			own := map[Kind]score{}
			wrong, missed := measure(t, seed, Normal, own)
			mu.Lock()
			defer mu.Unlock()
			for k, s := range own {
				sum := total[k]
				total[k] = score{sum.alerts + s.alerts, sum.right + s.right, sum.labels + s.labels, sum.found + s.found}
			}
			for _, a := range wrong {
				t.Logf("seed %d, wrong: %s %s %s%s%s%s %s: %s", seed, a.Kind, a.Workload, a.Peer, a.Name, a.Path, a.Of, a.First.Format("02 15:04"), a.Why)
			}
			for _, l := range missed {
				t.Logf("seed %d, missed: %s %s %s from %s", seed, l.kind, l.workload, l.of, l.from.Format("02 15:04"))
			}
		})
	}
	wg.Wait()
	line := "RESULT anomalies"
	for _, k := range Kinds {
		s := total[k]
		t.Logf("%-9s %4d alerts, precision %.3f; %4d labels, recall %.3f", k, s.alerts, s.precision(), s.labels, s.recall())
		line += fmt.Sprintf(" %s=%.3f/%.3f", k, s.precision(), s.recall())
		if s.labels < 2*seeds {
			t.Errorf("%s: %d labels prove nothing", k, s.labels)
		}
		if s.precision() < 0.9 || s.recall() < 0.9 {
			t.Errorf("%s: precision %.3f and recall %.3f; at least 0.9 each", k, s.precision(), s.recall())
		}
	}
	t.Log(strings.TrimSpace(line))
}
