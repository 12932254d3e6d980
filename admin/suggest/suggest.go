package suggest

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// Order of suggested policies: after those of the default, 1000, which so decide as before.
const Order = 10_000

// Options say what to suggest. The zero value suggests for every workload, without knowing
// labels: give Set or Labels.
type Options struct {
	// Workloads are NAMESPACE/NAME; empty is all that have flows.
	Workloads []string
	// MinCount leaves out flows with fewer decisions. 0 leaves out none.
	MinCount uint64
	// Mode of the policies; empty is Audit.
	Mode api.Mode
	// Set is what is in force. It gives the labels and service accounts of workloads, the ports
	// of listeners and what else a selector picks. It may be nil, and has to be without errors.
	Set *api.Set
	// Labels that select a workload, NAMESPACE/NAME; nil or empty for none. They go before those
	// of Set.
	Labels func(workload string) map[string]string
	// ServiceAccounts names peers by the account that Account gives, NAMESPACE/NAME, and by labels
	// only where it gives none. A nil Account takes those of Set.
	ServiceAccounts bool
	Account         func(workload string) string
	// Siblings is how many names below one parent stay apart; more become a wildcard. Default 16.
	Siblings int
	// Addresses is how many addresses of one workload and direction stay apart; more become ranges,
	// at most that many. Default 64.
	Addresses int
	// Paths is how many paths stay apart that one peer asks one port for with one method; more become
	// prefixes. Default 64.
	Paths int
}

// Suggestion is a policy for one workload and direction.
type Suggestion struct {
	Workload  string           `json:"workload"`
	Direction policy.Direction `json:"direction"`
	// Policy is nil where nothing could be suggested; Left says why.
	Policy *api.AccessPolicy `json:"policy,omitempty"`
	// YAML is the policy with comments; [api.Parse] reads it without a warning.
	YAML string `json:"yaml,omitempty"`
	// Rules explain those of the policy, in their order.
	Rules []Rule `json:"rules,omitempty"`
	// Left are the flows that were left out.
	Left []Left `json:"left,omitempty"`
	// Notes are what to look at before it is used.
	Notes []string `json:"notes,omitempty"`
}

// Rule explains one rule: which flows it covers, and what it allows beyond them.
type Rule struct {
	Name      string    `json:"name"`
	Flows     int       `json:"flows"`
	Decisions uint64    `json:"decisions"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	// IDs of the flows; at most 32.
	IDs         []string      `json:"ids,omitempty"`
	Generalised []Generalised `json:"generalised,omitempty"`
}

// Kinds of what a rule allows beyond what was seen.
const (
	AnyPeer     = "any-peer"
	AnyPort     = "any-port"
	AnyMethod   = "any-method"
	AnyPath     = "any-path"
	AnyProtocol = "any-protocol" // HTTP and everything else, at the ports of the rule
	ByTemplate  = "template"
	ByPrefix    = "prefix"
	ByRange     = "range"
	ByWildcard  = "wildcard"
	BySelector  = "selector"
	// Together: each peer of the rule may do what any of them did.
	Together = "together"
)

// Generalised is one way in which a rule allows more than was seen.
type Generalised struct {
	Kind string `json:"kind"`
	// Value as it stands in the rule: a template, a prefix, a range, a wildcard; empty for others.
	Value string `json:"value,omitempty"`
	// Words for the person who reviews it.
	Words string `json:"words"`
}

// Left are flows that were left out for one reason.
type Left struct {
	Why       string `json:"why"`
	Flows     int    `json:"flows"`
	Decisions uint64 `json:"decisions"`
}

// Bounds and defaults.
const (
	defaultSiblings  = 16
	defaultAddresses = 64
	defaultPaths     = 64
	maxIDs           = 32
	maxRules         = 512 // of a policy, see package api
	maxPorts         = 256
	maxMethods       = 64
	maxPeers         = 512
	maxMatches       = 1000
	maxNamed         = 8 // things that a sentence lists
)

// Why flows are left out.
const (
	leftDenied   = "denied"
	leftAlert    = "a threat feed alerts about it"
	leftResolver = "a question to the resolver, which no policy decides"
	leftService  = "decided by the authorization service, which asks no policy"
	leftSeldom   = "seen too seldom"
	leftNobody   = "the peer has neither labels, nor a name, nor an address"
)

// Policies suggests policies for the flows, sorted by workload and direction. The flows are
// read only; their order does not matter.
func Policies(recorded []flows.Flow, opt Options) ([]Suggestion, error) {
	k, err := newKnown(&opt)
	if err != nil {
		return nil, err
	}
	opt.Mode = cmp.Or(opt.Mode, api.ModeAudit)
	opt.Siblings, opt.Addresses, opt.Paths = positive(opt.Siblings, defaultSiblings), positive(opt.Addresses, defaultAddresses), positive(opt.Paths, defaultPaths)
	type subject struct {
		workload  string
		direction policy.Direction
	}
	by := map[subject][]*flows.Flow{}
	for i := range recorded {
		f := &recorded[i]
		if f.Workload == "" || f.Direction != policy.Ingress && f.Direction != policy.Egress ||
			len(opt.Workloads) > 0 && !slices.Contains(opt.Workloads, f.Workload) {
			continue
		}
		s := subject{f.Workload, f.Direction}
		by[s] = append(by[s], f)
	}
	subjects := slices.SortedFunc(maps.Keys(by), func(a, b subject) int {
		return cmp.Or(strings.Compare(a.workload, b.workload), -strings.Compare(string(a.direction), string(b.direction)))
	})
	out := make([]Suggestion, 0, len(subjects))
	for _, s := range subjects {
		out = append(out, suggest(k, &opt, s.workload, s.direction, by[s]))
	}
	return out, nil
}

func positive(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// suggest is the suggestion for one workload and direction.
func suggest(k *known, opt *Options, workload string, d policy.Direction, fs []*flows.Flow) Suggestion {
	s := Suggestion{Workload: workload, Direction: d}
	left := map[string]*Left{}
	leave := func(why string, count uint64) {
		if left[why] == nil {
			left[why] = &Left{Why: why}
		}
		left[why].Flows++
		left[why].Decisions = plus(left[why].Decisions, count)
	}
	var seen []seen
	var all cover
	for _, f := range fs {
		count := max(1, f.Count)
		if why := unfit(f, opt); why != "" {
			leave(why, count)
			continue
		}
		one, ok := k.seen(workload, f)
		if !ok {
			leave(leftNobody, count)
			continue
		}
		seen = append(seen, one)
		all.add(f)
	}
	labels := k.labels(workload)
	if len(seen) > 0 && len(labels) == 0 {
		for _, one := range seen {
			leave("nothing is known of the workload's labels, so that no policy could select it", max(1, one.flow.Count))
		}
		seen = nil
	}
	if len(seen) > 0 {
		s.write(k, opt, labels, seen, &all, leave)
	}
	for _, why := range slices.Sorted(maps.Keys(left)) {
		s.Left = append(s.Left, *left[why])
	}
	if s.Policy != nil {
		s.YAML = s.yaml(&all)
		if _, problems := api.Parse(s.Policy.Name+".yaml", []byte(s.YAML)); len(problems) > 0 {
			// A name that no policy may hold. Nothing is better than half a policy.
			s.Left = append(s.Left, Left{Why: "it cannot be written as a policy: " + problems[0].String(), Flows: all.flows, Decisions: all.decisions})
			s.Policy, s.Rules, s.YAML = nil, nil, ""
		}
	}
	return s
}

// unfit says why nothing is suggested for a flow; empty where something is.
func unfit(f *flows.Flow, opt *Options) string {
	switch {
	case f.From == decisions.DNS:
		return leftResolver
	case f.From == decisions.ExtAuthz:
		return leftService
	case f.Verdict != policy.Allowed:
		return leftDenied
	case f.Alert != decisions.Hit{} || f.Feed != decisions.Hit{}:
		return leftAlert
	case max(1, f.Count) < opt.MinCount:
		return leftSeldom
	}
	return ""
}

// cover is what of the flows something stands for.
type cover struct {
	flows       int
	decisions   uint64
	first, last time.Time
	ids         []string
}

func (c *cover) add(f *flows.Flow) {
	c.merge(&cover{1, max(1, f.Count), f.First, f.Last, []string{f.ID}})
}

func (c *cover) merge(o *cover) {
	c.flows += o.flows
	c.decisions = plus(c.decisions, o.decisions)
	if !o.first.IsZero() && (c.first.IsZero() || o.first.Before(c.first)) {
		c.first = o.first
	}
	if o.last.After(c.last) {
		c.last = o.last
	}
	for _, id := range o.ids {
		if len(c.ids) < maxIDs && id != "" {
			c.ids = append(c.ids, id)
		}
	}
}

func plus(a, b uint64) uint64 {
	if a+b < a {
		return 1<<64 - 1
	}
	return a + b
}
