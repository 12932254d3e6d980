package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows/history"
	"pavise.dev/pavise/api"
)

// latelyFlags say for how long flows are kept, and how anomalies are looked for.
type latelyFlags struct {
	history                      time.Duration
	historyMiB                   int64
	learning, sensitivity, muted string
}

func (l *latelyFlags) register(f *pflag.FlagSet) {
	f.DurationVar(&l.history, "flows-history", 0, "how long flows are kept in a file of the state directory, such as 168h; 0 keeps those of the last hour in memory only")
	f.Int64Var(&l.historyMiB, "flows-history-size", 64, "most of that file, in MiB, 4 to 65536; what is oldest goes first")
	f.StringVar(&l.learning, "anomaly-learning", "", "how long a workload's traffic is learnt before anything is said of it, 2h to 744h; default 24h")
	f.StringVar(&l.sensitivity, "anomaly-sensitivity", "", "low doubles the thresholds, high halves them; default normal")
	f.StringVar(&l.muted, "anomaly-mute", "", "kinds of anomalies to keep silent about, each for a peer or name or not: \"rate, new-peer:10.*\"")
}

// settings are those of every workload.
func (l *latelyFlags) settings() (s api.AnomalySettings, err error) {
	for _, x := range []struct{ key, text string }{{"learning", l.learning}, {"sensitivity", l.sensitivity}, {"mute", l.muted}} {
		if x.text == "" {
			continue
		}
		if serr := s.Set(x.key, x.text); serr != nil {
			err = errors.Join(err, fmt.Errorf("--anomaly-%s: %w", x.key, serr))
		}
	}
	return s, err
}

// check says which flag cannot be taken.
func (l *latelyFlags) check() error {
	_, err := l.settings()
	if l.history < 0 || l.history > 0 && l.history < time.Hour || l.history > 366*24*time.Hour {
		err = errors.Join(err, fmt.Errorf("--flows-history %s: it is from 1h to 8784h, or 0 for none", l.history))
	}
	if l.historyMiB < 4 || l.historyMiB > 65536 {
		err = errors.Join(err, fmt.Errorf("--flows-history-size %d: it is from 4 to 65536 MiB", l.historyMiB))
	}
	if err != nil {
		return &exitError{exitUsage, err}
	}
	return nil
}

// open is newLately with what the flags say.
func (l *latelyFlags) open(state string, bytes int, who *directory, log *slog.Logger) (*lately, error) {
	s, err := l.settings()
	if err != nil {
		return nil, err
	}
	out, err := newLately(state, bytes, who, anomaly.Config{
		Learning: s.Learning, Sensitivity: anomaly.Sensitivity(s.Sensitivity), Mutes: mutesOf("*", s.Mutes),
	}, log)
	if err != nil || l.history == 0 {
		return out, err
	}
	if err := privateDir("state", state); err != nil {
		return nil, err
	}
	out.history, err = history.Open(history.Config{
		Path: filepath.Join(state, "flows.db"), MaxBytes: l.historyMiB << 20, MaxAge: l.history, Log: log,
	})
	return out, err
}

// mutesOf are the mutes of a workload. A glob is for the peer or for the name.
func mutesOf(workload string, in []api.AnomalyMute) (out []anomaly.Mute) {
	for _, m := range in {
		kind := anomaly.Kind(m.Kind)
		if m.Glob == "" {
			out = append(out, anomaly.Mute{Workload: workload, Kind: kind})
			continue
		}
		out = append(out, anomaly.Mute{Workload: workload, Kind: kind, Peer: m.Glob}, anomaly.Mute{Workload: workload, Kind: kind, Name: m.Glob})
	}
	return out
}

// set takes over what the workloads of a folder say of themselves. What is usual stays learnt.
func (l *lately) set(workloads []*api.Workload) {
	var overrides []anomaly.Override
	mutes := slices.Clone(l.mutes)
	for _, w := range workloads {
		s, key := w.Anomalies(), w.Namespace+"/"+w.Name
		if s.Learning != 0 || s.Sensitivity != "" {
			overrides = append(overrides, anomaly.Override{Workload: key, Learning: s.Learning, Sensitivity: anomaly.Sensitivity(s.Sensitivity)})
		}
		mutes = append(mutes, mutesOf(key, s.Mutes)...)
	}
	if err := errors.Join(l.anomalies.SetOverrides(overrides), l.anomalies.SetMutes(mutes)); err != nil {
		l.log.Error("what workloads say about anomalies could not be taken as a whole", "error", err)
	}
}

// kept is the history; nil where there is none.
func (l *lately) kept() admin.FlowHistory {
	if l.history == nil {
		return nil
	}
	return l.history
}
