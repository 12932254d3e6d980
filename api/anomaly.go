package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// AnomalyPrefix begins the annotations of a workload, and of a pod, that say how anomalies are
// looked for: pavise.dev/anomaly-learning, -sensitivity and -mute.
const AnomalyPrefix = "pavise.dev/anomaly-"

// AnomalyKeys are what may follow AnomalyPrefix, and the names that AnomalySettings.Set takes.
// The slice is not to be changed.
var AnomalyKeys = []string{"learning", "sensitivity", "mute"}

// Bounds of the settings, and their words.
const (
	LeastAnomalyLearning = 2 * time.Hour
	MostAnomalyLearning  = 31 * 24 * time.Hour
	mostAnomalyMutes     = 64
	mostAnomalyGlob      = 255 // octets
	mostAnomalyText      = 4096
)

var (
	anomalySensitivities = []string{"low", "normal", "high"}
	anomalyKinds         = []string{"new-peer", "new-name", "new-path", "scan", "denials", "beacon", "rate"}
)

// AnomalySettings are those of one workload. The zero value says nothing.
//
// +kubebuilder:object:generate=false
type AnomalySettings struct {
	// Learning is how long nothing is said; zero for the default.
	Learning time.Duration
	// Sensitivity is low, normal or high; empty for the default.
	Sensitivity string
	Mutes       []AnomalyMute
}

// AnomalyMute keeps anomalies of a kind from being shown.
//
// +kubebuilder:object:generate=false
type AnomalyMute struct {
	Kind string
	// Glob is for the peer or the name, in which * is any text; empty for all.
	Glob string
}

// Set takes one setting, by what follows AnomalyPrefix. It is the same text in an annotation and
// in a flag: 48h; low, normal or high; and kinds, each with a glob or not: "rate, new-peer:10.*".
// The error says what would be right.
func (s *AnomalySettings) Set(key, text string) error {
	if len(text) > mostAnomalyText {
		return fmt.Errorf("it has %d octets; at most %d", len(text), mostAnomalyText)
	}
	switch key {
	case "learning":
		d, err := time.ParseDuration(text)
		if err != nil || d < LeastAnomalyLearning || d > MostAnomalyLearning {
			return fmt.Errorf("%.40q is no time from %s to %s, such as 48h", text, LeastAnomalyLearning, MostAnomalyLearning)
		}
		s.Learning = d
	case "sensitivity":
		if !slices.Contains(anomalySensitivities, text) {
			return fmt.Errorf("%.40q is not one of %s", text, strings.Join(anomalySensitivities, ", "))
		}
		s.Sensitivity = text
	case "mute":
		mutes, err := anomalyMutes(text)
		if err != nil {
			return err
		}
		s.Mutes = mutes
	default:
		return fmt.Errorf("there is no such setting: there are %s", strings.Join(AnomalyKeys, ", "))
	}
	return nil
}

func anomalyMutes(text string) ([]AnomalyMute, error) {
	parts := strings.Split(text, ",")
	if len(parts) > mostAnomalyMutes {
		return nil, fmt.Errorf("there are %d kinds; at most %d", len(parts), mostAnomalyMutes)
	}
	var mutes []AnomalyMute
	for _, part := range parts {
		kind, glob, has := strings.Cut(strings.TrimSpace(part), ":")
		switch {
		case !slices.Contains(anomalyKinds, kind):
			return nil, fmt.Errorf("%.40q is no kind of anomaly: list some of %s", kind, strings.Join(anomalyKinds, ", "))
		case has && (glob == "" || len(glob) > mostAnomalyGlob || strings.ContainsAny(glob, " \t\n")):
			return nil, fmt.Errorf("%s: what follows the colon is a peer or a name of 1 to %d octets, in which * is any text", kind, mostAnomalyGlob)
		}
		mutes = append(mutes, AnomalyMute{kind, glob})
	}
	return mutes, nil
}

// Anomalies are the settings that a workload's annotations say. What is wrong among them is left
// out: Validate reports it.
func (w *Workload) Anomalies() (s AnomalySettings) {
	for key, text := range w.Annotations {
		if name, ok := strings.CutPrefix(key, AnomalyPrefix); ok {
			_ = s.Set(name, text)
		}
	}
	return s
}

func validateAnomalies(r *reporter, annotations map[string]string) {
	r.in("metadata")
	r.in("annotations")
	var s AnomalySettings
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		text := annotations[key]
		name, ok := strings.CutPrefix(key, AnomalyPrefix)
		if !ok {
			continue
		}
		if err := s.Set(name, text); err != nil {
			r.key(key)
			r.report(CodeAnomaly, "", "%s", err)
			r.out()
		}
	}
	r.out()
	r.out()
}
