package parse

// readWarningList reads the list.json of MISP's warning lists: an object with list, and
// with type, which may stand behind it. Types cidr, hostname and string list addresses
// and names; a feed of substrings or regular expressions is refused, since read as
// names they would say something else.
func readWarningList(in *input, out *emitter) error {
	s := newScanner(in)
	defer func() { out.rep.Lines = s.lines() }()
	err := s.object(func(key string) error {
		switch key {
		case "type":
			raw, err := s.raw()
			if err != nil {
				return err
			}
			return warningType(raw, s.line)
		case "list":
			if ok, err := s.isNext('['); err != nil || !ok {
				return err
			}
			return s.array(func() error { return warned(s, out) })
		}
		return s.skip()
	})
	if err != nil {
		return err
	}
	return s.end()
}

func warningType(raw []byte, line int64) error {
	switch string(raw) {
	case `"cidr"`, `"hostname"`, `"string"`:
		return nil
	}
	return failf(Malformed, line, "a warning list of type %s is not a list of addresses or names", shown(raw))
}

func warned(s *scanner, out *emitter) error {
	if _, err := s.peek(); err != nil {
		return err
	}
	out.begin(s.line)
	raw, err := s.raw()
	if err != nil {
		return err
	}
	if raw[0] != '"' {
		out.unreadable(raw, "not a string")
		return nil
	}
	text, ok := unquote(raw)
	if !ok {
		return s.malformed("a string that cannot be read")
	}
	return out.value(text)
}
