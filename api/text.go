package api

import (
	"bytes"
	"unicode/utf8"
)

var utf8BOM = []byte("\xef\xbb\xbf")

// checkText refuses what is not text, before the YAML parser sees it. It returns
// the data without a byte order mark, or the line and the fault.
func checkText(data []byte) ([]byte, int, *fault) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, 1, faultf(CodeNotText, "save it as UTF-8", "the file is UTF-16")
	}
	data = bytes.TrimPrefix(data, utf8BOM)
	// Line breaks and tabs are the only control characters that belong in a policy;
	// a NUL or an escape hides what a reviewer would otherwise see.
	for i, c := range data {
		if c < 0x20 && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
			return nil, lineAt(data, i), faultf(CodeNotText, "remove it",
				"the file has the control character 0x%02x", c)
		}
	}
	if utf8.Valid(data) {
		return data, 0, nil
	}
	at := 0
	for at < len(data) {
		r, n := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		at += n
	}
	return nil, lineAt(data, at), faultf(CodeNotText, "save it as UTF-8", "the file is not UTF-8")
}

func lineAt(data []byte, offset int) int { return 1 + bytes.Count(data[:offset], []byte("\n")) }

// chunk is the text of one YAML document and the line of the file it begins on.
type chunk struct {
	text []byte
	line int
}

// split cuts a stream into its documents at the lines --- and ..., which YAML
// gives no other meaning even inside a block of text. Cutting first lets every
// document be parsed on its own: a broken one does not hide the others, a
// problem's place needs one document to be read again, and several are read at a
// time. Documents without content are left out. It stops after most documents
// and says whether there were more.
func split(data []byte, most int) (chunks []chunk, more bool) {
	start, startLine := 0, 1
	content := false
	// end closes the document that began at start.
	end := func(offset int) bool {
		if content && len(chunks) == most {
			return false
		}
		if content {
			chunks = append(chunks, chunk{text: data[start:offset], line: startLine})
		}
		content = false
		return true
	}
	line := 0
	for offset := 0; offset < len(data); {
		line++
		next := len(data)
		if i := bytes.IndexByte(data[offset:], '\n'); i >= 0 {
			next = offset + i + 1
		}
		text := data[offset:next]
		switch {
		case isMarker(text, "---"):
			if !end(offset) {
				return chunks, true
			}
			start, startLine = offset, line
			content = hasContent(text[3:])
		case isMarker(text, "..."):
			if !end(offset) {
				return chunks, true
			}
			start, startLine = next, line+1
			// Only a comment may follow on this line; anything else is for the parser
			// to refuse.
			if hasContent(text[3:]) {
				start, startLine, content = offset, line, true
			}
		case !content && text[0] == '%':
			// A directive before any content (%YAML 1.2) changes nothing that is read
			// here. It is left out; the tags it could define are refused anyway.
			start, startLine = next, line+1
		case !content:
			content = hasContent(text)
		}
		offset = next
	}
	if !end(len(data)) {
		return chunks, true
	}
	return chunks, false
}

func isMarker(line []byte, marker string) bool {
	if !bytes.HasPrefix(line, []byte(marker)) {
		return false
	}
	return len(line) == 3 || line[3] == ' ' || line[3] == '\t' || line[3] == '\n' || line[3] == '\r'
}

func hasContent(line []byte) bool {
	line = bytes.TrimLeft(line, " \t\r\n")
	return len(line) > 0 && line[0] != '#'
}
