package parse

import (
	"bytes"
	"encoding/json"
)

// readMISP reads a MISP event, the answer of a search, or a list of attributes (MISP
// core format, draft-dulaunoy-misp-core-format): the attributes of Event, of response
// and of the objects in them. What an event only refers to is passed over.
//
// An attribute is an entry if it is for detection (to_ids, which is taken for granted
// where it is missing) and not deleted. domain|ip is two entries; a port is dropped.
func readMISP(in *input, out *emitter) error {
	s := newScanner(in)
	defer func() { out.rep.Lines = s.lines() }()
	if err := mispValue(s, out); err != nil {
		return err
	}
	return s.end()
}

// mispValue walks a value that is an event, an attribute or a list of these.
func mispValue(s *scanner, out *emitter) error {
	c, err := s.peek()
	switch {
	case err != nil:
		return err
	case c == '[':
		return s.array(func() error { return mispValue(s, out) })
	case c != '{':
		return s.skip()
	}
	var a mispAttribute
	line := s.line
	err = s.object(func(key string) error {
		switch key {
		case "Event", "response", "Attribute", "Object":
			return mispValue(s, out)
		case "type":
			return mispField(s, &a.kind)
		case "value":
			return mispField(s, &a.value)
		case "to_ids":
			return mispField(s, &a.toIDs)
		case "deleted":
			return mispField(s, &a.deleted)
		}
		return s.skip()
	})
	if err != nil || a.kind == nil || a.value == nil {
		return err
	}
	out.begin(line)
	return a.give(out)
}

// mispAttribute has strings without their quotes, and other values as they are written.
type mispAttribute struct{ kind, value, toIDs, deleted []byte }

func mispField(s *scanner, field *[]byte) error {
	raw, err := s.raw()
	if err != nil {
		return err
	}
	text := ""
	if json.Unmarshal(raw, &text) == nil && raw[0] == '"' {
		raw = []byte(text)
	}
	*field = append([]byte{}, raw...)
	return nil
}

// isNo knows how MISP has written false.
func isNo(b []byte) bool { return string(b) == "false" || string(b) == "0" }

func (a *mispAttribute) give(out *emitter) error {
	switch {
	case len(a.deleted) > 0 && !isNo(a.deleted) && string(a.deleted) != "null":
		out.rep.Revoked++
		return nil
	case isNo(a.toIDs):
		out.rep.Skipped++
		return nil
	}
	first, second, _ := bytes.Cut(a.value, []byte("|"))
	switch string(a.kind) {
	case "ip-src", "ip-dst":
		return out.address(a.value)
	case "ip-src|port", "ip-dst|port":
		return out.address(first)
	case "domain", "hostname":
		return out.exact(trim(a.value), out.bare)
	case "hostname|port":
		return out.exact(trim(first), out.bare)
	case "domain|ip":
		if err := out.exact(trim(first), out.bare); err != nil {
			return err
		}
		return out.address(second)
	case "url":
		return out.url(a.value)
	}
	out.unsupported(a.value, "an attribute of type "+shown(a.kind))
	return nil
}
