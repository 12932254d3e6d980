package fetch

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Kind is what went wrong, in a word, for metrics and decisions.
type Kind string

const (
	// Config is a source that cannot be fetched as it is written.
	Config Kind = "Config"
	// Address is one that must not be connected to; see the package comment.
	Address Kind = "Address"
	// Connect is a name that is not found, or nobody who answers there.
	Connect Kind = "Connect"
	// Certificate is a server that is not trusted, or does not trust us.
	Certificate Kind = "Certificate"
	// Timeout is a step, or the whole, that took too long.
	Timeout Kind = "Timeout"
	// Slow is a body that came, but hardly.
	Slow Kind = "Slow"
	// Status is an answer that is no feed; Error.Status says which.
	Status Kind = "Status"
	// Redirect is one that is not followed.
	Redirect Kind = "Redirect"
	// Protocol is an answer that makes no sense.
	Protocol Kind = "Protocol"
	// Truncated is a body that ended before its end.
	Truncated Kind = "Truncated"
	// Encoding is a body that cannot be decompressed.
	Encoding Kind = "Encoding"
	// OverLimit is a body larger than maxBytes.
	OverLimit Kind = "OverLimit"
	// File is one that cannot be read.
	File Kind = "File"
	// Write is the caller's writer failing.
	Write Kind = "Write"
	// Canceled is the caller's context ending.
	Canceled Kind = "Canceled"
	// Closed is the client's end.
	Closed Kind = "Closed"
)

// Error is why a fetch failed. Its text says what happened and what would mend it, for
// whoever reads the feed's status; it holds no secret and, of what the server sent, only
// numbers and host names.
type Error struct {
	Kind Kind
	// Status of the answer, where there was one.
	Status int
	// RetryAfter is how long the server asks to be left alone, at most a day; 0 for no
	// wish.
	RetryAfter time.Duration
	// Temporary is set where the same fetch may well succeed later. Where it is not, the
	// source has to be changed, or its server: still ask again, but without hurry.
	Temporary bool

	text  string
	cause error // only what holds no secret: no *url.Error
}

func (e *Error) Error() string { return e.text }

// Unwrap returns what errors.Is may ask for: context.Canceled,
// context.DeadlineExceeded, the writer's error, or that of a file.
func (e *Error) Unwrap() error { return e.cause }

// failed is for errors where nothing but words are to be said.
func failed(kind Kind, temporary bool, format string, args ...any) *Error {
	return &Error{Kind: kind, Temporary: temporary, text: fmt.Sprintf(format, args...)}
}

// statusError is an answer other than 200 and 304.
func statusError(host string, resp *http.Response, now time.Time) *Error {
	e := &Error{Kind: Status, Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header, now)}
	hint := ""
	switch code := resp.StatusCode; code {
	case http.StatusNoContent, http.StatusResetContent:
		hint = "there is no feed in that; look at url"
	case http.StatusPartialContent:
		e.Kind = Protocol
		hint = "a part, and nobody asked for one"
	case http.StatusUnauthorized:
		hint = "it wants to know who asks, or does not know us (any more); look at headers"
	case http.StatusForbidden:
		hint = "it knows who asks, and does not give us this; look at headers and at what its terms allow"
	case http.StatusNotFound, http.StatusGone:
		hint = "the feed is not there (any more); look at url"
	case http.StatusNotAcceptable, http.StatusUnsupportedMediaType:
		hint = "it does not speak what the format asks for; look at format"
	case http.StatusProxyAuthRequired:
		hint = "the proxy wants credentials"
	case http.StatusTooManyRequests:
		e.Temporary = true
		hint = "we ask too often; raise refresh.interval"
	case http.StatusRequestTimeout, http.StatusTooEarly:
		e.Temporary = true
		hint = "try later"
	default:
		switch {
		case code >= 500:
			e.Temporary = code != http.StatusNotImplemented && code != http.StatusHTTPVersionNotSupported
			hint = "it is out of order, or overloaded"
		case code >= 400:
			hint = "it does not like the request; look at url and headers"
		default:
			e.Kind = Protocol
			hint = "that makes no sense here"
		}
	}
	e.text = fmt.Sprintf("%s answered %s: %s", host, statusWords(resp.StatusCode), hint)
	if e.RetryAfter > 0 {
		e.text += fmt.Sprintf("; it asks to be left alone for %s", e.RetryAfter)
	}
	return e
}

// statusWords never shows the server's own words.
func statusWords(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}

// The causes with which a fetch's context is cancelled from within.
var (
	errWhole  = failed(Timeout, true, "the fetch as a whole took too long; raise refresh.timeout")
	errClosed = failed(Closed, false, "fetching has ended")
)

// ended says why a context ended.
func ended(ctx context.Context) *Error {
	var inner *Error
	cause := context.Cause(ctx)
	if e, ok := cause.(*Error); ok { //nolint:errorlint // only ours are put in as they are
		inner = e
	}
	switch {
	case inner == errWhole:
		e := *inner
		e.cause = context.DeadlineExceeded
		return &e
	case inner != nil:
		return inner
	case ctx.Err() == context.DeadlineExceeded:
		return &Error{Kind: Timeout, Temporary: true, text: "the caller's time was up", cause: context.DeadlineExceeded}
	}
	return &Error{Kind: Canceled, Temporary: true, text: "the fetch was cancelled", cause: context.Canceled}
}
