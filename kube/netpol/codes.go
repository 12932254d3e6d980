package netpol

import (
	"fmt"

	"pavise.dev/pavise/api"
)

// Codes of the problems that this package reports.
const (
	CodeUnreadable  = "PAV0901" // a field or value is not known
	CodeUnsupported = "PAV0902" // known, and nothing that Pavise can enforce
	CodeAddress     = "PAV0903" // no range of addresses
	CodeNoTCP       = "PAV0904" // a rule for UDP or SCTP only; a warning
	CodePort        = "PAV0905" // no port
	CodeSelector    = "PAV0906" // no label selector
	CodeLeftOut     = "PAV0907" // the whole policy could not be read and is left out
)

// Codes explains them, for docs/problems.md.
func Codes() []api.CodeInfo {
	return []api.CodeInfo{
		{
			Code: CodeUnreadable, Severity: api.Error, Title: "Unknown field of a policy of Kubernetes",
			Explanation: "A field or a value of the NetworkPolicy or ClusterNetworkPolicy is not known here. " +
				"The rule that has it allows nothing, and a rule that denies by it denies more: what is not understood is never let through.",
		},
		{
			Code: CodeUnsupported, Severity: api.Error, Title: "Nothing that can be enforced",
			Explanation: "The field is known and asks for something that a sidecar cannot do, such as to select nodes. The message says what became of the rule. " +
				"Write that part for the network plugin, or as an AccessPolicy.",
		},
		{
			Code: CodeAddress, Severity: api.Error, Title: "No range of addresses",
			Explanation: "`cidr` or `except` is no range of IPv4 or IPv6 addresses, or `except` is not within `cidr`. The peer stands for nobody.",
		},
		{
			Code: CodeNoTCP, Severity: api.Warning, Title: "A rule without TCP",
			Explanation: "The rule names ports of UDP or SCTP only, and neither passes through Envoy: the rule never matches.",
		},
		{
			Code: CodePort, Severity: api.Error, Title: "No port",
			Explanation: "A port is not between 1 and 65535, a range ends before it begins, or a name of a port is no name. The rule allows nothing at that port.",
		},
		{
			Code: CodeSelector, Severity: api.Error, Title: "No label selector",
			Explanation: "The selector cannot be read. A peer with it stands for nobody; a policy that selects its pods by it is left out.",
		},
		{
			Code: CodeLeftOut, Severity: api.Error, Title: "A policy of Kubernetes was left out",
			Explanation: "The whole object could not be read. Its last version that could be stays in force, if there was one while the control plane ran.",
		},
	}
}

// reporter collects the problems of one object.
type reporter struct {
	object   string
	problems []api.Problem
}

// maxProblems bounds what is said of one object; the rest is counted.
const maxProblems = 64

func (r *reporter) report(sev api.Severity, code, field, fix, format string, args ...any) {
	if len(r.problems) == maxProblems {
		r.problems = append(r.problems, api.Problem{
			Code: CodeUnreadable, Severity: api.Error, Object: r.object,
			Message: fmt.Sprintf("there are more than %d problems; the others are not listed", maxProblems),
		})
	}
	if len(r.problems) > maxProblems {
		return
	}
	r.problems = append(r.problems, api.Problem{
		Code: code, Severity: sev, Object: r.object, Field: field, Message: fmt.Sprintf(format, args...), Fix: fix,
	})
}

func (r *reporter) fail(code, field, fix, format string, args ...any) {
	r.report(api.Error, code, field, fix, format, args...)
}
