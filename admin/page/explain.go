package page

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

const (
	mostURL     = 4 << 10
	mostHeaders = 8 << 10
	// noNames is what says that a destination was resolved from no name.
	noNames = "-"
)

// explainPage answers how a request would be decided, and how one was.
type explainPage struct {
	Form *form
	// Find asks for a request by its id; nil where flows are not kept.
	Find *form
	// Flow is what was decided, where a flow was asked for; its Example is the decision.
	Flow *flows.Flow
	// Latest says that the request that was asked for is not kept: it is the latest like it.
	Latest bool
	// Answer is nil where nothing was asked or it cannot be answered.
	Answer *admin.Explanation
	// Decisive is the rule that decided, if one did.
	Decisive *policy.Step
	// Changed says that it comes out otherwise now.
	Changed bool
	// Remedy says what would have allowed it.
	Remedy string
	// Silent says why the rules were not asked, in words.
	Silent string
	Steps  []numbered
	Pages  pager
}

type numbered struct {
	Number int
	policy.Step
}

func (s *site) explainForm(m *policy.Model) *form {
	f := &form{Path: "/explain", Button: "Explain", Fields: []*field{
		{Kind: text, Name: "workload", Label: "Workload", Hint: "NAMESPACE/NAME; may be left out if there is only one"},
		{Kind: text, Name: "listener", Label: "Listener", Hint: "may be left out where the port or the kind of traffic tells"},
		{Kind: text, Name: "method", Label: "Method", Hint: "GET if there is a URL and nothing else is said"},
		{
			Kind: text, Name: "url", Label: "URL", Most: mostURL, Wide: true,
			Hint: "http://shop.example/cart, or HOST:PORT for CONNECT; empty asks about a connection",
		},
		{Kind: text, Name: "source", Label: "Source", Hint: "an address, or NAMESPACE/NAME of a workload"},
		{Kind: text, Name: "destination", Label: "Destination", Hint: "an address, or ADDRESS:PORT of a redirected connection"},
		{Kind: text, Name: "servername", Label: "Server name", Hint: "the SNI of a TLS connection"},
		{
			Kind: text, Name: "names", Label: "Resolved from", Most: mostURL,
			Hint: "names that the destination was resolved from, by spaces; empty takes that of the URL, " + noNames + " is none",
		},
		{Kind: area, Name: "headers", Label: "Headers", Most: mostHeaders, Hint: "NAME: VALUE, one a line; leave secrets out: browsers keep what was asked"},
		{Kind: check, Name: "egress", Label: "What the workload sends out"},
		{Kind: parameter, Name: "flow"},
		{Kind: parameter, Name: "id"},
		{Kind: parameter, Name: "step"},
	}}
	if m != nil {
		for _, w := range m.Workloads[:min(len(m.Workloads), mostSuggested)] {
			if len(w.Listeners) > 0 {
				f.Fields[0].Suggest = append(f.Fields[0].Suggest, w.Key())
			}
		}
	}
	return f
}

func (s *site) explain(w http.ResponseWriter, r *http.Request) {
	m, set := s.src.Current()
	f := s.explainForm(m)
	p := explainPage{Form: f}
	f.read(r)
	id, request := f.value("flow"), f.value("id")
	if store := s.src.Flows(); store != nil {
		p.Find = &form{Path: "/explain", Button: "Find", Fields: []*field{
			{Kind: text, Name: "id", Label: "Request id", Value: request, Hint: "the x-request-id of a request, as a denial says it"},
		}}
		p.recall(store, f, id, request)
		if x := f.find("id"); x.Error == "" && request != "" && p.Flow == nil {
			p.Find.fail("id", "no request of that id is known; it may be past its window, or another process decided it")
			f.Problems = append(f.Problems, p.Find.Problems...)
		}
	} else if id != "" || request != "" {
		f.fail("flow", "this process keeps no flows")
	}
	if p.Flow != nil {
		fillFrom(f, &p.Flow.Example)
	}
	p.ask(s, m, func(q admin.Query) (*admin.Explanation, error) { return admin.Explain(m, set, s.src.Feeds(), q) })
	s.show(w, "explain", "/explain", "Explain a request", f, p)
}

// recall looks up what was decided.
func (p *explainPage) recall(store *flows.Store, f *form, id, request string) {
	var fl flows.Flow
	var ok bool
	switch {
	case id != "" && request != "":
		f.fail("flow", "it goes without id")
	case id != "":
		if fl, ok = store.Get(id); !ok {
			f.fail("flow", "there is no flow of that id; it may be past its window")
		}
	case request != "":
		fl, ok = store.ByRequest(request)
		p.Latest = fl.Example.RequestID != request
	}
	if ok {
		p.Flow = &fl
	}
}

// fillFrom fills the form with the question that a record answers, as far as it says.
func fillFrom(f *form, r *decisions.Record) {
	set := func(name, value string) { f.find(name).Value = value }
	set("workload", r.Workload)
	if r.From != decisions.DNS { // the resolver is no listener of the model
		set("listener", r.Listener[strings.LastIndexByte(r.Listener, '/')+1:])
	}
	set("servername", r.ServerName)
	set("destination", r.Destination)
	if host, _, err := net.SplitHostPort(r.Source); err == nil {
		set("source", host)
	}
	if r.Direction == policy.Egress {
		set("egress", "true")
	}
	switch {
	case r.Method == http.MethodConnect:
		set("method", r.Method)
		set("url", r.Host)
	case r.Method != "" || r.Path != "":
		set("method", r.Method)
		set("url", "http://"+r.Host+r.Path)
	case r.Question.Name != "":
		set("url", "http://"+strings.TrimSuffix(r.Question.Name, ".")+"/")
	}
}

// queryOf is the question that a form asks.
func queryOf(f *form) admin.Query {
	q := admin.Query{
		Workload: f.value("workload"), Listener: f.value("listener"), Method: f.value("method"), URL: f.value("url"),
		Source: f.value("source"), Destination: f.value("destination"), ServerName: f.value("servername"),
		Egress: f.value("egress") == "true",
	}
	for line := range strings.Lines(f.value("headers")) {
		if line = strings.TrimSpace(line); line != "" {
			q.Headers = append(q.Headers, line)
		}
	}
	switch names := strings.FieldsFunc(f.value("names"), func(r rune) bool { return r == ' ' || r == ',' }); {
	case slices.Equal(names, []string{noNames}):
		q.Names = []string{}
	case len(names) > 0:
		q.Names = names
	}
	return q
}

// ask has the rules answer, if something was asked and can be.
func (p *explainPage) ask(s *site, m *policy.Model, answer func(admin.Query) (*admin.Explanation, error)) {
	f := p.Form
	switch {
	case m == nil:
		p.Silent = "This process has no policies to ask. The control plane has."
		return
	case f.Given == 0 || len(f.Problems) > 0:
		return
	case f.Given == 1 && p.Flow == nil && f.value("workload") != "":
		return // a link, to fill in the rest; the form sends all fields
	case p.Flow != nil && p.Flow.Example.From == decisions.DNS:
		p.Silent = "The answer of the resolver is no request. The form is filled in for one to that name."
		return
	}
	e, err := answer(queryOf(f))
	if err != nil {
		if p.Flow != nil {
			p.Silent = "The rules cannot be asked about it any more: " + err.Error()
			return
		}
		f.wrong(err)
		return
	}
	p.Answer = e
	if i := slices.IndexFunc(e.Trace, func(s policy.Step) bool { return s.Matched && s.Reason.String() == e.ReasonID }); i >= 0 {
		p.Decisive = &e.Trace[i]
	}
	p.Changed = p.Flow != nil && e.ReasonID != p.Flow.Example.Reason
	p.Remedy = remedy(e)
	from, to, pages := window(f, "step", f.Path, "rules that were asked", len(e.Trace), pageSize)
	p.Pages = pages
	for i, step := range e.Trace[from:to] {
		p.Steps = append(p.Steps, numbered{from + i + 1, step})
	}
}

// remedy says what would have allowed what was denied.
func remedy(e *admin.Explanation) string {
	if e.Verdict != policy.Denied {
		return ""
	}
	switch e.Reason.Kind {
	case policy.ByRule:
		return "The rule is a Deny that comes before others: a rule that is asked earlier, or conditions of this one that leave the request out."
	case policy.DefaultDeny:
		return "An Allow rule that matches, in a policy that selects the workload. The column Why below says of each Allow rule what kept it from matching."
	case policy.ByFeed:
		return "An entry in spec.except of the feed; it wins over what the feed lists."
	case policy.FeedNotLoaded:
		return "A fetch of the feed that succeeds; the page of the feed says what went wrong."
	case policy.ConnectRefused:
		return "A listener that is a proxy."
	case policy.NotResolved:
		return "A name that resolves."
	case policy.FeedsUnavailable, policy.PolicyUpdating:
		return "Nothing in the policies: it passes."
	default:
		return "Another form of the request: no rule can allow this one."
	}
}
