package suggest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
)

// page writes YAML line by line, so that each rule can have its comments before it.
type page struct{ strings.Builder }

func (p *page) line(indent int, format string, args ...any) {
	p.WriteString(strings.Repeat(" ", indent))
	fmt.Fprintf(p, format, args...)
	p.WriteByte('\n')
}

// comment writes text that others chose: it stays on its lines, which are at most 120 wide where
// words allow it.
func (p *page) comment(indent int, text string) {
	width := indent + 1
	p.WriteString(strings.Repeat(" ", indent) + "#")
	for word := range strings.FieldsSeq(printable(text)) {
		if width+1+len(word) > 120 && width > indent+3 {
			p.WriteString("\n" + strings.Repeat(" ", indent) + "#  ")
			width = indent + 3
		}
		p.WriteString(" " + word)
		width += 1 + len(word)
	}
	p.WriteByte('\n')
}

func printable(s string) string {
	q := strconv.QuoteToGraphic(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// yaml is the policy with its explanation.
func (s *Suggestion) yaml(all *cover) string {
	var p page
	p.comment(0, fmt.Sprintf("Suggested from %s of %s, %s, %s.", flowsOf(all.flows, all.decisions), s.Workload, s.Direction, span(all.first, all.last)))
	p.comment(0, "Read it before it is used. Once it is enforced, what no rule lists is denied, in this direction.")
	p.comment(0, "HTTP rules do not ask for host, headers and query.")
	for _, n := range s.Notes {
		p.comment(0, "Look: "+n+".")
	}
	for _, l := range s.Left {
		p.comment(0, fmt.Sprintf("Left out: %s: %s.", flowsOf(l.Flows, l.Decisions), l.Why))
	}
	a := s.Policy
	p.line(0, "apiVersion: %s", a.APIVersion)
	p.line(0, "kind: %s", a.Kind)
	p.line(0, "metadata:")
	p.line(2, "name: %s", text(a.Name))
	p.line(2, "namespace: %s", text(a.Namespace))
	p.line(0, "spec:")
	p.line(2, "selector:")
	p.labels(4, &a.Spec.Selector)
	p.line(2, "order: %d", *a.Spec.Order)
	p.line(2, "mode: %s", text(string(a.Spec.Mode)))
	if len(a.Spec.Ingress) > 0 {
		p.line(2, "ingress:")
	}
	for i := range a.Spec.Ingress {
		r := &a.Spec.Ingress[i]
		to := make([]api.EgressPeer, len(r.From))
		for j := range r.From {
			to[j].Peer = r.From[j]
		}
		p.rule(&s.Rules[i], "from", to, &r.RuleMatch)
	}
	if len(a.Spec.Egress) > 0 {
		p.line(2, "egress:")
	}
	for i := range a.Spec.Egress {
		r := &a.Spec.Egress[i]
		p.rule(&s.Rules[i], "to", r.To, &r.RuleMatch)
	}
	return p.String()
}

func (p *page) rule(r *Rule, side string, peers []api.EgressPeer, m *api.RuleMatch) {
	p.comment(4, fmt.Sprintf("%s, %s.", flowsOf(r.Flows, r.Decisions), span(r.First, r.Last)))
	for _, g := range r.Generalised {
		p.comment(4, "Beyond what was seen: "+g.Words+".")
	}
	p.line(4, "- name: %s", text(r.Name))
	p.line(6, "action: Allow")
	if len(peers) > 0 {
		p.line(6, "%s:", side)
	}
	for i := range peers {
		p.peer(&peers[i])
	}
	if len(m.Ports) > 0 {
		p.line(6, "ports:")
	}
	for _, port := range m.Ports {
		p.line(8, "- port: %d", port.Port)
	}
	if m.TLS != nil {
		p.line(6, "tls:")
		p.list(8, "serverNames", m.TLS.ServerNames)
	}
	if len(m.HTTP) > 0 {
		p.line(6, "http:")
	}
	for _, h := range m.HTTP {
		first := "- "
		if len(h.Methods) > 0 {
			quoted := make([]string, len(h.Methods))
			for i, method := range h.Methods {
				quoted[i] = text(method)
			}
			p.line(8, "- methods: [%s]", strings.Join(quoted, ", "))
			first = "  "
		}
		p.line(8, "%spaths:", first)
		for _, path := range h.Paths {
			for _, one := range []struct{ kind, value string }{
				{"exact", path.Exact}, {"prefix", path.Prefix}, {"template", path.Template}, {"regex", path.Regex},
			} {
				if one.value != "" {
					p.line(12, "- %s: %s", one.kind, text(one.value))
				}
			}
		}
	}
}

func (p *page) peer(e *api.EgressPeer) {
	switch {
	case len(e.CIDRs) > 0:
		p.list(8, "- cidrs", e.CIDRs)
	case len(e.Domains) > 0:
		p.list(8, "- domains", e.Domains)
	case len(e.ServiceAccounts) > 0:
		p.list(8, "- serviceAccounts", e.ServiceAccounts)
	default:
		first := "- "
		if e.NamespaceSelector != nil {
			p.line(8, "- namespaceSelector:")
			p.labels(12, e.NamespaceSelector)
			first = "  "
		}
		p.line(8, "%spodSelector:", first)
		p.labels(12, e.PodSelector)
	}
}

func (p *page) labels(indent int, s *metav1.LabelSelector) {
	p.line(indent, "matchLabels:")
	for _, name := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		p.line(indent+2, "%s: %s", text(name), text(s.MatchLabels[name]))
	}
}

// list writes a list; where it is an item of one itself, its own items stand further in.
func (p *page) list(indent int, name string, values []string) {
	p.line(indent, "%s:", name)
	if strings.HasPrefix(name, "- ") {
		indent += 2
	}
	for _, v := range values {
		p.line(indent+2, "- %s", text(v))
	}
}

var (
	plainText = regexp.MustCompile(`^[A-Za-z/][-A-Za-z0-9._/]*$`)
	// yamlWords are texts to some readers of YAML and something else to others.
	yamlWords = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
)

// text is a scalar that every reader of YAML takes for this text.
func text(s string) string {
	if plainText.MatchString(s) && !slices.Contains(yamlWords, strings.ToLower(s)) {
		return s
	}
	return strconv.QuoteToASCII(s)
}

func flowsOf(flows int, decisions uint64) string {
	return plural(uint64(flows), "flow") + ", " + plural(decisions, "decision") //nolint:gosec // a count
}

func plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func span(first, last time.Time) string {
	const form = time.RFC3339
	switch {
	case first.IsZero() && last.IsZero():
		return "at times that are not known"
	case first.Equal(last):
		return "at " + first.UTC().Format(form)
	}
	return "from " + first.UTC().Format(form) + " to " + last.UTC().Format(form)
}
