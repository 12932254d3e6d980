package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/servertls"
	"pavise.dev/pavise/policy"
)

// TestHistorySurvives: flows are in the file when the process ends, are there for the next one,
// and a second process at the same time is refused; a damaged file is moved aside.
func TestHistorySurvives(t *testing.T) {
	state, log := t.TempDir(), slog.New(slog.DiscardHandler)
	if err := os.Chmod(state, 0o700); err != nil {
		t.Fatal(err)
	}
	f := latelyFlags{history: 24 * time.Hour, historyMiB: 4}
	for round := range 2 {
		l, err := f.open(state, agentLatelyBytes, nil, log)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.open(state, agentLatelyBytes, nil, log); err == nil {
			t.Error("two processes have one file")
		}
		found, _, err := l.kept().Query(flows.Filter{}, "", 10)
		if err != nil || len(found) != round {
			t.Fatalf("round %d: %d flows, %v", round, len(found), err)
		}
		l.add(&decisions.Record{Workload: "shop/web", Direction: policy.Ingress, Verdict: policy.Denied, Reason: "default-deny", Time: time.Now()})
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := l.run(ctx); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(state, "flows.db")
	if err := os.WriteFile(path, []byte("no database, but long enough to be looked at"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := f.open(state, agentLatelyBytes, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Error(err)
	}
	if err := l.history.Close(); err != nil {
		t.Error(err)
	}
	if l, err := newLately(state, agentLatelyBytes, nil, anomaly.Config{}, log); err != nil || l.kept() != nil {
		t.Errorf("without the flag: %v, %v", l.kept(), err)
	}
}

// TestSettingsOfWorkloads: flags are for all, annotations for one, and a folder that is loaded
// again without them takes them back.
func TestSettingsOfWorkloads(t *testing.T) {
	f := latelyFlags{historyMiB: 64, learning: "3h", muted: "rate"}
	if err := f.check(); err != nil {
		t.Fatal(err)
	}
	l, err := f.open(t.TempDir(), agentLatelyBytes, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{"shop/web", "shop/api"} {
		l.add(&decisions.Record{Workload: w, Direction: policy.Ingress, Verdict: policy.Allowed, Time: time.Now()})
	}
	expect := func(workload, learning string, s anomaly.Sensitivity, mutes int) {
		t.Helper()
		b, _ := l.anomalies.Baseline(workload)
		if b.Learning != learning || b.Sensitivity != s || len(b.Mutes) != mutes {
			t.Errorf("%s: %s %s %v", workload, b.Learning, b.Sensitivity, b.Mutes)
		}
	}
	w := &api.Workload{}
	w.Namespace, w.Name = "shop", "web"
	w.Annotations = map[string]string{api.AnomalyPrefix + "sensitivity": "low", api.AnomalyPrefix + "learning": "48h", api.AnomalyPrefix + "mute": "scan, new-peer:10.*"}
	l.set([]*api.Workload{w})
	expect("shop/web", "48h0m0s", anomaly.Low, 4) // of all; scan; the peer, and the name
	expect("shop/api", "3h0m0s", anomaly.Normal, 1)
	l.set(nil)
	expect("shop/web", "3h0m0s", anomaly.Normal, 1)
}

// TestFlagsThatDoNotGoTogether are refused before anything is started.
func TestFlagsThatDoNotGoTogether(t *testing.T) {
	for name, err := range map[string]error{
		"a history of a minute":   (&latelyFlags{history: time.Minute, historyMiB: 64}).check(),
		"a file of 1 MiB":         (&latelyFlags{historyMiB: 1}).check(),
		"a learning time of 1 m":  (&latelyFlags{historyMiB: 64, learning: "1m"}).check(),
		"no kind":                 (&latelyFlags{historyMiB: 64, muted: "x"}).check(),
		"a key alone":             (&adminFlags{address: ":1", tls: servertls.Files{Key: "k"}}).check(),
		"clients without TLS":     (&adminFlags{address: ":1", tls: servertls.Files{ClientCA: "c"}}).check(),
		"profiles of no endpoint": (&adminFlags{address: "none", profile: true}).check(),
	} {
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := (&adminFlags{address: "none"}).check(); err != nil {
		t.Error(err)
	}
}
