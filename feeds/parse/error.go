package parse

import (
	"errors"
	"fmt"
	"io"
)

// Kind is what is wrong with a feed as a whole, as a word that guards can show.
type Kind string

const (
	// NotText is a body of octets that are no text: compressed, UTF-16, a picture.
	NotText Kind = "not-text"
	// HTML is a web page where a feed was expected: a login, a captive portal.
	HTML Kind = "html"
	// Unknown is text that Auto cannot name a format for.
	Unknown Kind = "unknown-format"
	// TooMany is a feed with more entries than it may list.
	TooMany Kind = "too-many"
	// TooLarge is one value that is larger than what is held at once.
	TooLarge Kind = "too-large"
	// Truncated is a document that ends before it is complete.
	Truncated Kind = "truncated"
	// Malformed is a document that breaks the rules of its format.
	Malformed Kind = "malformed"
	// Misconfigured is an option that cannot be used: a JSONPath with a mistake in it,
	// a column that the feed has not.
	Misconfigured Kind = "misconfigured"
	// Unread is a reader that failed.
	Unread Kind = "read-failed"
)

// Error is why a feed is not to be believed, whatever entries it gave before.
type Error struct {
	Kind Kind
	// Line is where it was found, from 1; 0 where it is about the whole.
	Line int64
	// Detail says it in words.
	Detail string
	// Err is the cause, where there is one: the reader's own error, in particular.
	Err error
}

func (e *Error) Error() string {
	s := e.Detail
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Line > 0 {
		s = fmt.Sprintf("line %d: %s", e.Line, s)
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

func failf(kind Kind, line int64, format string, args ...any) *Error {
	return &Error{Kind: kind, Line: line, Detail: fmt.Sprintf(format, args...)}
}

// readFailed wraps an error of the reader. A decompressor says io.ErrUnexpectedEOF for
// a body that was cut off.
func readFailed(line int64, err error) *Error {
	kind := Unread
	if errors.Is(err, io.ErrUnexpectedEOF) {
		kind = Truncated
	}
	return &Error{Kind: kind, Line: line, Detail: "the feed could not be read to its end", Err: err}
}
