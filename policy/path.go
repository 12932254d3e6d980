package policy

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// CanonicalPath is the path of a request target as every rule sees it, without the
// query, and the query without its question mark. It follows what Envoy's
// normalize_path, merge_slashes and path_with_escaped_slashes_action do to the path
// that it forwards, so that rules, logs and the workload see one and the same
// path; docs/semantics.md lists the steps. The reason is AmbiguousPath or
// MalformedRequest where no rule may be applied, else empty.
func CanonicalPath(target string, opt PathOptions) (path, query string, reason ReasonKind) {
	path, query, reason = normalisePath(target, opt)
	if reason == "" && ambiguous(path, opt) {
		reason = AmbiguousPath
	}
	return path, query, reason
}

// normalisePath is what Envoy does before it asks any filter.
func normalisePath(target string, opt PathOptions) (path, query string, reason ReasonKind) {
	if !strings.HasPrefix(target, "/") {
		return target, "", MalformedRequest
	}
	if strings.ContainsRune(target, '#') {
		return target, "", AmbiguousPath // what its normalisation fails on, Envoy calls so
	}
	path, query, _ = strings.Cut(target, "?")
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c == 0x7f {
			return path, query, MalformedRequest
		}
	}
	if opt.UnescapeSlashes {
		path = unescapeSlashes.Replace(path)
	} else if escapedSlash.MatchString(path) {
		return path, query, AmbiguousPath
	}
	if strings.Contains(path, "%00") {
		return path, query, AmbiguousPath
	}
	return mergeSlashes(removeDotSegments(canonicalOctets(path))), query, ""
}

var (
	unescapeSlashes = strings.NewReplacer("%2f", "/", "%2F", "/", "%5c", "\\", "%5C", "\\")
	escapedSlash    = regexp.MustCompile(`%2[fF]|%5[cC]`)
)

// canonicalOctets makes a backslash a slash, undoes the escapes of unreserved
// characters, escapes what a path may not hold, and writes escapes in upper case
// (RFC 3986, 6.2.2.1 and 6.2.2.2). Broken escapes stay as they are; ambiguous finds
// them.
func canonicalOctets(p string) string {
	var b strings.Builder
	b.Grow(len(p) + 8)
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == '\\':
			b.WriteByte('/')
		case c == '%' && i+2 < len(p) && isHex(p[i+1]) && isHex(p[i+2]):
			if d := unhex(p[i+1])<<4 | unhex(p[i+2]); unreserved(d) {
				b.WriteByte(d)
			} else {
				b.WriteString(strings.ToUpper(p[i : i+3]))
			}
			i += 2
		case c >= 0x80 || strings.IndexByte("\"<>^`{|}", c) >= 0:
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}

// removeDotSegments is RFC 3986, 5.2.4, for a path that begins with a slash; empty
// segments count as segments.
func removeDotSegments(p string) string {
	if !strings.Contains(p, "/.") {
		return p
	}
	segs := strings.Split(p[1:], "/")
	out := segs[:0]
	for i, s := range segs {
		last := i == len(segs)-1
		switch s {
		case ".":
			if last {
				out = append(out, "")
			}
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, s)
		}
	}
	return "/" + strings.Join(out, "/")
}

// mergeSlashes leaves // alone, as Envoy does.
func mergeSlashes(p string) string {
	if !strings.Contains(p, "//") {
		return p
	}
	if strings.Trim(p, "/") == "" {
		return "//"
	}
	var b strings.Builder
	b.Grow(len(p))
	for i := range len(p) {
		if p[i] == '/' && i > 0 && p[i-1] == '/' {
			continue
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

// AmbiguousPattern is the RE2 expression that finds, in a canonical path with a slash
// added (so that an escape cut short at the end is like any other), what servers read
// in different ways: a broken escape, an escaped control character or NUL, a double
// encoding, an escaped slash or backslash, the start of an overlong UTF-8 sequence, and
// a segment that is a dot segment or empty once its parameters are taken off (/..;/).
// So is the path //, which Envoy leaves as it is. Escapes of unreserved characters are
// undone by then; one that is there came together from a broken escape and what
// followed it (/%7%300 becomes /%700, which a server reads as /p0). Without
// literalParameters any semicolon is ambiguous, escaped or not.
func AmbiguousPattern(literalParameters bool) string {
	s := `%(?:[^0-9A-F]|[0-9A-F][^0-9A-F]|[01]|7F|25[0-9A-Fa-f][0-9A-Fa-f]|2F|5C|C[01]|E0%[89]|F0%8|F8%8|FC%8|3[0-9]|4[1-9A-F]|5[0-9A]|6[1-9A-F]|7[0-9A]|2D|2E|5F|7E)|/\.{0,2}(?:;|%3B)|^///`
	if !literalParameters {
		s += `|;|%3B`
	}
	return s
}

var ambiguousForms = map[bool]*regexp.Regexp{
	false: regexp.MustCompile(AmbiguousPattern(false)),
	true:  regexp.MustCompile(AmbiguousPattern(true)),
}

func ambiguous(path string, opt PathOptions) bool {
	return (strings.ContainsAny(path, "%;") || strings.HasPrefix(path, "//")) && ambiguousForms[opt.LiteralParameters].MatchString(path+"/")
}

// PathKind is the way a pattern names paths.
type PathKind string

const (
	ExactPath    PathKind = "exact"
	PrefixPath   PathKind = "prefix"
	TemplatePath PathKind = "template"
	RegexPath    PathKind = "regex"
)

// PathPattern names paths. Patterns compare by value except for their cache.
type PathPattern struct {
	Kind PathKind
	// Text is canonical: a prefix has no trailing slash (the root is empty).
	Text string

	re *lazyRegexp
}

// Regexp is the RE2 expression of a template or regex; it has to match the whole
// canonical path.
func (p PathPattern) Regexp() string {
	return p.re.expr
}

// Literal is the part of the path before which nothing can match: whole segments
// without a trailing slash, empty for the root.
func (p PathPattern) Literal() string {
	switch p.Kind {
	case TemplatePath:
		i := strings.IndexByte(p.Text, '{')
		return strings.TrimSuffix(p.Text[:max(i, 0)], "/")
	case RegexPath:
		re := p.re.compiled()
		if re == nil {
			return ""
		}
		lit, _ := re.LiteralPrefix()
		return lit[:max(strings.LastIndexByte(lit, '/'), 0)]
	}
	return p.Text
}

// Match reports whether a canonical path fits the pattern.
func (p PathPattern) Match(path string) bool {
	switch p.Kind {
	case ExactPath:
		return path == p.Text
	case PrefixPath:
		rest, ok := strings.CutPrefix(path, p.Text)
		return ok && (rest == "" || rest[0] == '/')
	}
	return p.re.MatchString(path)
}

// String is the pattern as in "prefix /api".
func (p PathPattern) String() string {
	text := p.Text
	if text == "" {
		text = "/"
	}
	return string(p.Kind) + " " + text
}

func newPathPattern(kind PathKind, text string) PathPattern {
	p := PathPattern{Kind: kind, Text: text}
	switch kind {
	case ExactPath:
		p.Text = canonicalOctets(text)
	case PrefixPath:
		p.Text = strings.TrimRight(canonicalOctets(text), "/")
	case TemplatePath:
		p.Text = canonicalTemplate(text)
		p.re = &lazyRegexp{expr: templateRegexp(p.Text)}
	case RegexPath:
		p.re = &lazyRegexp{expr: text}
	}
	return p
}

// canonicalTemplate canonicalises the literal segments and forgets the names.
func canonicalTemplate(t string) string {
	segs := strings.Split(t, "/")
	for i, s := range segs {
		switch {
		case strings.HasPrefix(s, "{") && strings.HasSuffix(s, "=**}"):
			segs[i] = "{**}"
		case strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}"):
			segs[i] = "{*}"
		default:
			segs[i] = canonicalOctets(s)
		}
	}
	return strings.Join(segs, "/")
}

func templateRegexp(t string) string {
	var b strings.Builder
	for _, s := range strings.Split(t, "/")[1:] {
		switch s {
		case "{**}":
			b.WriteString("(?:/.*)?")
		case "{*}":
			b.WriteString("/[^/]+")
		default:
			b.WriteString("/" + regexp.QuoteMeta(s))
		}
	}
	return b.String()
}

// lazyRegexp compiles when it is first asked, once: of templates translation never asks,
// and a set of 100,000 should not pay for what only explain uses. It is safe for
// concurrent use. An expression that does not compile, which validation refuses,
// matches nothing.
type lazyRegexp struct {
	expr string
	once sync.Once
	re   *regexp.Regexp
}

func (l *lazyRegexp) compiled() *regexp.Regexp {
	l.once.Do(func() { l.re, _ = regexp.Compile(`^(?:` + l.expr + `)$`) })
	return l.re
}

func (l *lazyRegexp) MatchString(s string) bool {
	re := l.compiled()
	return re != nil && re.MatchString(s)
}
