package policy

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// Place is where a ValueTest looks.
type Place string

const (
	Header Place = "header"
	Query  Place = "query"
)

// ValueTest is a test of a header or of a query parameter, made of RE2 expressions
// so that Envoy and Evaluate run the same ones. The subject of a header test is the
// values of the header joined with commas, as Envoy joins them; the subject of a
// query test is the canonical path with its query.
//
// A test is strict (Allow, Pass) or wide (Deny): with several values a strict one
// holds when every value does, a wide one when any does. In a query, a strict test
// holds only where the parameter occurs once.
type ValueTest struct {
	Place Place
	// Name of the header, lower case, or of the parameter.
	Name string
	// Wide makes a value that no expression can read count as a match.
	Wide bool
	// Want is matched against the whole subject; empty asks for presence only.
	Want string
	// Not, if given, must not match the whole subject.
	Not string
	// Absent asks that there is no such header; Want and Not are empty.
	Absent bool
	// Label is the test as the user wrote it, for traces.
	Label string

	kind      valueKind
	want, not *lazyRegexp
}

// Compares reports whether the test reads the value, and not only whether there is one.
func (v *ValueTest) Compares() bool {
	return v.kind != presentValue && v.kind != absentValue
}

// valueKind is one of the four ways to test a value.
type valueKind int

const (
	presentValue valueKind = iota
	absentValue
	exactValue
	prefixValue
	regexValue
)

func newValueTest(place Place, name string, kind valueKind, text string, wide bool) ValueTest {
	v := ValueTest{Place: place, Name: name, Wide: wide, Label: label(place, name, kind, text), kind: kind}
	if place == Header {
		v.Name = strings.ToLower(name)
		v.header(kind, text)
	} else {
		v.query(kind, text)
	}
	v.want, v.not = &lazyRegexp{expr: v.Want}, &lazyRegexp{expr: v.Not}
	return v
}

func label(place Place, name string, kind valueKind, text string) string {
	s := string(place) + " " + name
	switch kind {
	case absentValue:
		return "no " + s
	case exactValue:
		return s + "=" + text
	case prefixValue:
		return s + "=" + text + "…"
	case regexValue:
		return s + "~" + text
	}
	return s
}

// header builds the expression over a comma-joined list.
func (v *ValueTest) header(kind valueKind, text string) {
	var one string
	switch kind {
	case absentValue:
		v.Absent = true
		return
	case presentValue:
		return
	case exactValue:
		one = regexp.QuoteMeta(text)
	case prefixValue:
		one = regexp.QuoteMeta(text) + `[^,]*`
	case regexValue:
		one = `(?:` + text + `)`
		if !v.Wide {
			one = `(?:` + without(text, ',') + `)`
		}
	}
	one = `[ \t]*` + one + `[ \t]*`
	if v.Wide {
		v.Want = `(?:.*,)?` + one + `(?:,.*)?`
	} else {
		v.Want = one + `(?:,` + one + `)*`
	}
}

// without narrows a regex so that its wildcards and classes do not run over the
// separators: ok.* must not accept the list "ok1,evil". Separators that are written
// out stay.
func without(expr string, separators ...rune) string {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return expr
	}
	var walk func(*syntax.Regexp)
	walk = func(r *syntax.Regexp) {
		switch r.Op {
		case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
			r.Op, r.Rune = syntax.OpCharClass, []rune{0, utf8.MaxRune}
		}
		if r.Op == syntax.OpCharClass {
			for _, x := range separators {
				r.Rune = removeRune(r.Rune, x)
			}
			if len(r.Rune) == 0 {
				r.Op = syntax.OpNoMatch
			}
		}
		for _, s := range r.Sub {
			walk(s)
		}
	}
	walk(re)
	return re.String()
}

func removeRune(ranges []rune, x rune) []rune {
	out := make([]rune, 0, len(ranges)+2)
	for i := 0; i < len(ranges); i += 2 {
		lo, hi := ranges[i], ranges[i+1]
		if x < lo || x > hi {
			out = append(out, lo, hi)
			continue
		}
		if lo < x {
			out = append(out, lo, x-1)
		}
		if x < hi {
			out = append(out, x+1, hi)
		}
	}
	return out
}

// query builds the expressions over the path with its query. Names and values are
// compared with their escapes undone; a regex sees the value as it was sent, so a
// wide one counts an escaped value as a match and a strict one does not. Some servers
// separate parameters at a semicolon too: a wide test looks at what either finds, a strict
// one holds only where both find the same.
func (v *ValueTest) query(kind valueKind, text string) {
	before, after := `[^?]*\?(?:[^&;]*[&;])*`, `(?:[&;].*)?`
	name := escaped(v.Name)
	twice := before + name + `(?:=[^&;]*)?[&;](?:[^&;]*[&;])*` + name + `(?:=[^&;]*)?` + after
	if !v.Wide && kind != absentValue {
		// What a server that separates at ampersands only takes for the value must fit.
		before, after = `[^?]*\?(?:[^&;]*&)*`, `(?:&.*)?`
	}
	switch kind {
	case presentValue:
		v.Want = before + name + `(?:=[^&;]*)?` + after
		return
	case absentValue:
		v.Want, v.Not = `.*`, before+name+`(?:=[^&;]*)?`+after
		return
	case exactValue:
		v.Want = before + name + `=` + escaped(text) + after
		if text == "" {
			v.Want = before + name + `=?` + after
		}
	case prefixValue:
		v.Want = before + name + `=` + escaped(text) + `[^&;]*` + after
	case regexValue:
		if v.Wide {
			v.Want = before + name + `=(?:(?:` + text + `)|[^&;]*[%+][^&;]*)` + after
		} else {
			v.Want = before + name + `=(?:` + without(text, '&', ';', '%', '+') + `)` + after
		}
	}
	if !v.Wide {
		v.Not = twice
	}
}

// escaped is an expression for s in which every character may be percent-encoded.
func escaped(s string) string {
	const hex = "0123456789abcdef"
	digit := func(d byte) string {
		if d < 10 {
			return hex[d : d+1]
		}
		return "[" + hex[d:d+1] + strings.ToUpper(hex[d:d+1]) + "]"
	}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		enc := "%" + digit(c>>4) + digit(c&15)
		switch {
		case c == ' ':
			b.WriteString(`(?:\+|` + enc + `)`)
		case c < ' ' || c >= 0x7f || strings.IndexByte("%&;+#", c) >= 0:
			b.WriteString(enc)
		default:
			b.WriteString(`(?:` + regexp.QuoteMeta(s[i:i+1]) + `|` + enc + `)`)
		}
	}
	return b.String()
}

// Match runs the test on its subject; present is false for a header that is not
// there.
func (v *ValueTest) Match(subject string, present bool) bool {
	if v.Absent {
		return !present
	}
	if !present {
		return false
	}
	if v.Want != "" && !v.want.MatchString(subject) || v.Want != "" && !utf8.ValidString(subject) {
		return v.Wide && !utf8.ValidString(subject)
	}
	return v.Not == "" || !v.not.MatchString(subject)
}
