package parse

// maxJSONLine is the longest line of JSON that is read.
const maxJSONLine = 1 << 20

// readJSONLines reads one document a line, of up to 1 MiB, and takes the strings that
// json.path selects of each. A line of which it selects nothing is passed over: the last
// line of Spamhaus's lists describes the list. A last line that is cut off means that
// the feed is.
func readJSONLines(in *input, out *emitter) error {
	sel, err := newSelection(out.o.JSON.Path)
	if err != nil {
		return err
	}
	l := newLines(in, maxJSONLine)
	defer func() { out.rep.Lines = l.no }()
	for {
		line, ok := l.next()
		if !ok {
			return in.failed(l.no + 1)
		}
		if line = trim(line); len(line) == 0 {
			continue
		}
		out.begin(l.no)
		if l.long {
			out.unreadable(line, "a line of more than 1 MiB")
			continue
		}
		doc, at, err := decodePlaced(line, l.no)
		if err != nil && l.open {
			return failf(Truncated, l.no, "the last line is cut off")
		}
		if err != nil {
			out.unreadable(line, "not JSON")
			continue
		}
		if err := give(sel.full, doc, at, out); err != nil {
			return err
		}
	}
}
