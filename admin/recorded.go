package admin

import (
	"cmp"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go4.org/netipx"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/secret"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

// Decided is what an explanation of a recorded decision says of it.
type Decided struct {
	Time    time.Time      `json:"time"`
	Verdict policy.Verdict `json:"verdict"`
	Reason  string         `json:"reason"`
	// Unasked says why the verdict is as it was recorded and no rule was asked, in words.
	Unasked string `json:"unasked,omitempty"`
	// Changed says that it would come out otherwise now.
	Changed bool `json:"changed,omitempty"`
	// Lacks names what rules ask for and the record does not say, or not whole.
	Lacks []string `json:"lacks,omitempty"`
}

// listenerOf is what its workload calls the listener of a record.
func listenerOf(r *decisions.Record) string {
	return r.Listener[strings.LastIndexByte(r.Listener, '/')+1:]
}

// QueryOf is the question that a record answers, as far as it says.
func QueryOf(r *decisions.Record) Query {
	q := Query{
		Workload: r.Workload, Listener: listenerOf(r), Egress: r.Direction == policy.Egress,
		ServerName: r.ServerName, Destination: r.Destination, Names: r.Names.List(),
	}
	if a, _ := decisions.Endpoint(r.Source); a.IsValid() {
		q.Source = a.String()
	}
	switch {
	case r.From == decisions.DNS:
		q.Listener = "" // the resolver is none of the model
		q.URL = "http://" + strings.TrimSuffix(r.Question.Name, ".") + "/"
	case r.Method == http.MethodConnect:
		q.Method, q.URL = r.Method, r.Host
	case r.Method != "" || r.Path != "":
		q.Method, q.URL, q.Headers = r.Method, "http://"+r.Host+r.Path, r.Headers.List()
		if r.Query != "" {
			q.URL += "?" + r.Query
		}
	}
	return q
}

// explainRecord says how a recorded decision came about: what the rules say to what was
// recorded, or why none was asked.
func explainRecord(m *policy.Model, set *api.Set, feeds *filter.Engine, r *decisions.Record) (*Explanation, error) {
	said := &Decided{Time: r.Time, Verdict: r.Verdict, Reason: r.Reason}
	if why := unasked(r); why != "" {
		return recordAlone(m, r, said, why)
	}
	q := QueryOf(r)
	if within, err := netip.ParsePrefix(r.Destination); err == nil {
		q.Destination = representative(m, r.Listener, within)
	}
	e, err := Explain(m, set, feeds, q)
	if err != nil {
		return nil, err
	}
	said.Changed = e.Verdict != r.Verdict || e.ReasonID != r.Reason
	if kind := policy.ParseReason(r.Reason).Kind; said.Changed && (kind == policy.MalformedHost || kind == policy.AmbiguousPath) {
		// The log has what is left after Envoy took a port off.
		return recordAlone(m, r, said, "the request was refused for its form, which the record has not as it was sent")
	}
	said.Lacks = lacks(r)
	e.Decided = said
	return e, nil
}

// recordAlone explains a record by what it says itself.
func recordAlone(m *policy.Model, r *decisions.Record, said *Decided, why string) (*Explanation, error) {
	said.Unasked, said.Changed = why, false
	e := &Explanation{
		Workload: r.Workload, Listener: listenerOf(r), Decided: said,
		Decision: policy.Decision{Verdict: r.Verdict, Reason: policy.ParseReason(r.Reason)}, ReasonID: r.Reason,
		Feed: hitOf(r.Feed), Alert: hitOf(r.Alert), Digest: m.Digest,
	}
	e.Words, e.Remedy = e.Reason.Explain(), remedy(e)
	return e, nil
}

// representative is an address within a prefix that no rule of the listener names more
// closely: all of them are decided alike. It is empty if there is none any more.
func representative(m *policy.Model, listener string, within netip.Prefix) string {
	var closer []netip.Prefix
	for _, w := range m.Workloads {
		for _, l := range w.Listeners {
			if w.Key()+"/"+l.Name != listener {
				continue
			}
			for _, r := range l.Program.Rules {
				for _, t := range r.Terms {
					if t.Destinations != nil {
						closer = append(closer, t.Destinations.Prefixes()...)
					}
				}
			}
		}
	}
	closer = slices.DeleteFunc(closer, func(p netip.Prefix) bool { return p.Bits() <= within.Bits() || !within.Contains(p.Addr()) })
	slices.SortFunc(closer, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	at := within.Masked().Addr()
	for _, p := range closer {
		if p.Contains(at) {
			at = netipx.PrefixLastIP(p).Next()
		}
	}
	if !within.Contains(at) {
		return ""
	}
	return at.String()
}

// unasked says why nothing was asked that can be asked again; empty where something was.
func unasked(r *decisions.Record) string {
	if r.Detail == decisions.PathRefused {
		return "Envoy could not bring the path to one form that all servers read alike, and refused it before any rule was asked"
	}
	switch policy.ParseReason(r.Reason).Kind {
	case policy.MalformedRequest:
		return "Envoy refused the request before any rule was asked"
	case policy.NotResolved:
		return "the name had no address, so there was nothing to connect to"
	case policy.PolicyUpdating:
		return "the policies were being replaced when it came"
	case policy.FeedsUnavailable:
		return "the module could not ask the threat feeds, and the workload is closed then"
	}
	switch r.From {
	case decisions.DNS:
		return "the resolver decided, which asks the threat feeds and no rules"
	case decisions.ExtAuthz:
		return "the authorization service decided, which asks the threat feeds and no rules"
	}
	return ""
}

// lacks is what the record does not say whole.
func lacks(r *decisions.Record) (out []string) {
	for _, t := range []struct{ what, text string }{
		{"host", r.Host},
		{"path", r.Path},
		{"query", r.Query},
		{"names", string(r.Names)},
		{"headers", string(r.Headers)},
	} {
		if decisions.Cut(t.text) {
			out = append(out, t.what+", which is too long to be recorded whole")
		}
	}
	for line := range r.Headers.All() {
		if name, value, _ := strings.Cut(line, ": "); value == secret.Redacted {
			out = append(out, "the value of header "+name)
		}
	}
	for part := range strings.FieldsFuncSeq(r.Query, func(c rune) bool { return c == '&' || c == ';' }) {
		if name, value, _ := strings.Cut(part, "="); value == secret.Redacted {
			out = append(out, "the value of query parameter "+name)
		}
	}
	return out
}

func hitOf(h decisions.Hit) *FeedHit {
	if h == (decisions.Hit{}) {
		return nil
	}
	return &FeedHit{Name: h.Name, Line: h.Line, Entry: h.Entry, Asked: h.Asked}
}
