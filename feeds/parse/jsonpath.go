package parse

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/theory/jsonpath"
	"github.com/theory/jsonpath/spec"
)

// selection is a JSONPath (RFC 9535), cut where the document can be read piece by
// piece: $.data.list[*].ip leads to data and list, and then asks $[*].ip of each
// element in a list of its own.
type selection struct {
	full *jsonpath.Path
	// lead and piece are the cut path; piece is nil where there is no place to cut.
	lead  []string
	piece *jsonpath.Path
	// plain is set where the piece is nothing but names, and names has them: there is
	// then no need to decode what is around the value.
	plain bool
	names []string
}

func newSelection(text string) (*selection, error) {
	if text == "" {
		return nil, failf(Misconfigured, 0, "json.path is needed to read this format")
	}
	path, err := jsonpath.Parse(text)
	if err != nil {
		return nil, &Error{Kind: Misconfigured, Detail: "json.path " + shown([]byte(text)), Err: err}
	}
	s := &selection{full: path}
	for i, segment := range path.Query().Segments() {
		selectors := segment.Selectors()
		if segment.IsDescendant() || len(selectors) != 1 {
			return s, nil
		}
		switch one := selectors[0].(type) {
		case spec.Name:
			s.lead = append(s.lead, string(one))
			continue
		case spec.WildcardSelector:
			s.names, s.plain = namesOf(path.Query().Segments()[i+1:])
		case *spec.FilterSelector:
			// A filter that asks the document from its root can't be asked of a piece.
			if strings.Contains(one.String(), "$") {
				return s, nil
			}
		default:
			return s, nil
		}
		rest := path.Query().Segments()[i:]
		for _, later := range rest[1:] {
			if strings.Contains(later.String(), "$") {
				return s, nil
			}
		}
		s.piece = jsonpath.New(spec.Query(true, rest...))
		return s, nil
	}
	return s, nil
}

// namesOf is the names of segments that are nothing else.
func namesOf(segments []*spec.Segment) (names []string, ok bool) {
	for _, segment := range segments {
		selectors := segment.Selectors()
		if segment.IsDescendant() || len(selectors) != 1 {
			return nil, false
		}
		name, ok := selectors[0].(spec.Name)
		if !ok {
			return nil, false
		}
		names = append(names, string(name))
	}
	return names, true
}

const notString = "json.path selects something that is not a string"

// readJSON reads one document and takes the strings that json.path selects.
//
// A path that begins with $[*] or $.name[*], or a filter in that place, is asked of one
// element after another, which may have 8 MiB each. Any other path needs the document
// at once, which may then have 8 MiB. null is passed over; what else is not a string is
// unreadable.
func readJSON(in *input, out *emitter) error {
	sel, err := newSelection(out.o.JSON.Path)
	if err != nil {
		return err
	}
	s := newScanner(in)
	defer func() { out.rep.Lines = s.lines() }()
	if sel.piece == nil {
		err = take(s, out, sel.full, false)
	} else {
		err = sel.walk(s, out, sel.lead)
	}
	if err != nil {
		return err
	}
	return s.end()
}

// walk goes down the names of lead and asks the path of each element there.
func (sel *selection) walk(s *scanner, out *emitter, lead []string) error {
	element := func() error {
		if sel.plain {
			return pick(s, out, sel.names)
		}
		return take(s, out, sel.piece, true)
	}
	c, err := s.peek()
	switch {
	case err != nil:
		return err
	case len(lead) > 0 && c == '{':
		return s.object(func(key string) error {
			if key != lead[0] {
				return s.skip()
			}
			return sel.walk(s, out, lead[1:])
		})
	case len(lead) == 0 && c == '[':
		return s.array(element)
	case len(lead) == 0 && c == '{':
		return s.object(func(string) error { return element() })
	}
	return s.skip()
}

// take reads the next value and gives what the path selects of it, or of a list with
// nothing but it.
func take(s *scanner, out *emitter, path *jsonpath.Path, element bool) error {
	if _, err := s.peek(); err != nil {
		return err
	}
	line := s.line
	raw, err := s.raw()
	if err != nil {
		return err
	}
	doc, at, err := decodePlaced(raw, line)
	if err != nil {
		return &Error{Kind: Malformed, Line: line, Detail: "not JSON", Err: err}
	}
	if element {
		doc, at = []any{doc}, &place{list: []*place{at}}
	}
	return give(path, doc, at, out)
}

// give gives what the path selects of a document.
func give(path *jsonpath.Path, doc any, at *place, out *emitter) error {
	nodes := path.SelectLocated(doc)
	if len(nodes) == 0 {
		out.rep.Skipped++
		return nil
	}
	if len(nodes) > 1 {
		nodes.Sort() // members of an object are selected in any order
	}
	for _, n := range nodes {
		out.begin(at.at(n.Path))
		switch v := n.Node.(type) {
		case string:
			if err := out.value([]byte(v)); err != nil {
				return err
			}
		case nil:
			out.rep.Skipped++
		default:
			text, err := json.Marshal(v)
			if err != nil {
				text = []byte(fmt.Sprint(v))
			}
			out.unreadable(text, notString)
		}
	}
	return nil
}

// pick gives the value that names lead to from the next value on.
func pick(s *scanner, out *emitter, names []string) error {
	c, err := s.peek()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		out.begin(s.line)
		raw, err := s.raw()
		if err != nil {
			return err
		}
		return pickString(raw, out)
	}
	found := false
	if c != '{' {
		err = s.skip()
	} else {
		err = s.object(func(key string) error {
			if key != names[0] {
				return s.skip()
			}
			found = true
			return pick(s, out, names[1:])
		})
	}
	if !found {
		out.rep.Skipped++
	}
	return err
}

func pickString(raw []byte, out *emitter) error {
	switch {
	case string(raw) == "null":
		out.rep.Skipped++
		return nil
	case raw[0] != '"':
		out.unreadable(raw, notString)
		return nil
	}
	text, ok := unquote(raw)
	if !ok {
		return failf(Malformed, int64(out.e.Line), "not JSON: a string that cannot be read")
	}
	return out.value(text)
}
