package api

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxProblems bounds what is reported about one document and about one file: a
// reader of problems mends the first and runs again, and a file of nonsense must
// not turn into gigabytes of messages.
const maxProblems = 1000

// step is one part of a field path: a field, an item of a list or a key of a map.
type step struct {
	name  string
	index int
	kind  stepKind
}

type stepKind uint8

const (
	stepField stepKind = iota
	stepItem
	stepKey
)

// fieldPath writes steps the way problems show them: spec.ingress[0].name.
func fieldPath(steps []step) string {
	var b strings.Builder
	for _, s := range steps {
		switch s.kind {
		case stepItem:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case stepKey:
			b.WriteString("[" + printable(s.name) + "]")
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(printable(s.name))
		}
	}
	return b.String()
}

// parseFieldPath reads what fieldPath writes. What is between brackets may be an
// index or a key; the node it is looked up in decides, so both are kept.
func parseFieldPath(field string) []step {
	var steps []step
	for field != "" {
		if field[0] == '[' {
			inner, rest, ok := strings.Cut(field[1:], "]")
			if !ok {
				return steps
			}
			s := step{kind: stepKey, name: inner}
			if i, err := strconv.Atoi(inner); err == nil {
				s.kind, s.index = stepItem, i
			}
			steps, field = append(steps, s), rest
			continue
		}
		field = strings.TrimPrefix(field, ".")
		end := strings.IndexAny(field, ".[")
		if end < 0 {
			end = len(field)
		}
		if end == 0 {
			return steps
		}
		steps, field = append(steps, step{name: field[:end]}), field[end:]
	}
	return steps
}

// reporter collects the problems of one object. It knows where in the object the
// caller is, so that the many small checks only say what is wrong. The path is
// turned into text, and the line looked up, only when there is a problem.
type reporter struct {
	file     string
	object   string
	path     []step
	line     func([]step) int // nil where there is no text to point at
	problems []Problem
	dropped  int
}

func (r *reporter) in(field string) { r.path = append(r.path, step{name: field}) }
func (r *reporter) at(index int)    { r.path = append(r.path, step{index: index, kind: stepItem}) }
func (r *reporter) key(name string) { r.path = append(r.path, step{name: name, kind: stepKey}) }
func (r *reporter) out()            { r.path = r.path[:len(r.path)-1] }

// report adds a problem of the field the reporter is at.
func (r *reporter) report(code, fix, format string, args ...any) {
	line := 0
	if r.line != nil {
		line = r.line(r.path)
	}
	r.reportLine(line, code, fix, format, args...)
}

// reportIn adds a problem of a field below the one the reporter is at.
func (r *reporter) reportIn(field, code, fix, format string, args ...any) {
	r.in(field)
	r.report(code, fix, format, args...)
	r.out()
}

// reportFault adds what a check of a single value found, nil for nothing.
func (r *reporter) reportFault(f *fault) {
	if f != nil {
		r.report(f.code, f.fix, "%s", f.message)
	}
}

func (r *reporter) reportLine(line int, code, fix, format string, args ...any) {
	if len(r.problems) >= maxProblems {
		r.dropped++
		return
	}
	r.problems = append(r.problems, Problem{
		Code: code, Severity: severityOf(code), File: r.file, Line: line,
		Object: r.object, Field: fieldPath(r.path),
		Message: fmt.Sprintf(format, args...), Fix: fix,
	})
}

// fault is what is wrong with one value, before it is known where the value is.
type fault struct {
	code, message, fix string
}

// Error makes a fault usable as the error of the exported parse functions.
func (f *fault) Error() string {
	if f.fix == "" {
		return f.message
	}
	return f.message + "; " + f.fix
}

// asError keeps a nil fault from becoming an error that is not nil.
func (f *fault) asError() error {
	if f == nil {
		return nil
	}
	return f
}

func faultf(code, fix, format string, args ...any) *fault {
	return &fault{code: code, fix: fix, message: fmt.Sprintf(format, args...)}
}

// quote shows a value in a message, whatever is in it and however long it is.
func quote(s string) string { return strconv.Quote(shorten(s)) }

func shorten(s string) string { return shortenTo(s, 80) }

func shortenTo(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := most
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// printable keeps what is unusual in a name from breaking the line it is shown in.
func printable(s string) string {
	s = shortenTo(s, 600)
	for _, c := range s {
		if !strconv.IsPrint(c) {
			return strconv.Quote(s)
		}
	}
	return s
}
