package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says whether a problem stops a set of files from being used.
type Severity string

const (
	// Error problems keep the whole set from being used.
	Error Severity = "error"
	// Warning problems are worth a look; the set is used.
	Warning Severity = "warning"
)

// Problem is one thing wrong with what a user wrote, addressed to the person
// who can mend it.
//
// +kubebuilder:object:generate=false
type Problem struct {
	// Code is stable: scripts may match it, and docs/problems.md has it as an anchor.
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	// File and Line (from 1) say where; Line is 0 where only the file is known.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Object is KIND NAMESPACE/NAME, where it could be read.
	Object string `json:"object,omitempty"`
	// Field is a path such as spec.ingress[0].http[1].paths[0].regex.
	Field string `json:"field,omitempty"`
	// Message says what is wrong, Fix what would be right.
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

// String is the problem in one line: FILE:LINE: CODE: OBJECT: FIELD: MESSAGE; FIX.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	fmt.Fprintf(&b, "%s %s: ", p.Severity, p.Code)
	if p.Object != "" {
		b.WriteString(p.Object + ": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	if p.Fix != "" {
		b.WriteString("; " + p.Fix)
	}
	return b.String()
}

// SortProblems orders problems by file, line, code and field.
func SortProblems(ps []Problem) {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			strings.Compare(a.Code, b.Code), strings.Compare(a.Field, b.Field),
			strings.Compare(a.Message, b.Message))
	})
}

// HasErrors reports whether any problem keeps the set from being used.
func HasErrors(ps []Problem) bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return p.Severity == Error })
}
