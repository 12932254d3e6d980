package page

import (
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
	// Changed says that it comes out otherwise now, and Lacks what of it was not recorded.
	Changed bool
	Lacks   []string
	// Silent says why the rules were not asked, in words.
	Silent string
	Steps  []numbered
	Pages  pager
}

type numbered struct {
	Number int
	policy.Step
}

// explainForm suggests workloads.
func explainForm(m *policy.Model) *form {
	f := explainFields()
	if m != nil {
		for _, w := range m.Workloads[:min(len(m.Workloads), mostSuggested)] {
			if len(w.Listeners) > 0 {
				f.Fields[0].Suggest = append(f.Fields[0].Suggest, w.Key())
			}
		}
	}
	return f
}

func explainFields() *form {
	return &form{Path: "/explain", Button: "Explain", Fields: []*field{
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
}

func (s *site) explain(w http.ResponseWriter, r *http.Request) {
	m, set := s.src.Current()
	f := explainForm(m)
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
	q := admin.QueryOf(r)
	names := strings.Join(q.Names, " ")
	if q.Egress && q.Names != nil && names == "" && q.URL == "" {
		names = noNames
	}
	egress := ""
	if q.Egress {
		egress = "true"
	}
	for _, x := range []struct{ name, value string }{
		{"workload", q.Workload},
		{"listener", q.Listener},
		{"method", q.Method},
		{"url", q.URL},
		{"source", q.Source},
		{"destination", q.Destination},
		{"servername", q.ServerName},
		{"names", names},
		{"headers", strings.Join(q.Headers, "\n")},
		{"egress", egress},
	} {
		f.find(x.name).Value = x.value
	}
}

// askAbout is a link to the form, filled in with the question that a record answers.
func askAbout(r *decisions.Record) string {
	f := explainFields()
	fillFrom(f, r)
	return withValues(f.Path, f.again())
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
	case p.Flow == nil && f.value("workload") != "" && f.Given == f.count("workload", "source", "egress"):
		return // a link, to fill in the rest; the form sends all fields
	}
	q := queryOf(f)
	if p.Flow != nil {
		q = admin.Query{Record: &p.Flow.Example}
	}
	e, err := answer(q)
	if err != nil {
		if p.Flow != nil {
			p.Silent = "The rules cannot be asked about it any more: " + err.Error()
			return
		}
		f.wrong(err)
		return
	}
	if e.Decided != nil {
		p.Lacks = e.Decided.Lacks
		if p.Changed = e.Decided.Changed; e.Decided.Unasked != "" {
			p.Silent = "No rule was asked: " + e.Decided.Unasked + ". The form below is filled in with what was recorded."
			return
		}
	}
	p.Answer = e
	if i := slices.IndexFunc(e.Trace, func(s policy.Step) bool { return s.Matched && s.Reason.String() == e.ReasonID }); i >= 0 {
		p.Decisive = &e.Trace[i]
	}
	from, to, pages := window(f, "step", f.Path, "rules that were asked", len(e.Trace), pageSize)
	p.Pages = pages
	for i, step := range e.Trace[from:to] {
		p.Steps = append(p.Steps, numbered{from + i + 1, step})
	}
}
