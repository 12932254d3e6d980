package parse

import "strings"

const notExpressible = "a pattern that a list of addresses and names cannot express"

// What a comparison in a pattern is about.
type indicates uint8

const (
	indicatesAddress indicates = iota + 1
	indicatesName
	indicatesURL
)

type indicated struct {
	kind indicates
	text string
}

// pattern reads the part of the STIX patterning language (STIX 2.1, section 9) that is
// a list: comparisons with =, IN and ISSUBSET, joined by OR. What is joined otherwise
// asks for more than one thing to be true and is no list.
type pattern struct {
	rest   string
	values []indicated
	unsure []string
	broken bool
	narrow bool
}

// parsePattern gives the values that each suffice, and those alternatives that can't be
// expressed. There are no values if the pattern as a whole can't. It is not ok where the
// text is no pattern.
func parsePattern(text string) (values []indicated, unsure []string, ok bool) {
	p := &pattern{rest: text}
	p.observations(0)
	if p.next() != "" && !p.narrow {
		p.broken = true
	}
	switch {
	case p.narrow:
		return nil, nil, true
	case p.broken:
		return nil, nil, false
	}
	return p.values, p.unsure, true
}

func (p *pattern) stop() bool { return p.broken || p.narrow }

// observations reads [ … ] OR [ … ], with parentheses.
func (p *pattern) observations(depth int) {
	for {
		switch p.take() {
		case "[":
			p.comparisons(0)
			p.want("]")
		case "(":
			if depth > maxDepth {
				p.broken = true
				return
			}
			p.observations(depth + 1)
			p.want(")")
		default:
			p.broken = true
		}
		if p.stop() || !p.or() {
			return
		}
	}
}

func (p *pattern) comparisons(depth int) {
	for {
		if p.next() == "(" {
			p.take()
			if depth > maxDepth {
				p.broken = true
				return
			}
			p.comparisons(depth + 1)
			p.want(")")
		} else {
			p.comparison()
		}
		if p.stop() || !p.or() {
			return
		}
	}
}

// or passes over OR. Any other operator narrows what was read.
func (p *pattern) or() bool {
	switch p.next() {
	case "OR":
		p.take()
		return true
	case "AND", "FOLLOWEDBY", "WITHIN", "REPEATS", "START":
		p.narrow = true
	}
	return false
}

// comparison reads path operator value.
func (p *pattern) comparison() {
	before := p.rest
	path, op := p.take(), p.take()
	if path == "NOT" || op == "NOT" || op == "!" {
		p.narrow = true
		return
	}
	kind := kindOf(path)
	var list []string
	switch {
	case op == "=", op == "ISSUBSET" && kind == indicatesAddress:
		list = append(list, p.quoted())
	case op == "IN":
		p.want("(")
		for list = append(list, p.quoted()); !p.stop() && p.next() == ","; list = append(list, p.quoted()) {
			p.take()
		}
		p.want(")")
	case op == "":
		p.broken = true
	default:
		p.narrow = true
	}
	switch {
	case p.stop():
	case kind == 0:
		p.unsure = append(p.unsure, strings.TrimSpace(before[:len(before)-len(p.rest)]))
	default:
		for _, s := range list {
			p.values = append(p.values, indicated{kind, s})
		}
	}
}

func kindOf(path string) indicates {
	switch path {
	case "ipv4-addr:value", "ipv6-addr:value":
		return indicatesAddress
	case "domain-name:value":
		return indicatesName
	case "url:value":
		return indicatesURL
	}
	return 0
}

// quoted reads a value and gives the text of a string. Others are read over.
func (p *pattern) quoted() string {
	t := p.take()
	if t == "" || strings.Contains("()[],=", t) {
		p.broken = true
	}
	if !strings.HasPrefix(t, "'") {
		return t
	}
	t = t[1 : len(t)-1]
	if !strings.Contains(t, `\`) {
		return t
	}
	return strings.NewReplacer(`\\`, `\`, `\'`, `'`).Replace(t)
}

func (p *pattern) want(t string) {
	if !p.stop() && p.take() != t {
		p.broken = true
	}
}

// next is the token that take would take.
func (p *pattern) next() string {
	rest := p.rest
	t := p.take()
	p.rest = rest
	return t
}

// take reads a token: a string in quotes, one of the signs, or a word up to a blank or
// a sign, which may have strings in quotes in it. It is empty at the end.
func (p *pattern) take() string {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	if p.rest == "" {
		return ""
	}
	end := 0
	switch {
	case strings.IndexByte("()[],=", p.rest[0]) >= 0:
		end = 1
	case p.rest[0] == '\'':
		end = closing(p.rest)
	default:
		for end < len(p.rest) && strings.IndexByte(" \t\r\n()],=<>!", p.rest[end]) < 0 {
			switch p.rest[end] {
			case '\'':
				n := closing(p.rest[end:])
				if n == 0 {
					p.broken = true
					return ""
				}
				end += n
			case '[': // an index in a path
				n := strings.IndexByte(p.rest[end:], ']')
				end += max(n, 0) + 1
			default:
				end++
			}
		}
		if end == 0 { // < > and !
			end = 1
		}
	}
	if end == 0 {
		p.broken = true
		return ""
	}
	t := p.rest[:end]
	p.rest = p.rest[end:]
	return t
}

// closing is the length of a string in quotes, 0 for one that does not end.
func closing(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '\'':
			return i + 1
		}
	}
	return 0
}
