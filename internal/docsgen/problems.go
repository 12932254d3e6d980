package main

import (
	"fmt"
	"slices"
	"strings"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/kube/netpol"
	"pavise.dev/pavise/policy"
)

// commandCodes are those that the command itself reports, where a folder becomes what
// Envoy is given.
var commandCodes = []api.CodeInfo{
	{
		Code: "PAV0801", Severity: api.Error, Title: "The rules cannot be given to Envoy",
		Explanation: "The rules are valid one by one, and cannot be expressed within Envoy's bounds; the message says which and why. " +
			"Known is one cause: within a tier, Pass rules stand apart from one another, with other rules between them, more than 8 times. " +
			"Each such place nests the rest of the tier one level deeper, and Envoy refuses messages nested deeper than 100. Put the Pass rules together.",
	},
	{
		Code: "PAV0802", Severity: api.Warning, Title: "Rules that Envoy asks one after the other",
		Explanation: "Envoy is given trees, whose cost does not grow with the number of rules. These rules have no field that tells them apart, " +
			"such as a path, a host or a source address, so they were cut into lists. The policy is enforced; a request takes longer, in proportion to the lists. " +
			"Give more of the rules a path or a host.",
	},
	{
		Code: "PAV0803", Severity: api.Warning, Title: "Threat feeds and no module to ask them",
		Explanation: "Envoy asks the feeds by a module, libpavise.so, which `make build` puts beside the binary. Without it feeds are fetched and looked up, " +
			"and decide on no traffic. It is an error where a workload is closed when feeds cannot be asked: because it says `feeds: {onFailure: Closed}`, or because a feed is required.",
	},
	{
		Code: "PAV0804", Severity: api.Error, Title: "Two transparent workloads on one machine",
		Explanation: "`pavise run` has one Envoy for all workloads of the folder, and the transparent listeners of two of them have the same port. " +
			"With `pavise control-plane` each workload has an agent and an Envoy of its own, and nothing is in the way. `pavise check` does not report it.",
	},
}

// groups are the headings, by the first digits of the codes below them.
var groups = []struct{ prefix, title string }{
	{"PAV00", "Reading files"},
	{"PAV01", "Objects and names"},
	{"PAV02", "Peers and addresses"},
	{"PAV03", "Ports"},
	{"PAV04", "HTTP"},
	{"PAV05", "Domains and TLS"},
	{"PAV060", "Workloads"},
	{"PAV061", "Workloads: transparent listeners"},
	{"PAV065", "Threat feeds"},
	{"PAV066", "Threat feeds: secrets, trust and guards"},
	{"PAV067", "Threat feeds: the rest"},
	{"PAV07", "What policies come to"},
	{"PAV08", "What Envoy is given"},
	{"PAV09", "Policies of Kubernetes"},
}

const problemsIntro = `# Problems

<!-- Made by internal/docsgen; run ` + "`make docs`" + `. -->

Everything that ` + "`pavise check`" + ` and ` + "`pavise run`" + ` find wrong with a folder has a code. A code keeps its meaning and is
never used for anything else, so a script may match it.

An **error** keeps the whole folder from being used: at the start ` + "`run`" + ` ends, later the last good policies stay in force. A
**warning** is worth a look, and the folder is used.

A problem is one line: ` + "`FILE:LINE: SEVERITY CODE: OBJECT: FIELD: MESSAGE; FIX`" + `. With ` + "`-o json`" + ` each part is a field,
see [commands.md](commands.md#pavise-check).
`

// allCodes are the codes of every part, in order.
func allCodes() []api.CodeInfo {
	return slices.Concat(api.Codes(), policy.Codes(), commandCodes, netpol.Codes())
}

// problems is docs/problems.md.
func problems() string {
	var b strings.Builder
	b.WriteString(problemsIntro)
	codes := allCodes()
	for _, g := range groups {
		fmt.Fprintf(&b, "\n**%s**\n\n", g.title)
		for _, c := range codes {
			if strings.HasPrefix(c.Code, g.prefix) {
				fmt.Fprintf(&b, "- [%s](#%s) %s\n", c.Code, strings.ToLower(c.Code), c.Title)
			}
		}
	}
	for _, c := range codes {
		fmt.Fprintf(&b, "\n## %s\n\n%s: **%s.** %s\n", c.Code, severity(c), c.Title, c.Explanation)
	}
	return b.String()
}

func severity(c api.CodeInfo) string {
	if c.Severity == api.Error {
		return "Error"
	}
	return "Warning"
}
