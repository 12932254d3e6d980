package parse

import (
	"bytes"
	"unicode/utf8"

	"pavise.dev/pavise/api"
)

var utf8BOM = []byte("\xef\xbb\xbf")

// magics are how bodies begin that are no text.
var magics = []struct{ begin, name string }{
	{"\x1f\x8b", "compressed with gzip"},
	{"\x28\xb5\x2f\xfd", "compressed with zstd"},
	{"PK\x03\x04", "a zip archive"},
	{"PK\x05\x06", "an empty zip archive"},
	{"\xfd7zXZ\x00", "compressed with xz"},
	{"7z\xbc\xaf\x27\x1c", "a 7z archive"},
	{"%PDF-", "a PDF file"},
	{"\x89PNG", "a picture"},
	{"\xff\xd8\xff", "a picture"},
	{"GIF89a", "a picture"},
	{"\x7fELF", "a program"},
	{"\xff\xfe", "UTF-16, not UTF-8"},
	{"\xfe\xff", "UTF-16, not UTF-8"},
	{"\x00\x00\xfe\xff", "UTF-32, not UTF-8"},
}

// refuse finds what no feed begins with, in any format: octets that are no text, and
// web pages. More than one octet in twenty that is not UTF-8 makes a body no text; less
// is somebody's comment in Latin-1.
func refuse(sample []byte) error {
	for _, m := range magics {
		if bytes.HasPrefix(sample, []byte(m.begin)) {
			return failf(NotText, 1, "the feed is not text: %s", m.name)
		}
	}
	sample = bytes.TrimPrefix(sample, utf8BOM)
	line, bad := int64(1), 0
	for rest := sample; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == 0:
			return failf(NotText, line, "the feed is not text: it has NUL octets")
		case r == utf8.RuneError && size == 1 && (len(rest) >= utf8.UTFMax || utf8.FullRune(rest)):
			bad++
		case r < ' ' && !isBlank(rest[0]) && r != '\n' && r != '\r' && r != 0x1b:
			bad++
		case r == '\n':
			line++
		}
		rest = rest[size:]
	}
	if bad > len(sample)/20 {
		return failf(NotText, 0, "the feed is not text: too much of it is not UTF-8")
	}
	if isHTML(sample) {
		return failf(HTML, 1, "the feed is a web page")
	}
	return nil
}

// isHTML looks at the first tag, behind white space, comments and <?xml … ?>.
func isHTML(b []byte) bool {
	for {
		b = bytes.TrimLeft(b, " \t\r\n\v\f")
		end := ""
		switch {
		case hasPrefix(b, "<!--"):
			end = "-->"
		case hasPrefix(b, "<?"):
			end = "?>"
		default:
			for _, tag := range []string{"<!doctype html", "<html", "<head", "<body", "<script", "<title", "<meta", "<div", "<h1", "<p>", "<center", "<br", "<iframe"} {
				if hasFold(b, tag) {
					return true
				}
			}
			return false
		}
		_, rest, ok := bytes.Cut(b, []byte(end))
		if !ok {
			return false
		}
		b = rest
	}
}

// detect names the format of a feed by its beginning. done is set where that is all of
// it. It never guesses which column or which member has the entries.
func detect(b []byte, done bool) (api.FeedFormat, error) {
	if len(b) > sampleSize {
		b, done = b[:sampleSize], false
	}
	text := bytes.TrimLeft(b, " \t\r\n")
	switch {
	case len(text) == 0:
		return api.FeedText, nil
	case text[0] == '{' || text[0] == '[' && isArray(text):
		return detectJSON(b)
	case text[0] == '<':
		return "", failf(Unknown, 0, "the feed is XML or the like, which is not read")
	}
	return detectLines(b, done)
}

// isArray tells a JSON array from [Adblock Plus 2.0] and [2001:db8::1]:80.
func isArray(b []byte) bool {
	line := b
	if i := lineEnd(b); i >= 0 {
		line = trim(b[:i])
	}
	if _, _, ok := parsePrefix(line); ok || isAdBlockHeader(line) {
		return false
	}
	rest := bytes.TrimLeft(b[1:], " \t\r\n")
	return len(rest) == 0 || bytes.IndexByte([]byte(`{["]-0123456789tfn`), rest[0]) >= 0
}
