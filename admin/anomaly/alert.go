package anomaly

import (
	"slices"
	"time"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// Kind of anomaly.
type Kind string

const (
	// NewPeer: a workload or address that was not met before.
	NewPeer Kind = "new-peer"
	// NewName: a host, server name or DNS question that was not met before.
	NewName Kind = "new-name"
	// NewPath: a path of a shape that was not met before.
	NewPath Kind = "new-path"
	// Scan: one source tries many unusual ports, paths, names or peers.
	Scan Kind = "scan"
	// Denials: many more denials than there are usually at this hour.
	Denials Kind = "denials"
	// Beacon: calls at regular intervals to one external destination that is new.
	Beacon Kind = "beacon"
	// Rate: many more or far fewer allowed requests than there are usually at this hour.
	Rate Kind = "rate"
)

// Kinds lists every kind.
var Kinds = []Kind{NewPeer, NewName, NewPath, Scan, Denials, Beacon, Rate}

func (k Kind) known() bool { return slices.Contains(Kinds, k) }

// Severity of an alert.
type Severity string

const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Severities lists every severity, the least first.
var Severities = []Severity{Info, Warning, Critical}

func (s Severity) rank() int { return slices.Index(Severities, s) }

// Evidence is a number that was seen, and what it is compared with.
type Evidence struct {
	// What it is, with its unit, in words.
	What string  `json:"what"`
	Seen float64 `json:"seen"`
	// Usual is the number of the baseline; Limit is where the alert begins.
	Usual float64 `json:"usual"`
	Limit float64 `json:"limit"`
}

// mostExamples is how many records an alert holds.
const mostExamples = 5

// Alert is something unusual. It is a plain value.
type Alert struct {
	// ID is stable while the process runs.
	ID        string           `json:"id"`
	Kind      Kind             `json:"kind"`
	Severity  Severity         `json:"severity"`
	Workload  string           `json:"workload"`
	Direction policy.Direction `json:"direction,omitempty"`
	// Peer, Name and Path are what it is about, as far as each applies. "*" stands for several
	// that were too many for an alert each.
	Peer string `json:"peer,omitempty"`
	Name string `json:"name,omitempty"`
	Path string `json:"path,omitempty"`
	// Of says of a scan what was tried (ports, paths, names or peers), of a rate up or down.
	Of string `json:"of,omitempty"`
	// Why is one sentence.
	Why      string     `json:"why"`
	Evidence []Evidence `json:"evidence,omitempty"`
	// First and Last are when it was met, and Count how often. It is the same alert
	// as long as it comes again within 24 h.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	Count uint64    `json:"count"`
	// Examples are up to 5 decisions, the first ones.
	Examples []decisions.Record `json:"examples,omitempty"`
	// Command is a command line that looks closer.
	Command string `json:"command"`
}

// subject is what makes alerts the same.
type subject struct {
	kind                                      Kind
	workload, direction, peer, name, path, of string
}

func (a *Alert) subject() subject {
	return subject{a.Kind, a.Workload, string(a.Direction), a.Peer, a.Name, a.Path, a.Of}
}

// copyOut returns a copy that shares nothing that changes, with its command: in a flood, an
// alert is met far more often than it is read.
func (a *Alert) copyOut() Alert {
	c := *a
	c.Evidence = slices.Clone(a.Evidence)
	c.Examples = slices.Clone(a.Examples)
	c.Command = closer(a)
	return c
}

const alertBytes = 900 // an alert without its texts, and its places in lists

func (a *Alert) bytes() int {
	n := alertBytes + len(a.Workload) + len(a.Peer) + len(a.Name) + len(a.Path) + len(a.Why)
	for i := range a.Examples {
		n += recordBytes(&a.Examples[i])
	}
	return n
}

// recordBytes is about how much a bounded record holds: its long texts by their length, the
// others by their bounds.
func recordBytes(r *decisions.Record) int {
	return 1024 + len(r.Workload) + len(r.Listener) + len(r.Reason) + len(r.Policy) + len(r.Rule) + len(r.AuditReason) +
		len(r.Host) + len(r.ServerName) + len(r.Path) + len(r.Names) + len(r.Headers) + len(r.Query) + len(r.Question.Name) + len(r.Feed.Entry) + len(r.Alert.Entry) +
		len(r.RequestID) + len(r.Detail)
}
