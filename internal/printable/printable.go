// Package printable makes texts that others chose fit to be shown: on a terminal, where an escape
// sequence would do what it says, and where text may be turned around.
package printable

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line is a text on one line, with one space between words, shown as Text does.
func Line(s string) string { return Text(strings.Join(strings.Fields(s), " ")) }

// Text is a text in which what cannot be printed stands as \x1b or \u202e, and so does an octet
// that is no UTF-8.
func Text(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	for s != "" {
		shown, n := Rune(s)
		b.WriteString(shown)
		s = s[n:]
	}
	return b.String()
}

// Rune is what Text shows of the first rune of a text that is not empty, and its octets.
func Rune(s string) (shown string, octets int) {
	r, n := utf8.DecodeRuneInString(s)
	switch {
	case r == utf8.RuneError && n == 1:
		return `\x` + strconv.FormatUint(uint64(s[0])|0x100, 16)[1:], n
	case unicode.IsPrint(r):
		return s[:n], n
	}
	quoted := strconv.QuoteRune(r)
	return quoted[1 : len(quoted)-1], n
}

// WriteJSON writes a value as a line of JSON, as JSON does.
func WriteJSON(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err == nil {
		_, err = w.Write(append(JSON(line), '\n'))
	}
	return err
}

// JSON is a JSON text in which the strings have as \uXXXX what cannot be printed. Without such
// it is the text itself.
func JSON(text []byte) []byte {
	if plain(string(text)) {
		return text
	}
	out := make([]byte, 0, len(text)+64)
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r < 0x7f || unicode.IsPrint(r) && (r != utf8.RuneError || n > 1) {
			out = append(out, text[i:i+n]...)
		} else {
			out = AppendEscape(out, r)
		}
		i += n
	}
	return out
}

// AppendEscape appends a rune as a JSON string has it in ASCII (RFC 8259, section 7): \uXXXX, or
// two of them above U+FFFF.
func AppendEscape(b []byte, r rune) []byte {
	if r > 0xffff { // a surrogate pair
		r -= 0x10000
		return appendUnit(appendUnit(b, 0xd800+r>>10), 0xdc00+r&0x3ff)
	}
	return appendUnit(b, r)
}

func appendUnit(b []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

// plain is true of most texts, and quick. What is not plain may still be printable.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 0x7f || c < ' ' && c != '\n' {
			return false
		}
	}
	return true
}
