package simulate

import (
	"time"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// Bounds of a run.
const (
	// MaxFlows is how many flows one run takes.
	MaxFlows = 100_000
	// DefaultList is how many items each list of a Result has at most, by default.
	DefaultList = 1000
)

// Options of a run. The zero value is ready.
type Options struct {
	// Removed are objects that the proposal takes away, as KIND NAMESPACE/NAME or KIND NAME.
	Removed []string
	// Enforce takes the proposed policies as if their mode were Enforce, which says what
	// it would do to enforce what is audited.
	Enforce bool
	// Presume takes the host or server name of a redirected connection for the name that its
	// destination was resolved from, which records do not say. Without it, rules by domain
	// leave such flows uncertain.
	Presume bool
	// List bounds each list of the result; the counts are of everything. 0 is DefaultList.
	List int
}

// Tally counts flows and the decisions in them.
type Tally struct {
	Flows     int    `json:"flows"`
	Decisions uint64 `json:"decisions"`
}

func (t *Tally) add(decisions uint64) {
	t.Flows++
	if t.Decisions += decisions; t.Decisions < decisions {
		t.Decisions = 1<<64 - 1
	}
}

// Counts say what becomes of the flows of a workload. Each flow is in exactly one of
// Unchanged, Denied, Allowed, Reason and Uncertain.
type Counts struct {
	// Workload is NAMESPACE/NAME, empty in the total.
	Workload  string `json:"workload,omitempty"`
	All       Tally  `json:"all"`
	Unchanged Tally  `json:"unchanged"`
	// Denied were allowed and would be denied; Allowed the other way round.
	Denied  Tally `json:"denied"`
	Allowed Tally `json:"allowed"`
	// Reason have the same verdict for another reason.
	Reason    Tally `json:"reason"`
	Uncertain Tally `json:"uncertain"`
	// Outdated are those among them of which the record is not what the current set decides:
	// they were recorded under other policies. Current and proposed set are compared all
	// the same.
	Outdated Tally `json:"outdated"`
	// Fixed are those among them that no policy decides: feeds do, or the form of the request.
	Fixed Tally `json:"fixed"`
}

// Outcome is what a set decides.
type Outcome struct {
	Verdict policy.Verdict `json:"verdict"`
	Reason  string         `json:"reason"`
	// Field is where the rule stands in its policy, where one decided.
	Field string `json:"field,omitempty"`
}

// Brief is what a list says of a flow.
type Brief struct {
	ID string `json:"id,omitempty"`
	flows.Key
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	Count uint64    `json:"count"`
}

// Change is a flow that would be decided otherwise.
type Change struct {
	Flow   Brief   `json:"flow"`
	Before Outcome `json:"before"`
	After  Outcome `json:"after"`
	// Outdated says that the record is not what the current set decides.
	Outdated bool `json:"outdated,omitempty"`
}

// Ask is a rule that asked for something that was not recorded.
type Ask struct {
	Rule string `json:"rule"`
	What string `json:"what"`
}

// Uncertain is a flow of which the record does not say enough.
type Uncertain struct {
	Flow Brief `json:"flow"`
	// Why in words.
	Why string `json:"why"`
	// Asked are the rules that the verdict depends on; at most 8.
	Asked []Ask `json:"asked,omitempty"`
	// Before and After are what either set may decide.
	Before   []Outcome `json:"before,omitempty"`
	After    []Outcome `json:"after,omitempty"`
	Outdated bool      `json:"outdated,omitempty"`
}

// Result of a run.
type Result struct {
	// Before and After are the digests of both models.
	Before string `json:"before"`
	After  string `json:"after,omitempty"`
	// Problems of the proposed set. Refused says that there are errors among them, and
	// nothing was simulated.
	Problems []api.Problem `json:"problems,omitempty"`
	Refused  bool          `json:"refused,omitempty"`
	// Feeds are threat feeds that the proposal adds, changes or removes. What they list is not
	// simulated.
	Feeds []string `json:"feeds,omitempty"`

	Total     Counts   `json:"total"`
	Workloads []Counts `json:"workloads,omitempty"` // sorted by name
	// Changes are verdicts, the most decisions first, and Reasons those with the same verdict.
	Changes   []Change    `json:"changes,omitempty"`
	Reasons   []Change    `json:"reasons,omitempty"`
	Uncertain []Uncertain `json:"uncertain,omitempty"`
	// LeftOff is how many items the lists would have beyond their bound.
	LeftOff int `json:"leftOff,omitempty"`
}

// InputError is a proposal that cannot be simulated as it stands.
type InputError struct{ Message string }

func (e *InputError) Error() string { return e.Message }
