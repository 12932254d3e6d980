package api

import (
	"regexp/syntax"
	"strings"
)

const (
	maxRegexBytes = 1024
	maxRegexSteps = 2000
)

func checkPathRegex(s string) *fault {
	if f := checkRegex(s); f != nil {
		return f
	}
	// Only the obvious: an expression that begins with a plain character other
	// than /. What begins with a group or class gets the benefit of the doubt.
	start := strings.TrimPrefix(s, "^")
	if start != "" && !strings.ContainsRune(`/.([\^`, rune(start[0])) {
		return faultf(CodeRegexNoPath, "begin it with /", "paths begin with /, and the expression does not")
	}
	return nil
}

// checkRegex checks the syntax and the size of the program that matches it.
func checkRegex(s string) *fault {
	if len(s) > maxRegexBytes {
		return faultf(CodeRegex, "", "the expression has %d bytes and may have %d", len(s), maxRegexBytes)
	}
	re, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		return faultf(CodeRegex, "", "not an RE2 expression: %s", printable(strings.TrimPrefix(err.Error(), "error parsing regexp: ")))
	}
	// A kilobyte of repetitions can compile to millions of steps. The estimate keeps
	// that from being tried.
	if n := estimateSteps(re); n > 10*maxRegexSteps {
		return faultf(CodeRegexLarge, "repeat less", "the expression is too large (more than %d of %d steps)", 10*maxRegexSteps, maxRegexSteps)
	}
	program, err := syntax.Compile(re.Simplify())
	if err != nil {
		return faultf(CodeRegex, "", "not an RE2 expression: %s", printable(err.Error()))
	}
	if n := len(program.Inst); n > maxRegexSteps {
		return faultf(CodeRegexLarge, "repeat less", "the expression is too large (%d of %d steps)", n, maxRegexSteps)
	}
	return nil
}

// estimateSteps is about how many steps an expression compiles to.
func estimateSteps(re *syntax.Regexp) int {
	n := 1
	for _, sub := range re.Sub {
		n += estimateSteps(sub)
	}
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpRepeat:
		n *= max(re.Min, re.Max, 1)
	}
	return n
}
