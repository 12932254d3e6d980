package parse

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"pavise.dev/pavise/api"
)

// readCSV reads one column, with RFC 4180's quotes, and a second one for confidences.
//
// It is lenient where lists are careless: blanks before a quote are dropped, and a quote
// inside a field without quotes is a letter. A record has up to 64 KiB; a quote that is
// not closed within them, or at all, ends the parse, since it is not known what of the
// rest it swallowed. An empty field is passed over.
func readCSV(in *input, out *emitter) error {
	t, err := newTable(in, out.o.CSV)
	if err != nil {
		return err
	}
	defer func() { out.rep.Lines = t.l.no }()
	for {
		ok, err := t.read()
		if err != nil || !ok {
			return err
		}
		if err := t.give(out); err != nil {
			return err
		}
	}
}

// column is one that is asked for: by number, or by name until the header is seen.
type column struct {
	name  string
	index int
}

// table reads records and knows where the columns are.
type table struct {
	l              *lines
	delim, comment []byte
	value, conf    column
	header, named  bool
	start          int64
	long           bool
	// text has the fields of the record one behind the other; ends says where each ends.
	text []byte
	ends []int
	// What the reader of fields is in.
	quoted, began bool
}

func newTable(in *input, o api.FeedCSVOptions) (*table, error) {
	t := &table{l: newLines(in, maxLine), delim: []byte(o.Delimiter), comment: []byte(o.Comment), header: o.Header}
	switch o.Delimiter {
	case "":
		t.delim = []byte(",")
	case `\t`:
		t.delim = []byte("\t")
	}
	if utf8.RuneCount(t.delim) != 1 || bytes.ContainsAny(t.delim, "\"\r\n") {
		return nil, failf(Misconfigured, 0, "csv.delimiter %s is not one character", shown(t.delim))
	}
	if o.Comment == "" {
		t.comment = []byte("#")
	}
	if o.Column == "" {
		o.Column = "1"
	}
	var err error
	if t.value, err = t.column("csv.column", o.Column); err != nil {
		return nil, err
	}
	t.conf = column{index: -1}
	if o.ConfidenceColumn != "" {
		t.conf, err = t.column("csv.confidenceColumn", o.ConfidenceColumn)
	}
	return t, err
}

func (t *table) column(option, s string) (column, error) {
	if n, err := strconv.ParseUint(s, 10, 16); err == nil {
		if n == 0 {
			return column{}, failf(Misconfigured, 0, "%s counts from 1", option)
		}
		return column{index: int(n) - 1}, nil
	}
	if !t.header {
		return column{}, failf(Misconfigured, 0, "%s %s is a name, which needs csv.header", option, shown([]byte(s)))
	}
	t.named = true
	return column{name: s, index: -1}, nil
}

// read reads the next record that is no comment and no header.
func (t *table) read() (bool, error) {
	found := false // whether the names stood in a comment
	for {
		line, ok := t.l.next()
		if !ok {
			return false, t.l.in.failed(t.l.no + 1)
		}
		text := trim(line)
		if len(text) == 0 {
			continue
		}
		if bytes.HasPrefix(text, t.comment) {
			if t.header && t.named {
				t.clear()
				t.feed(trim(bytes.TrimPrefix(text, t.comment)))
				t.field()
				found = t.find() || found
			}
			continue
		}
		t.clear()
		t.start, t.long = t.l.no, t.l.long
		if !t.long {
			if err := t.record(line); err != nil {
				return false, err
			}
		}
		if !t.header {
			return true, nil
		}
		t.header = false
		switch {
		case !t.named || t.find():
			// the header
		case found:
			return true, nil // the first record, since the names stood in a comment
		default:
			return false, failf(Misconfigured, t.start, "the header has no column of the name asked for in csv")
		}
	}
}

func (t *table) clear() {
	t.text, t.ends, t.quoted, t.began = t.text[:0], t.ends[:0], false, false
}

// record reads the fields of a record that begins with a line.
func (t *table) record(line []byte) error {
	for {
		t.feed(line)
		if !t.quoted {
			t.field()
			return nil
		}
		t.text = append(t.text, '\n')
		var ok bool
		if line, ok = t.l.next(); !ok {
			if err := t.l.in.failed(t.l.no + 1); err != nil {
				return err
			}
			return failf(Truncated, t.start, "the feed ends in a quoted field that begins here")
		}
		if t.l.long || len(t.text)+len(line) > maxLine {
			return failf(Malformed, t.start, "a quoted field begins here and does not end within 64 KiB")
		}
	}
}

// feed reads on in a record. A field may stay open at the end, in quotes or not.
func (t *table) feed(line []byte) {
	for len(line) > 0 {
		if t.quoted {
			i := bytes.IndexByte(line, '"')
			if i < 0 {
				t.text = append(t.text, line...)
				return
			}
			t.text = append(t.text, line[:i]...)
			line = line[i+1:]
			if t.quoted = len(line) > 0 && line[0] == '"'; t.quoted {
				t.text = append(t.text, '"')
				line = line[1:]
			}
			continue
		}
		if !t.began {
			t.began = true
			rest := line
			for len(rest) > 0 && isBlank(rest[0]) && rest[0] != t.delim[0] {
				rest = rest[1:]
			}
			if len(rest) > 0 && rest[0] == '"' {
				t.quoted, line = true, rest[1:]
				continue
			}
		}
		i := bytes.Index(line, t.delim)
		if i < 0 {
			t.text = append(t.text, line...)
			return
		}
		t.text = append(t.text, line[:i]...)
		t.field()
		line = line[i+len(t.delim):]
	}
}

// field ends a field.
func (t *table) field() {
	t.ends = append(t.ends, len(t.text))
	t.began = false
}

// at is a field of the record.
func (t *table) at(i int) ([]byte, bool) {
	if i < 0 || i >= len(t.ends) {
		return nil, false
	}
	from := 0
	if i > 0 {
		from = t.ends[i-1]
	}
	return trim(t.text[from:t.ends[i]]), true
}

// find looks for the named columns in the record, and takes them if all are there.
func (t *table) find() bool {
	value, conf := t.value, t.conf
	for i := range t.ends {
		name, _ := t.at(i)
		if value.name != "" && string(name) == value.name {
			value.index = i
		}
		if conf.name != "" && string(name) == conf.name {
			conf.index = i
		}
	}
	for _, c := range []column{value, conf} {
		if name, ok := t.at(c.index); c.name != "" && (!ok || string(name) != c.name) {
			return false
		}
	}
	t.value, t.conf = value, conf
	return true
}

// shown is the record for a report.
func (t *table) shown() []byte {
	var fields [][]byte
	for i := range min(len(t.ends), maxShown) {
		f, _ := t.at(i)
		fields = append(fields, f)
	}
	return bytes.Join(fields, t.delim)
}

func (t *table) give(out *emitter) error {
	out.begin(t.start)
	text, ok := t.at(t.value.index)
	switch {
	case t.long:
		out.unreadable(nil, longLine)
		return nil
	case !ok:
		out.unreadable(t.shown(), "a record with too few columns")
		return nil
	case len(text) == 0:
		out.rep.Skipped++
		return nil
	}
	if conf, ok := t.at(t.conf.index); ok && len(conf) > 0 {
		c, n := number(conf, 3)
		if n != len(conf) || c > 100 {
			out.unreadable(text, "a confidence that is not 0 to 100")
			return nil
		}
		if !out.confident(c) {
			return nil
		}
	}
	return out.value(text)
}
