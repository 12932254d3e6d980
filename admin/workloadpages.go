package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// mostShown is how many values of one condition are shown; a count says how many there are.
const mostShown = 64

// Workloads is a page of them, sorted by namespace and name.
type Workloads struct {
	// Digest of the model.
	Digest    string          `json:"digest"`
	Workloads []WorkloadBrief `json:"workloads"`
	// Next is the cursor of the next page; empty on the last.
	Next string `json:"next,omitempty"`
}

// WorkloadBrief is what a list says of a workload.
type WorkloadBrief struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Digest of what is decided for it.
	Digest    string `json:"digest"`
	Addresses int    `json:"addresses"`
	Listeners int    `json:"listeners"`
	Policies  int    `json:"policies"`
	// Ingress and Egress say that what no rule allows is denied.
	Ingress bool `json:"ingressIsolated,omitempty"`
	Egress  bool `json:"egressIsolated,omitempty"`
}

// Workload is one workload with what is decided for it.
type Workload struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Digest of what is decided for it, and Model that of everything.
	Digest         string            `json:"digest"`
	Model          string            `json:"model"`
	Labels         map[string]string `json:"labels,omitempty"`
	ServiceAccount string            `json:"serviceAccount,omitempty"`
	// Addresses are at most 64; AddressesLeftOff counts the others.
	Addresses        []netip.Addr `json:"addresses,omitempty"`
	AddressesLeftOff int          `json:"addressesLeftOff,omitempty"`
	// FeedsClosed says that it is closed where threat feeds cannot be asked.
	FeedsClosed bool           `json:"feedsClosed,omitempty"`
	Listeners   []ListenerView `json:"listeners,omitempty"`
	// Policies that select it, in the order of evaluation.
	Policies []policy.PolicyRef `json:"policies,omitempty"`
	Defaults []Default          `json:"defaults,omitempty"`
	// Rules in the order of evaluation, those of ingress first.
	Rules []RuleView `json:"rules"`
	// Next is the cursor of the next page of rules; empty on the last.
	Next string `json:"next,omitempty"`
}

// ListenerView is a place where traffic is decided.
type ListenerView struct {
	Name      string           `json:"name"`
	Direction policy.Direction `json:"direction"`
	Traffic   policy.Traffic   `json:"traffic"`
	Address   string           `json:"address,omitempty"`
	Upstream  string           `json:"upstream,omitempty"`
	Opaque    []uint16         `json:"opaque,omitempty"`
}

// Default says by which policies what matches no rule of the namespace tier is denied.
type Default struct {
	Direction policy.Direction   `json:"direction"`
	DeniedBy  []policy.PolicyRef `json:"deniedBy,omitempty"`
	// Audited would deny it as well if they were enforced.
	Audited []policy.PolicyRef `json:"audited,omitempty"`
}

// RuleView is one rule.
type RuleView struct {
	Direction policy.Direction `json:"direction"`
	Tier      policy.Tier      `json:"tier"`
	Policy    policy.PolicyRef `json:"policy"`
	Name      string           `json:"name"`
	Action    policy.Action    `json:"action"`
	Audit     bool             `json:"audit,omitempty"`
	Reason    string           `json:"reason"`
	Field     string           `json:"field,omitempty"`
	File      string           `json:"file,omitempty"`
	Line      int              `json:"line,omitempty"`
	// When it matches: one of these has to hold. None is a rule that stands for nothing at present.
	When []TermView `json:"when,omitempty"`
	// LeftOff is how many alternatives there are beyond 64.
	LeftOff int `json:"leftOff,omitempty"`
}

// TermView are conditions that hold together. Each list has at most 64 values.
type TermView struct {
	Sources      []string `json:"sources,omitempty"`
	Destinations []string `json:"destinations,omitempty"`
	Domains      []string `json:"domains,omitempty"`
	ServerNames  []string `json:"serverNames,omitempty"`
	Ports        []string `json:"ports,omitempty"`
	Methods      []string `json:"methods,omitempty"`
	Paths        []string `json:"paths,omitempty"`
	Hosts        []string `json:"hosts,omitempty"`
	Values       []string `json:"values,omitempty"`
	// Nobody says that its addresses are those of nobody at present.
	Nobody bool `json:"nobody,omitempty"`
	// LeftOff is how many values there are beyond what is shown.
	LeftOff int `json:"leftOff,omitempty"`
}

func brief(w *policy.Workload) WorkloadBrief {
	b := WorkloadBrief{
		Namespace: w.Namespace, Name: w.Name, Digest: w.Digest(), Addresses: len(w.Addresses), Listeners: len(w.Listeners), Policies: len(w.Policies),
	}
	for _, l := range w.Listeners {
		if len(l.Program.Isolating) > 0 {
			b.Ingress = b.Ingress || l.Direction == policy.Ingress
			b.Egress = b.Egress || l.Direction == policy.Egress
		}
	}
	return b
}

// workloadsAfter is a page of the workloads of a namespace, empty for all, after NAMESPACE/NAME,
// and whether there are more.
func workloadsAfter(m *policy.Model, namespace, cursor string, most int) (page []*policy.Workload, more bool) {
	ns, name, _ := strings.Cut(cursor, "/")
	for _, w := range m.Workloads {
		if namespace != "" && w.Namespace != namespace ||
			cursor != "" && cmp.Or(strings.Compare(w.Namespace, ns), strings.Compare(w.Name, name)) <= 0 {
			continue
		}
		if len(page) == most {
			return page, true
		}
		page = append(page, w)
	}
	return page, false
}

func serveWorkloads(e *endpoint, w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	most, err := limit(v)
	if err != nil {
		parameter400(w, err)
		return
	}
	m, ok := e.model(w)
	if !ok {
		return
	}
	list, more := workloadsAfter(m, v.Get("namespace"), v.Get("cursor"), most)
	page := Workloads{Digest: m.Digest, Workloads: make([]WorkloadBrief, 0, len(list))}
	for _, one := range list {
		page.Workloads = append(page.Workloads, brief(one))
	}
	if more {
		page.Next = list[len(list)-1].Key()
	}
	reply(w, page)
}

func serveWorkload(e *endpoint, w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	most, err := limit(v)
	if err != nil {
		parameter400(w, err)
		return
	}
	m, set := e.source.Current()
	if m == nil {
		fail(w, http.StatusServiceUnavailable, "no policy is in use yet")
		return
	}
	one := m.Workload(r.PathValue("namespace"), r.PathValue("name"))
	if one == nil {
		fail(w, http.StatusNotFound, "there is no workload of that name; /api/v1/workloads lists them")
		return
	}
	from, err := ruleCursor(one, v.Get("cursor"))
	if err != nil {
		parameter400(w, err)
		return
	}
	reply(w, viewOf(m, set, one, policy.Direction(v.Get("direction")), from, most))
}

// ruleCursor is where a page of rules begins. The rules of another digest are others.
func ruleCursor(w *policy.Workload, cursor string) (int, error) {
	if cursor == "" {
		return 0, nil
	}
	digest, at, _ := strings.Cut(cursor, "-")
	n, err := strconv.Atoi(at)
	if err != nil || n < 0 {
		return 0, &flows.FieldError{Field: "cursor", Message: "it is the next of an earlier page"}
	}
	if digest != short16(w.Digest()) {
		return 0, &flows.FieldError{Field: "cursor", Message: "the rules have changed since; begin without a cursor"}
	}
	return n, nil
}

func short16(digest string) string { return digest[:min(len(digest), 16)] }

// viewOf shows a workload with most of its rules of a direction, empty for both, from one on.
func viewOf(m *policy.Model, set *api.Set, w *policy.Workload, d policy.Direction, from, most int) *Workload {
	v := &Workload{
		Namespace: w.Namespace, Name: w.Name, Digest: w.Digest(), Model: m.Digest,
		Addresses: w.Addresses[:min(len(w.Addresses), mostShown)], AddressesLeftOff: max(0, len(w.Addresses)-mostShown),
		FeedsClosed: w.FeedsClosed, Policies: w.Policies, Rules: []RuleView{},
	}
	if set != nil {
		for _, o := range set.Workloads {
			if o.Namespace == w.Namespace && o.Name == w.Name {
				v.Labels, v.ServiceAccount = o.Labels, o.Spec.ServiceAccount
			}
		}
	}
	at := 0
	for _, p := range programs(w) {
		v.Defaults = append(v.Defaults, Default{p.Direction, p.Isolating, p.Auditing})
		if d != "" && d != p.Direction {
			continue
		}
		for _, r := range p.Rules {
			if at >= from && len(v.Rules) < most {
				v.Rules = append(v.Rules, ruleView(set, p.Direction, r))
			}
			at++
		}
	}
	if from+most < at {
		v.Next = fmt.Sprintf("%s-%d", short16(w.Digest()), from+most)
	}
	for _, l := range w.Listeners {
		v.Listeners = append(v.Listeners, ListenerView{l.Name, l.Direction, l.Traffic, addressText(l.Address), addressText(l.Upstream), l.Opaque})
	}
	return v
}

func addressText(a netip.AddrPort) string {
	if a == (netip.AddrPort{}) {
		return ""
	}
	return a.String()
}

// programs are those of a workload, that of ingress first.
func programs(w *policy.Workload) (out []*policy.Program) {
	for _, d := range []policy.Direction{policy.Ingress, policy.Egress} {
		i := slices.IndexFunc(w.Listeners, func(l *policy.Listener) bool { return l.Direction == d })
		if i >= 0 {
			out = append(out, w.Listeners[i].Program)
		}
	}
	return out
}

func ruleView(set *api.Set, d policy.Direction, r *policy.Rule) RuleView {
	v := RuleView{
		Direction: d, Tier: r.Tier, Policy: r.Policy, Name: r.Name, Action: r.Action, Audit: r.Audit, Reason: r.Reason().String(), Field: r.Field,
	}
	if set != nil {
		kind := api.KindAccessPolicy
		if r.Policy.Namespace == "" {
			kind = api.KindClusterAccessPolicy
		}
		v.File, v.Line = set.Position(kind, r.Policy.Namespace, r.Policy.Name, r.Field)
	}
	for i, t := range r.Terms {
		if i == mostShown {
			v.LeftOff = len(r.Terms) - i
			break
		}
		v.When = append(v.When, termView(t))
	}
	return v
}

func termView(t *policy.Term) TermView {
	var v TermView
	v.Sources, v.Destinations = addrs(&v, t.Sources), addrs(&v, t.Destinations)
	v.Domains, v.ServerNames = shown(&v, t.Domains, policy.Domain.String), shown(&v, t.ServerNames, policy.Domain.String)
	v.Ports = shown(&v, t.Ports, func(p policy.PortRange) string {
		if p.First == p.Last {
			return strconv.Itoa(int(p.First))
		}
		return fmt.Sprintf("%d-%d", p.First, p.Last)
	})
	if h := t.HTTP; h != nil {
		v.Methods = shown(&v, h.Methods, func(s string) string { return s })
		v.Paths = shown(&v, h.Paths, func(p policy.PathPattern) string { return string(p.Kind) + " " + p.Text })
		v.Hosts = shown(&v, h.Hosts, policy.Domain.String)
		v.Values = shown(&v, h.Values, func(t policy.ValueTest) string { return t.Label })
	}
	return v
}

func addrs(v *TermView, s *policy.AddrSet) []string {
	if s == nil {
		return nil
	}
	v.Nobody = v.Nobody || s.Empty()
	return shown(v, s.Prefixes(), netip.Prefix.String)
}

func shown[T any](v *TermView, in []T, text func(T) string) []string {
	if len(in) > mostShown {
		v.LeftOff += len(in) - mostShown
		in = in[:mostShown]
	}
	var out []string
	for _, x := range in {
		out = append(out, text(x))
	}
	return out
}
