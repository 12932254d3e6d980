package api

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxPathBytes bounds a path, and the value of a header or parameter.
const maxPathBytes = 8192

func validatePath(r *reporter, m *PathMatch) {
	var given []string
	for _, k := range []struct {
		name, value string
		check       func(string) *fault
	}{
		{"exact", m.Exact, checkLiteralPath},
		{"prefix", m.Prefix, checkLiteralPath},
		{"template", m.Template, checkTemplate},
		{"regex", m.Regex, checkPathRegex},
	} {
		if k.value == "" {
			continue
		}
		given = append(given, k.name)
		r.in(k.name)
		r.reportFault(k.check(k.value))
		r.out()
	}
	switch {
	case len(given) == 0:
		r.report(CodePathKind, "give one of exact, prefix, template, regex", "the path is empty")
	case len(given) > 1:
		r.report(CodePathKind, "make one item of the list of each", "%s are given at once", enumerate(given))
	}
}

func checkLiteralPath(path string) *fault {
	if f := checkPath(path, path); f != nil {
		return f
	}
	if strings.ContainsAny(path, "{}") {
		return faultf(CodePathLiteral, "use template for {name}", "{ and } stand for themselves here")
	}
	if strings.Contains(path, "*") {
		return faultf(CodePathLiteral, "use prefix for what is below a path, template for one segment", "* stands for itself here")
	}
	return nil
}

// checkPath refuses what no request path that reaches the rules can be. Such a rule
// would never match, and a Deny that never matches is a hole.
// What is shown of it is the template, where the path comes from one.
func checkPath(path, shown string) *fault {
	switch {
	case len(path) > maxPathBytes:
		return faultf(CodePath, "", "the path has %d bytes and may have %d", len(path), maxPathBytes)
	case path == "" || path[0] != '/':
		return faultf(CodePath, "write "+quote("/"+shown), "%s does not begin with /", quote(shown))
	case strings.ContainsAny(path, "?#"):
		return faultf(CodePath, "remove it, and use query for parameters", "a path ends before ? and #")
	case hasControl(path) || !utf8.ValidString(path):
		return faultf(CodePath, "", "%s has a control character", quote(shown))
	case strings.Contains(path, " "):
		return faultf(CodePath, "write %20", "%s has a space", quote(shown))
	case strings.Contains(path, `\`):
		return faultf(CodePathAmbiguous, "write /", `no path has a \ any more when this is looked at`)
	}
	plain, f := unescape(path, shown)
	if f == nil {
		f = checkEscapes(plain)
	}
	if f != nil {
		return f
	}
	if strings.Contains(path, "//") {
		single := path
		for strings.Contains(single, "//") {
			single = strings.ReplaceAll(single, "//", "/")
		}
		fix := ""
		if path == shown {
			fix = "write " + quote(single)
		}
		return faultf(CodePathAmbiguous, fix, "// is made / before this is looked at")
	}
	for segment := range strings.SplitSeq(plain, "/") {
		name, _, parameters := strings.Cut(segment, ";")
		switch {
		case segment == "." || segment == "..":
			return faultf(CodePathAmbiguous, "write the path that it comes to", "the segment %s is resolved before this is looked at", quote(segment))
		case parameters && (name == "" || name == "." || name == ".."):
			return faultf(CodePathAmbiguous, "", "requests with the segment %s are denied before this is looked at", quote(segment))
		}
	}
	if strings.Contains(plain, ";") || strings.Contains(strings.ToLower(plain), "%3b") {
		return faultf(CodePathParameter, "", "; only matches where the workload says pathParameters: Literal")
	}
	return nil
}

// unescape undoes the escapes of characters that need none, as is done to the path of
// a request, so that /%2e%2e/ is looked at as /../.
func unescape(path, shown string) (string, *fault) {
	if !strings.Contains(path, "%") {
		return path, nil
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			b.WriteByte(path[i])
			continue
		}
		if !startsHex(path[i+1:]) {
			return "", faultf(CodePath, "write %25 for a % itself", "%s has a %% without two hexadecimal digits after it", quote(shown))
		}
		octet, _ := strconv.ParseUint(path[i+1:i+3], 16, 8)
		if c := byte(octet); isAlnum(c) || c == '-' || c == '.' || c == '_' || c == '~' {
			b.WriteByte(c)
		} else {
			b.WriteString(path[i : i+3])
		}
		i += 2
	}
	return b.String(), nil
}

// checkEscapes refuses what servers read in different ways. All escapes are whole.
func checkEscapes(path string) *fault {
	for rest := path; ; {
		i := strings.IndexByte(rest, '%')
		if i < 0 {
			return nil
		}
		escape := strings.ToLower(rest[i+1 : i+3])
		rest = rest[i+3:]
		switch {
		case escape == "25" && startsHex(rest):
			return faultf(CodePathAmbiguous, "", "requests with the double encoding %%25%s in the path are denied before this is looked at", rest[:2])
		// Slashes, control characters, and how an overlong UTF-8 sequence begins.
		case escape == "2f", escape == "5c", escape < "20", escape == "7f", escape == "c0", escape == "c1":
			return faultf(CodePathAmbiguous, "", "requests with %%%s in the path are denied before this is looked at", escape)
		}
	}
}

func startsHex(s string) bool {
	return len(s) >= 2 && isHex(s[0]) && isHex(s[1])
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// checkTemplate checks the variables, and what is between them as a path.
func checkTemplate(template string) *fault {
	if len(template) > maxPathBytes {
		return faultf(CodePath, "", "the path has %d bytes and may have %d", len(template), maxPathBytes)
	}
	segments := strings.Split(template, "/")
	names := map[string]bool{}
	for i, s := range segments {
		if !strings.ContainsAny(s, "{}") {
			continue
		}
		if s[0] != '{' || s[len(s)-1] != '}' || strings.Count(s, "{")+strings.Count(s, "}") != 2 {
			return faultf(CodeTemplate, "write /{name}/", "%s is not a whole segment in braces", quote(s))
		}
		name, pattern, hasPattern := strings.Cut(s[1:len(s)-1], "=")
		switch {
		case !isVariable(name):
			return faultf(CodeTemplate, "use letters, digits and _", "%s is not the name of a variable", quote(name))
		case names[name]:
			return faultf(CodeTemplate, "rename one of them", "the variable %s is given twice", quote(name))
		case hasPattern && pattern == "*":
			return faultf(CodeTemplate, "write {"+name+"}", "%s is written shorter here", quote(s))
		case hasPattern && pattern != "**":
			return faultf(CodeTemplate, "write {"+name+"} or {"+name+"=**}", "%s is not known after a =", quote(pattern))
		case hasPattern && i != len(segments)-1:
			return faultf(CodeTemplate, "", "%s has to be the last segment", quote(s))
		}
		names[name] = true
		segments[i] = "x"
	}
	path := strings.Join(segments, "/")
	if strings.Contains(path, "*") {
		return faultf(CodeTemplate, "write {name} for one segment, {name=**} for the rest", "* alone means nothing in a template")
	}
	return checkPath(path, template)
}

func isVariable(s string) bool {
	for i := range len(s) {
		c := s[i]
		if digit := '0' <= c && c <= '9'; c != '_' && !isAlnum(c) || digit && i == 0 {
			return false
		}
	}
	return s != ""
}
