package fetch

import "encoding/json"

// mostNext bounds what a server can have us send back.
const mostNext = 4096

// envelope finds "more" and "next" in a TAXII envelope that passes by, wherever in it
// they are, without holding it: objects of hundreds of megabytes may stand before them.
// It follows strings and brackets, and leaves it to package feeds/parse to say what
// is proper JSON.
type envelope struct {
	more bool
	next string

	depth    int
	begun    bool
	bad      bool // something that is no object, or something after it
	inString bool
	escaped  bool
	inValue  bool   // after a colon at depth 1
	key      string // of that value
	token    []byte // a string or scalar at depth 1, without quotes
	quoted   bool   // it is a string
}

// complete reports whether one object passed, from its beginning to its end.
func (e *envelope) complete() bool { return e.begun && !e.bad && e.depth == 0 }

func (e *envelope) look(p []byte) {
	for _, c := range p {
		switch {
		case e.inString:
			e.inside(c)
		case c == ' ', c == '\t', c == '\n', c == '\r':
		case e.depth == 0:
			e.bad = e.bad || e.begun || c != '{'
			e.begun, e.depth = true, 1
			e.reset(false)
		case c == '"':
			e.inString = true
			if e.depth == 1 {
				e.token, e.quoted = e.token[:0], true
			}
		case c == '{', c == '[':
			e.depth++
		case c == '}', c == ']':
			if e.depth == 1 {
				e.member()
			}
			e.depth--
		case e.depth > 1:
		case c == ':':
			e.key = string(e.token)
			e.reset(true)
		case c == ',':
			e.member()
			e.reset(false)
		default:
			e.keep(c)
		}
	}
}

func (e *envelope) inside(c byte) {
	switch {
	case e.escaped:
		e.escaped = false
	case c == '\\':
		e.escaped = true
	case c == '"':
		e.inString = false
		return
	}
	if e.depth == 1 {
		e.keep(c)
	}
}

func (e *envelope) keep(c byte) {
	if len(e.token) <= mostNext {
		e.token = append(e.token, c)
	}
}

func (e *envelope) reset(inValue bool) { e.inValue, e.token, e.quoted = inValue, e.token[:0], false }

// member takes a key and value at depth 1.
func (e *envelope) member() {
	if !e.inValue {
		return
	}
	switch {
	case e.key == "more" && !e.quoted:
		e.more = string(e.token) == "true"
	case e.key == "next" && e.quoted && len(e.token) <= mostNext:
		// A token that is no proper string of JSON leaves next empty.
		_ = json.Unmarshal([]byte(`"`+string(e.token)+`"`), &e.next)
	}
}
