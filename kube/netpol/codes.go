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
