package page

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/simulate"
	"pavise.dev/pavise/api"
)

const (
	// mostBody is how many octets a form has that is sent.
	mostBody = 1 << 20
	// mostRemoved is how many octets the names of what would go have.
	mostRemoved = 128 << 10
	// mostListed is how many rows a list has that cannot be paged, as it is no page to go back to.
	mostListed = 100
)

// simulatePage says what a change of policies would have done.
type simulatePage struct {
	Form *form
	// Result is nil where nothing was asked.
	Result *simulate.Result
	// Problems of the proposal, Workloads and Changes, each with what did not fit in the page.
	Problems  []api.Problem
	Workloads []simulate.Counts
	Changes   []simulate.Change
	Uncertain []simulate.Uncertain
	Reasons   []simulate.Change
	// Off is how many rows were left off in all lists.
	Off int
	// Clear says that no verdict would be another, and none is uncertain.
	Clear bool
}

const cannotSimulate = "To simulate, policies and flows are needed, and this process has not both. `pavise run` has, where it keeps flows."

func simulateForm() *form {
	return &form{Path: "/simulate", Button: "Simulate", Post: true, Fields: []*field{
		{
			Kind: area, Name: "objects", Label: "Proposed objects", Rows: 14, Most: mostBody, Whole: true,
			Hint: "YAML, with --- between objects; each takes the place of the one of its name, or is added",
		},
		{
			Kind: area, Name: "removed", Label: "Objects that would go", Rows: 3, Most: mostRemoved, Whole: true,
			Hint: "KIND NAMESPACE/NAME, one a line, such as AccessPolicy shop/web",
		},
		{Kind: text, Name: "namespace", Label: "Namespace", Hint: "flows of others are left out"},
		{Kind: text, Name: "workload", Label: "Workload", Hint: "NAMESPACE/NAME"},
		{Kind: text, Name: "since", Label: "Since", Hint: "10m, or a time"},
		{Kind: check, Name: "enforce", Label: "Enforce what is proposed", Hint: "also what is only audited"},
		{Kind: check, Name: "presume", Label: "Presume names", Hint: "a host or server name is what the destination was resolved from"},
	}}
}

// canSimulate says whether there is something to compare.
func (s *site) canSimulate() bool {
	m, set := s.src.Current()
	return m != nil && set != nil && s.src.Flows() != nil
}

// simulate shows the form. A link can fill it in, and does not send it.
func (s *site) simulate(w http.ResponseWriter, r *http.Request) {
	if !s.canSimulate() {
		s.nothing(w, r, http.StatusNotFound, "Simulate", cannotSimulate)
		return
	}
	f := simulateForm()
	f.read(r)
	s.show(w, "simulate", "/simulate", "Simulate a change", f, simulatePage{Form: f})
}

// simulated answers the form. It changes nothing: it is sent by POST because policies are longer
// than an address may be, and are nothing for the history of a browser.
func (s *site) simulated(w http.ResponseWriter, r *http.Request) {
	if !s.canSimulate() {
		s.nothing(w, r, http.StatusNotFound, "Simulate", cannotSimulate)
		return
	}
	f := simulateForm()
	v, status, why := sent(w, r)
	if why != "" {
		f.fail("", why)
		f.Status = status
		s.show(w, "simulate", "/simulate", "Simulate a change", f, simulatePage{Form: f})
		return
	}
	f.fill(v)
	p := simulatePage{Form: f}
	proposal := admin.Proposal{
		Enforce: f.value("enforce") == "true", Presume: f.value("presume") == "true", Namespace: f.value("namespace"), Workload: f.value("workload"),
	}
	if text := f.value("objects"); strings.TrimSpace(text) != "" {
		proposal.Objects = []string{text}
	}
	for line := range strings.Lines(f.value("removed")) {
		if line = strings.TrimSpace(line); line != "" {
			proposal.Removed = append(proposal.Removed, line)
		}
	}
	from, err := since(f.value("since"), s.now())
	if err != nil {
		f.fail("since", err.Error())
	}
	if len(proposal.Objects)+len(proposal.Removed) == 0 {
		f.fail("objects", "propose an object, or name one that would go")
	}
	if len(f.Problems) == 0 {
		s.heavy(r.Context(), w, f, func(ctx context.Context) error {
			m, set := s.src.Current()
			var err error
			p.Result, err = admin.Simulate(ctx, m, set, s.src.Flows(), &proposal, from)
			return err
		})
	}
	if p.Result != nil {
		p.fill()
	}
	s.show(w, "simulate", "/simulate", "Simulate a change", f, p)
}

// sent reads a form that was sent; why it cannot be read is in words, with a status.
func sent(w http.ResponseWriter, r *http.Request) (v url.Values, status int, why string) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, http.StatusUnsupportedMediaType, "the form has to be sent as application/x-www-form-urlencoded"
	}
	if r.URL.RawQuery != "" {
		return nil, http.StatusBadRequest, "what is sent by POST is in the form, and not in the address"
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBody))
	var tooMuch *http.MaxBytesError
	switch {
	case errors.As(err, &tooMuch):
		return nil, http.StatusRequestEntityTooLarge, "a form has at most 1 MiB"
	case err != nil:
		return nil, http.StatusBadRequest, "the form did not come in whole"
	}
	if v, err = url.ParseQuery(string(body)); err != nil {
		return nil, http.StatusBadRequest, "the form cannot be read: " + visible(err.Error())
	}
	for _, values := range v {
		for i := range values {
			values[i] = strings.ReplaceAll(values[i], "\r\n", "\n") // as browsers end the lines of a text
		}
	}
	return v, http.StatusOK, ""
}

// fill takes of the result what the page shows.
func (p *simulatePage) fill() {
	r := p.Result
	p.Problems = slices.Clone(first(r.Problems, &p.Off))
	for i := range p.Problems {
		if p.Problems[i].File == "objects[0]" { // as admin.Simulate calls the only text
			p.Problems[i].File = "proposal"
		}
	}
	p.Workloads = first(r.Workloads, &p.Off)
	p.Changes = first(r.Changes, &p.Off)
	p.Uncertain = first(r.Uncertain, &p.Off)
	p.Reasons = first(r.Reasons, &p.Off)
	p.Off += r.LeftOff
	p.Clear = !r.Refused && r.Total.Denied.Flows+r.Total.Allowed.Flows+r.Total.Uncertain.Flows == 0
}

// first are as many as are shown; those beyond are counted.
func first[T any](list []T, off *int) []T {
	n := min(len(list), mostListed)
	*off += len(list) - n
	return list[:n]
}
