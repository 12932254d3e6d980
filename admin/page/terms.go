package page

import (
	"fmt"
	"net/netip"
	"strings"

	"pavise.dev/pavise/policy"
)

const (
	// mostTerms of a rule and mostItems of each list in one are written out.
	mostTerms = 8
	mostItems = 8
)

// terms are the alternatives of a rule in words; one that asks for nothing is "anything".
func terms(r *policy.Rule) []string {
	var out []string
	for i, t := range r.Terms {
		if i == mostTerms {
			return append(out, fmt.Sprintf("… %d alternatives more", len(r.Terms)-mostTerms))
		}
		out = append(out, term(t))
	}
	if len(out) == 0 {
		out = append(out, "nothing at present")
	}
	return out
}

func term(t *policy.Term) string {
	var parts []string
	add := func(what, list string) {
		if list != "" {
			parts = append(parts, what+" "+list)
		}
	}
	add("from", addresses(t.Sources))
	add("to", addresses(t.Destinations))
	add("name", listOf(t.Domains, policy.Domain.String))
	add("server name", listOf(t.ServerNames, policy.Domain.String))
	add("port", listOf(t.Ports, ports))
	if h := t.HTTP; h != nil {
		add("method", listOf(h.Methods, func(s string) string { return s }))
		add("path", listOf(h.Paths, policy.PathPattern.String))
		add("host", listOf(h.Hosts, policy.Domain.String))
		add("where", listOf(h.Values, func(v policy.ValueTest) string { return v.Label }))
		if len(parts) == 0 {
			parts = append(parts, "any HTTP request")
		}
	}
	if len(parts) == 0 {
		return "anything"
	}
	return strings.Join(parts, ", ")
}

func addresses(s *policy.AddrSet) string {
	switch {
	case s == nil:
		return ""
	case s.Empty():
		return "no address"
	}
	return listOf(s.Prefixes(), netip.Prefix.String)
}

func ports(r policy.PortRange) string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d–%d", r.First, r.Last)
}

// listOf joins the first of a list.
func listOf[T any](list []T, word func(T) string) string {
	words := make([]string, 0, min(len(list), mostItems))
	for _, x := range list[:min(len(list), mostItems)] {
		words = append(words, word(x))
	}
	s := strings.Join(words, " or ")
	if n := len(list) - mostItems; n > 0 {
		s += fmt.Sprintf(" or %d more", n)
	}
	return s
}
