package parse

import "bytes"

// zoneFile cuts a master file (RFC 1035, section 5) into records of words, which may go
// over several lines in parentheses. A record has up to 64 KiB.
type zoneFile struct {
	l *lines
	// line is where the record begins, and owned is set where it begins with an owner
	// and not with a blank.
	line  int64
	owned bool
	long  bool
	words [][]byte
	text  []byte
	ends  []int
	depth int
}

func newZoneFile(in *input) *zoneFile { return &zoneFile{l: newLines(in, maxLine)} }

// next reads a record that has words. At the end it reports false.
func (z *zoneFile) next() (bool, error) {
	for {
		line, ok := z.l.next()
		if !ok {
			return false, z.l.in.failed(z.l.no + 1)
		}
		z.line, z.long, z.depth = z.l.no, z.l.long, 0
		z.owned = len(line) > 0 && !isBlank(line[0])
		z.text, z.ends, z.words = z.text[:0], z.ends[:0], z.words[:0]
		if z.long {
			if line = trim(line); line[0] == ';' {
				continue
			}
			z.text = append(z.text, line...)
			return true, nil
		}
		z.split(line)
		for z.depth > 0 {
			if line, ok = z.l.next(); !ok {
				if err := z.l.in.failed(z.l.no + 1); err != nil {
					return false, err
				}
				return false, failf(Truncated, z.line, "the zone ends inside of parentheses that begin here")
			}
			if z.l.long || len(z.text)+len(line) > maxLine || len(z.ends) > maxLine {
				return false, failf(Malformed, z.line, "parentheses begin here and do not end within 64 KiB")
			}
			z.split(line)
		}
		if len(z.ends) == 0 {
			continue
		}
		from := 0
		for _, to := range z.ends {
			z.words = append(z.words, z.text[from:to])
			from = to
		}
		return true, nil
	}
}

// split takes the words of a line. An escape stays as it is written: no name that can be
// listed has one.
func (z *zoneFile) split(line []byte) {
	for len(line) > 0 {
		switch c := line[0]; {
		case isBlank(c):
			line = line[1:]
		case c == ';':
			return
		case c == '(':
			z.depth++
			line = line[1:]
		case c == ')':
			z.depth = max(z.depth-1, 0)
			line = line[1:]
		case c == '"':
			n := 1
			for n < len(line) && line[n] != '"' {
				if line[n] == '\\' {
					n++
				}
				n++
			}
			n = min(n, len(line))
			z.word(line[1:n])
			line = line[min(n+1, len(line)):]
		default:
			n := 0
			for n < len(line) && !isBlank(line[n]) && bytes.IndexByte([]byte(`;()"`), line[n]) < 0 {
				if line[n] == '\\' {
					n++
				}
				n++
			}
			n = min(n, len(line))
			z.word(line[:n])
			line = line[n:]
		}
	}
}

func (z *zoneFile) word(w []byte) {
	z.text = append(z.text, w...)
	z.ends = append(z.ends, len(z.text))
}

// zoneName is a name in a zone file. One that is not absolute is relative to the zone,
// whose own name is not always in the file.
type zoneName struct {
	text     string
	absolute bool
}

// under makes a name as it is written complete.
func (origin zoneName) under(word []byte) zoneName {
	n := len(word)
	switch {
	case n == 1 && word[0] == '@':
		return origin
	case n > 0 && word[n-1] == '.' && (n < 2 || word[n-2] != '\\'):
		return zoneName{string(bytes.ToLower(word[:n-1])), true}
	case origin.text == "":
		return zoneName{string(bytes.ToLower(word)), origin.absolute}
	}
	return zoneName{string(bytes.ToLower(word)) + "." + origin.text, origin.absolute}
}

// isTTL knows 3600 and 1h30m.
func isTTL(word []byte) bool {
	for i, c := range word {
		if c-'0' > 9 && (i == 0 || bytes.IndexByte([]byte("smhdwSMHDW"), c) < 0) {
			return false
		}
	}
	return len(word) > 0
}

func isClass(word []byte) bool {
	switch string(bytes.ToUpper(word)) {
	case "IN", "CH", "HS", "CS":
		return true
	}
	return false
}
