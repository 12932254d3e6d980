package page

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/admin/suggest"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/printable"
	"pavise.dev/pavise/policy"
)

const (
	// suggestionsPage is how many suggestions a page has.
	suggestionsPage = 4
	// mostYAML is how many octets a suggestion has that is shown.
	mostYAML = 64 << 10
	// mostRulesShown is how many of its rules are explained.
	mostRulesShown = 100
)

// suggestPage has policies that allow what was seen.
type suggestPage struct {
	Form *form
	// Asked says that suggestions were asked for.
	Asked bool
	List  []suggested
	Pages pager
	// All tries those of the page together; nil where there is one.
	All *trial
}

// suggested is a suggestion as it is shown.
type suggested struct {
	suggest.Suggestion
	Title string
	// Long says that the YAML is too long for a page; Command writes it.
	Long    bool
	Command string
	Rules   []suggest.Rule
	// More is how many rules are not explained.
	More int
	// Try is nil where there is nothing to try.
	Try *trial
}

// trial fills in the form of the simulation.
type trial struct{ Button, Objects, Namespace, Workload, Since string }

func suggestForm() *form {
	return &form{Path: "/suggest", Button: "Suggest", Fields: []*field{
		{Kind: text, Name: "namespace", Label: "Namespace"},
		{Kind: text, Name: "workload", Label: "Workload", Hint: "NAMESPACE/NAME"},
		{Kind: text, Name: "since", Label: "Since", Hint: "10m, or a time"},
		{Kind: text, Name: "minCount", Label: "Seen at least", Hint: "flows with fewer decisions are left out"},
		{Kind: check, Name: "serviceAccounts", Label: "Peers by their service accounts"},
		{Kind: check, Name: "enforce", Label: "Enforced, and not audited"},
		{Kind: parameter, Name: "from"},
	}}
}

func (s *site) suggest(w http.ResponseWriter, r *http.Request) {
	store := s.src.Flows()
	if store == nil {
		s.nothing(w, r, http.StatusNotFound, "Suggest policies", keepsNone)
		return
	}
	f := suggestForm()
	f.read(r)
	p := suggestPage{Form: f}
	filter := flows.Filter{Namespace: f.value("namespace"), Workload: f.value("workload")}
	o := suggest.Options{ServiceAccounts: f.value("serviceAccounts") == "true"}
	if f.value("enforce") == "true" {
		o.Mode = api.ModeEnforce
	}
	var err error
	if filter.Since, err = since(f.value("since"), s.now()); err != nil {
		f.fail("since", err.Error())
	}
	o.MinCount = uint64(f.number("minCount", mostFrom)) //nolint:gosec // not below 0
	if f.Given > 0 && len(f.Problems) == 0 {
		var all []suggest.Suggestion
		s.heavy(r.Context(), w, f, func(ctx context.Context) error {
			list, err := admin.Recorded(ctx, store, filter)
			if err != nil {
				return err
			}
			_, o.Set = s.src.Current()
			all, err = suggest.Policies(list, o)
			return err
		})
		p.Asked = len(f.Problems) == 0
		p.take(f, all, s.canSimulate())
	}
	s.show(w, "suggest", "/suggest", "Suggest policies", f, p)
}

// take makes a page of suggestions, which can be tried or not.
func (p *suggestPage) take(f *form, all []suggest.Suggestion, try bool) {
	from, to, pages := window(f, "from", f.Path, "suggestions", len(all), suggestionsPage)
	p.Pages = pages
	together := trial{Button: "Try these together", Namespace: f.value("namespace"), Workload: f.value("workload"), Since: f.value("since")}
	n := 0
	for _, one := range all[from:to] {
		x := suggested{Suggestion: one, Title: one.Workload + ", what comes in", Rules: one.Rules[:min(len(one.Rules), mostRulesShown)]}
		if one.Direction == policy.Egress {
			x.Title = one.Workload + ", what goes out"
		}
		x.More = len(one.Rules) - len(x.Rules)
		switch {
		case len(one.YAML) > mostYAML:
			x.Long, x.Command = true, "pavise suggest -w "+visible(one.Workload)
		case one.YAML != "" && try:
			x.Try = &trial{"Try it", one.YAML, "", one.Workload, f.value("since")}
			if n++; n > 1 {
				together.Objects += "---\n"
			}
			together.Objects += one.YAML // ends its last line
		}
		p.List = append(p.List, x)
	}
	if n > 1 && len(url.QueryEscape(together.Objects)) < mostBody*3/4 {
		p.All = &together
	}
}

// whole is a text of several lines as it can be shown; each line as visible has it.
func whole(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = printable.Text(line)
	}
	return strings.Join(lines, "\n")
}
