package parse

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

const (
	// maxValue is the largest JSON value that is held at once.
	maxValue = 8 << 20
	// maxDepth is how deep values may be nested.
	maxDepth = 128
)

// scanner walks through JSON (RFC 8259) of any length. It knows the structure; what is
// kept of the text is for encoding/json to read.
type scanner struct {
	in *input
	// line of the next octet, from 1; fresh as long as nothing of it was used.
	line  int64
	fresh bool
	cr    bool
	// kept is the text since keep was set.
	kept  []byte
	keep  bool
	depth int
}

func newScanner(in *input) *scanner { return &scanner{in: in, line: 1, fresh: true} }

// lines is how many lines were used.
func (s *scanner) lines() int64 {
	if s.fresh {
		return s.line - 1
	}
	return s.line
}

// use passes over n octets, which have no line ends.
func (s *scanner) use(n int) error {
	if s.keep {
		if len(s.kept)+n > maxValue {
			return failf(TooLarge, s.line, "a JSON value of more than 8 MiB; a json.path that begins with $[*] or $.name[*] is read piece by piece")
		}
		s.kept = append(s.kept, s.in.buf[s.in.pos:s.in.pos+n]...)
	}
	s.in.pos += n
	s.fresh = s.fresh && n == 0
	s.cr = s.cr && n == 0
	return nil
}

// more makes sure that there is an octet. The end here is the end too early.
func (s *scanner) more() error {
	if s.in.pos < s.in.end || s.in.more() {
		return nil
	}
	if err := s.in.failed(s.line); err != nil {
		return err
	}
	return failf(Truncated, s.line, "the JSON ends before it is complete")
}

// blanks passes over white space, and reports false at the end.
func (s *scanner) blanks() (bool, error) {
	for {
		for s.in.pos < s.in.end {
			c := s.in.buf[s.in.pos]
			if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
				return true, nil
			}
			cr, fresh := s.cr, s.fresh
			if err := s.use(1); err != nil {
				return false, err
			}
			switch {
			case c == '\r' || c == '\n' && !cr:
				s.line++
				s.fresh, s.cr = true, c == '\r'
			case c == '\n': // of \r\n
				s.fresh = fresh
			}
		}
		if !s.in.more() {
			return false, s.in.failed(s.line)
		}
	}
}

// peek gives the next octet that is no white space.
func (s *scanner) peek() (byte, error) {
	ok, err := s.blanks()
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, s.more()
	}
	return s.in.buf[s.in.pos], nil
}

func (s *scanner) malformed(what string) error {
	return failf(Malformed, s.line, "not JSON: %s", what)
}

// expect passes over one octet.
func (s *scanner) expect(want byte) error {
	c, err := s.peek()
	if err != nil {
		return err
	}
	if c != want {
		return s.malformed("expected " + string(rune(want)) + " and found " + shown([]byte{c}))
	}
	return s.use(1)
}

// object calls f for each member, which has to use its value.
func (s *scanner) object(f func(key string) error) error {
	return s.list('{', '}', func() error {
		if c, err := s.peek(); err != nil {
			return err
		} else if c != '"' {
			return s.malformed("a member without a name")
		}
		key := ""
		if f == nil {
			if err := s.text(); err != nil {
				return err
			}
		} else if raw, err := s.raw(); err != nil {
			return err
		} else if name, ok := unquote(raw); !ok {
			return s.malformed("a name that cannot be read")
		} else {
			key = string(name)
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		if f == nil {
			return s.skip()
		}
		return f(key)
	})
}

// array calls f for each element, which has to use it.
func (s *scanner) array(f func() error) error { return s.list('[', ']', f) }

func (s *scanner) list(opens, closes byte, f func() error) error {
	if err := s.expect(opens); err != nil {
		return err
	}
	if s.depth++; s.depth > maxDepth {
		return s.malformed("nested too deeply")
	}
	defer func() { s.depth-- }()
	c, err := s.peek()
	if err != nil {
		return err
	}
	for c != closes {
		if err := f(); err != nil {
			return err
		}
		if c, err = s.peek(); err != nil {
			return err
		}
		if c == closes {
			break
		}
		if c != ',' {
			return s.malformed("expected , or " + string(rune(closes)) + " and found " + shown([]byte{c}))
		}
		if err := s.use(1); err != nil {
			return err
		}
		if c, err = s.peek(); err != nil {
			return err
		}
		if c == closes {
			return s.malformed("a , before " + string(rune(closes)))
		}
	}
	return s.use(1)
}

// skip passes over a value of any length.
func (s *scanner) skip() error {
	c, err := s.peek()
	if err != nil {
		return err
	}
	switch c {
	case '{':
		return s.object(nil)
	case '[':
		return s.array(s.skip)
	case '"':
		return s.text()
	}
	return s.literal()
}

// text passes over a string.
func (s *scanner) text() error {
	if err := s.use(1); err != nil {
		return err
	}
	escaped := false
	for {
		if err := s.more(); err != nil {
			return err
		}
		b := s.in.buf[s.in.pos:s.in.end]
		for i, c := range b {
			switch {
			case c < ' ':
				return s.malformed("a control character in a string")
			case escaped:
				escaped = false
			case c == '\\':
				escaped = true
			case c == '"':
				return s.use(i + 1)
			}
		}
		if err := s.use(len(b)); err != nil {
			return err
		}
	}
}

// literal passes over a number, true, false or null.
func (s *scanner) literal() error {
	var word []byte
	for {
		if s.in.pos == s.in.end && !s.in.more() {
			if err := s.in.failed(s.line); err != nil {
				return err
			}
			break
		}
		c := s.in.buf[s.in.pos]
		if bytes.IndexByte([]byte("+-.0123456789abcdefghijklmnopqrstuvwxyzE"), c) < 0 || len(word) > maxName {
			break
		}
		word = append(word, c)
		if err := s.use(1); err != nil {
			return err
		}
	}
	if len(word) == 0 || !json.Valid(word) {
		if s.in.pos == s.in.end && s.in.err != nil {
			return s.more() // cut off
		}
		return s.malformed("a value that is none")
	}
	return nil
}

// raw gives the text of the next value, until the next call.
func (s *scanner) raw() ([]byte, error) {
	if _, err := s.peek(); err != nil {
		return nil, err
	}
	s.kept, s.keep = s.kept[:0], true
	err := s.skip()
	s.keep = false
	return s.kept, err
}

// end makes sure that nothing follows.
func (s *scanner) end() error {
	more, err := s.blanks()
	if err == nil && more {
		return s.malformed("something behind the end of the document")
	}
	return err
}

// isNext tells whether the next value begins with c, and passes over any other.
func (s *scanner) isNext(c byte) (bool, error) {
	next, err := s.peek()
	if err != nil {
		return false, err
	}
	if next != c {
		return false, s.skip()
	}
	return true, nil
}

// unquote gives the text of a string in JSON. It may be part of raw.
func unquote(raw []byte) ([]byte, bool) {
	if bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return raw[1 : len(raw)-1], true
	}
	text := ""
	err := json.Unmarshal(raw, &text)
	return []byte(text), err == nil
}

// decode reads a value into a struct, and reports false where it is another shape.
func decode(raw []byte, into any) bool { return json.Unmarshal(raw, into) == nil }
