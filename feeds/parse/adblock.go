package parse

import "bytes"

// Why a rule is not taken.
const (
	cosmetic    = "a rule for elements of a page"
	regex       = "a regular expression"
	noNameRule  = "a rule that does not name a whole host as ||name^"
	narrowing   = "an option that narrows the rule"
	pathInRule  = "a rule for a path"
	switchesOff = "an option that switches another rule off"
)

// readAdBlock takes the rules of an ad-blocker's list that name a domain: ||name^, and
// @@||name^ for an exception (the syntax of Adblock Plus, as AdGuard documents it for
// DNS). Any other rule says more, or less, than that requests to a name are blocked.
//
// Lines that begin with ! are comments, and so are those with a # that is not the
// beginning of a rule for elements.
func readAdBlock(in *input, out *emitter) error {
	return eachLine(in, out, adBlockLine)
}

func adBlockLine(line []byte, l *lines, out *emitter) error {
	line = trim(line)
	if len(line) == 0 || line[0] == '!' || isAdBlockHeader(line) {
		return nil
	}
	out.begin(l.no)
	if isCosmetic(line) {
		out.unsupported(line, cosmetic)
		return nil
	}
	switch {
	case line[0] == '#':
		return nil
	case l.long:
		out.unreadable(line, longLine)
		return nil
	}
	rule := line
	if hasPrefix(rule, "@@") {
		out.e.Except, rule = true, rule[2:]
	}
	if isRegex(rule) {
		out.unsupported(line, regex)
		return nil
	}
	if reason := narrowed(rule); reason != "" {
		out.unsupported(line, reason)
		return nil
	}
	rule, _, _ = bytes.Cut(rule, []byte("$"))
	name, anchored := bytes.CutPrefix(rule, []byte("||"))
	host, tail, ends := bytes.Cut(name, []byte("^"))
	switch {
	case bytes.IndexByte(name, '/') >= 0:
		out.unsupported(line, pathInRule)
		return nil
	case !anchored || !ends || len(tail) > 0 && string(tail) != "|":
		out.unsupported(line, noNameRule)
		return nil
	}
	return adBlockHost(host, line, out)
}

// isRegex knows /…/ with and without options.
func isRegex(rule []byte) bool {
	i := bytes.LastIndexByte(rule, '/')
	return i > 0 && rule[0] == '/' && (i+1 == len(rule) || rule[i+1] == '$')
}

func adBlockHost(host, line []byte, out *emitter) error {
	if p, _, ok := parsePrefix(host); ok {
		if _, isAddr := parseAddr(bytes.Trim(host, "[]")); isAddr {
			return out.prefix(p, line)
		}
	}
	switch {
	case bytes.IndexByte(host, ':') >= 0:
		out.unsupported(line, narrowPort)
		return nil
	case hasPrefix(host, "*."):
		host = host[2:]
		if bytes.IndexByte(host, '*') < 0 {
			return out.named(host, line, Below, false)
		}
	}
	if bytes.IndexByte(host, '*') >= 0 {
		out.unsupported(line, badWildcard)
		return nil
	}
	return out.named(host, line, out.stated(Self|Below), false)
}

// narrowed says why the options of a rule keep it from being about every request to a
// name, and nothing where they do not.
func narrowed(rule []byte) string {
	_, options, _ := bytes.Cut(rule, []byte("$"))
	for len(options) > 0 {
		var option []byte
		option, options, _ = bytes.Cut(options, []byte(","))
		switch string(bytes.ToLower(trim(option))) {
		case "", "all", "important", "document", "doc":
		case "badfilter":
			return switchesOff
		default:
			return narrowing
		}
	}
	return ""
}

// isAdBlockHeader knows [Adblock Plus 2.0] and its kin.
func isAdBlockHeader(line []byte) bool {
	return (hasFold(line, "[ad") || hasFold(line, "[ublock")) && line[len(line)-1] == ']'
}

// isCosmetic finds ##, #@#, #?#, #$# and #%# and what is made of them, and AdGuard's $$.
func isCosmetic(line []byte) bool {
	for i, c := range line {
		if c == '$' && i+1 < len(line) && line[i+1] == '$' {
			return true
		}
		if c != '#' {
			continue
		}
		if i > 0 && isBlank(line[i-1]) {
			return false
		}
		if hasPrefix(line[i:], "## ") || hasPrefix(line[i:], "###") && i == 0 && len(bytes.Trim(line, "# ")) == 0 {
			return false // a heading in a comment
		}
		j := i + 1
		for j < len(line) && j < i+4 && bytes.IndexByte([]byte("@?$%"), line[j]) >= 0 {
			j++
		}
		return j < len(line) && line[j] == '#'
	}
	return false
}
