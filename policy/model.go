package policy

import (
	"net/netip"
	"slices"
	"strings"
)

// Direction is the way traffic flows, seen from the workload.
type Direction string

const (
	Ingress Direction = "ingress"
	Egress  Direction = "egress"
)

// Tier is a stage of evaluation. Tiers are asked in the order of Tiers.
type Tier string

const (
	Admin     Tier = "admin"
	Namespace Tier = "namespace"
	Baseline  Tier = "baseline"
)

// Tiers is every tier in the order of evaluation.
var Tiers = []Tier{Admin, Namespace, Baseline}

// Action is what a matching rule does.
type Action string

const (
	Allow Action = "allow"
	Deny  Action = "deny"
	// Pass goes on with the next tier.
	Pass Action = "pass"
)

// Traffic is what a listener carries.
type Traffic string

const (
	HTTP  Traffic = "http"
	TCP   Traffic = "tcp"
	TLS   Traffic = "tls"
	Proxy Traffic = "proxy" // explicit forward proxy: absolute-form and CONNECT
	// Transparent is what is redirected: HTTP and TLS by their first bytes, and any other
	// TCP. Its destination is where the client connected to.
	Transparent Traffic = "transparent"
)

// Model is everything that was compiled, and its identity.
type Model struct {
	// Workloads are sorted by namespace and name.
	Workloads []*Workload
	// Digest is the SHA-256 of the meaning of the model, in hex, made of those of its
	// workloads: two sets of files that mean the same have the same digest.
	Digest string
}

// Workload returns the workload of that name, or nil.
func (m *Model) Workload(namespace, name string) *Workload {
	for _, w := range m.Workloads {
		if w.Namespace == namespace && w.Name == name {
			return w
		}
	}
	return nil
}

// Workload is one workload and its listeners.
type Workload struct {
	Namespace, Name string
	Addresses       []netip.Addr
	Listeners       []*Listener
	// FeedsClosed denies what threat feeds cannot be asked about.
	FeedsClosed bool
	// Policies are those that select the workload, in the order of evaluation, also where
	// they have no rules.
	Policies []PolicyRef

	digest string // see Digest; empty for a workload that was not compiled
}

// Key is NAMESPACE/NAME.
func (w *Workload) Key() string { return w.Namespace + "/" + w.Name }

// Listener is a place where traffic is decided.
type Listener struct {
	Name      string
	Direction Direction
	Traffic   Traffic
	Address   netip.AddrPort
	// Upstream is where allowed inbound traffic goes; zero for a proxy and for what is
	// transparent.
	Upstream netip.AddrPort
	Paths    PathOptions
	// Opaque are destination ports at which a transparent listener recognises nothing.
	Opaque []uint16
	// Program is shared by the listeners of one workload and direction.
	Program *Program
}

// PathOptions is what a workload says of paths that servers read in different ways.
type PathOptions struct {
	// UnescapeSlashes makes %2f and %5c slashes, for the policy and the workload.
	UnescapeSlashes bool
	// LiteralParameters takes a semicolon as a character like any other.
	LiteralParameters bool
}

// Program is the rules for one workload and direction.
type Program struct {
	Direction Direction
	// Rules are in the order of evaluation: by tier, then order, then policy.
	Rules []*Rule
	// Isolating names the namespace policies that select the workload: where there
	// are any, what they do not match is denied. Sorted.
	Isolating []PolicyRef
	// Auditing are the audited ones among them, not in Isolating.
	Auditing []PolicyRef
}

// HasAudit reports whether any audited policy selects the workload.
func (p *Program) HasAudit() bool {
	return len(p.Auditing) > 0 || slices.ContainsFunc(p.Rules, func(r *Rule) bool { return r.Audit })
}

// View selects which policies take part in an evaluation.
type View int

const (
	// Enforced is the policies in mode Enforce.
	Enforced View = iota
	// Audited is all of them: what would happen if the audited were enforced.
	Audited
)

// Rules of one tier under a view, in order.
func (p *Program) tier(t Tier, v View) []*Rule {
	var out []*Rule
	for _, r := range p.Rules {
		if r.Tier == t && (v == Audited || !r.Audit) {
			out = append(out, r)
		}
	}
	return out
}

// Stage is one tier of a program under a view: its rules, and whether what
// matches none of them ends here.
type Stage struct {
	Tier  Tier
	Rules []*Rule
	// Default is the reason for denying what matched no rule; nil goes on.
	Default *Reason
}

// Stages are the tiers in order. What leaves the last one is allowed with the
// reason default-allow.
func (p *Program) Stages(v View) []Stage {
	stages := make([]Stage, 0, len(Tiers))
	for _, t := range Tiers {
		s := Stage{Tier: t, Rules: p.tier(t, v)}
		if t == Namespace {
			by := p.Isolating
			if v == Audited {
				by = mergeRefs(p.Isolating, p.Auditing)
			}
			if len(by) > 0 {
				s.Default = &Reason{Kind: DefaultDeny, Policies: by}
			}
		}
		stages = append(stages, s)
	}
	return stages
}

func mergeRefs(a, b []PolicyRef) []PolicyRef {
	out := slices.Concat(a, b)
	slices.SortFunc(out, PolicyRef.compare)
	return slices.Compact(out)
}

// PolicyRef names a policy; Namespace is empty for a ClusterAccessPolicy.
type PolicyRef struct{ Namespace, Name string }

// String is NAME or NAMESPACE/NAME.
func (r PolicyRef) String() string {
	if r.Namespace == "" {
		return r.Name
	}
	return r.Namespace + "/" + r.Name
}

func (r PolicyRef) compare(o PolicyRef) int {
	if c := strings.Compare(r.Namespace, o.Namespace); c != 0 {
		return c
	}
	return strings.Compare(r.Name, o.Name)
}

// Rule is one rule of one policy.
type Rule struct {
	Tier   Tier
	Policy PolicyRef
	Name   string
	Action Action
	Audit  bool
	// Terms are alternatives; the rule matches when one of them does.
	Terms []*Term
	// Field is where the rule stands in its policy, such as spec.ingress[2].
	Field string
}

// Reason names the rule.
func (r *Rule) Reason() Reason {
	return Reason{Kind: ByRule, Tier: r.Tier, Policy: r.Policy, Rule: r.Name}
}

// Term is a conjunction; a nil or empty field matches everything.
type Term struct {
	Sources      *AddrSet
	Destinations *AddrSet
	// Domains are names asked for, in egress.
	Domains     []Domain
	ServerNames []Domain
	Ports       []PortRange
	HTTP        *HTTPTerm
}

// HTTPTerm is the part of a term that only HTTP traffic can match.
type HTTPTerm struct {
	Methods []string
	Paths   []PathPattern
	Hosts   []Domain
	// Values are tests of headers and of the query; all have to hold.
	Values []ValueTest
}

// PortRange is First to Last, both included.
type PortRange struct{ First, Last uint16 }

// Contains reports whether p is in the range.
func (r PortRange) Contains(p uint16) bool { return r.First <= p && p <= r.Last }

// WithoutHTTP is the term as traffic that is not HTTP sees it: an Allow or Pass term
// that asks for HTTP cannot match (nil), a Deny term matches on the rest. Of a tunnel
// the host is known all the same, so a Deny term keeps its hosts there.
func (t *Term) WithoutHTTP(a Action, tunnel bool) *Term {
	if t.HTTP == nil {
		return t
	}
	if a != Deny {
		return nil
	}
	c := *t
	c.HTTP = nil
	if tunnel && len(t.HTTP.Hosts) > 0 {
		c.HTTP = &HTTPTerm{Hosts: t.HTTP.Hosts}
	}
	return &c
}
