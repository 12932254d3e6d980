// Package secret holds values that must not be printed: passwords, tokens, keys.
//
// A [String] prints as [Redacted] whichever way it is printed: by fmt with any verb, by
// slog, as JSON or text, in a struct or out of it. Only [String.Reveal] gives the value,
// so that whoever looks for places where a secret may leave greps for one word.
//
// It is no protection against a debugger, a core dump or unsafe: the value lies in
// memory as any string does.
package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what every secret looks like, the empty one included: whether there is
// one is no more to be told than what it is.
const Redacted = "[redacted]"

// String is a secret. The zero value is the empty secret. It is immutable, and safe for
// concurrent use.
//
// It holds a pointer since fmt calls no methods on unexported fields of other people's
// structs: it prints what they hold, and of this an address. For the same reason two of
// them are compared with Equal and not with ==.
type String struct{ value *string }

// New makes a secret of a value.
func New(value string) String { return String{&value} }

// Reveal returns the value. What is done with it is the caller's to answer for.
func (s String) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Empty reports whether the value is empty.
func (s String) Empty() bool { return s.Reveal() == "" }

// Equal compares values, in a time that depends on their lengths only.
func (s String) Equal(other String) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String returns Redacted.
func (String) String() string { return Redacted }

// GoString returns Redacted; it serves %#v.
func (String) GoString() string { return Redacted }

// Format writes Redacted for every verb, %x and %p included.
func (String) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// MarshalText returns Redacted; it serves YAML and map keys too.
func (String) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// MarshalJSON returns Redacted.
func (String) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }

// LogValue returns Redacted; it serves slog.
func (String) LogValue() slog.Value { return slog.StringValue(Redacted) }
