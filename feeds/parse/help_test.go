package parse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pavise.dev/pavise/api"
)

// now is when the tests are.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// say writes an entry as the tests do: 4: evil.example and below, except.
func say(e *Entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d: ", e.Line)
	switch {
	case e.Prefix.IsValid():
		b.WriteString(e.Prefix.String())
	case e.Match == Self:
		fmt.Fprintf(&b, "%s", e.Domain)
	case e.Match == Below:
		fmt.Fprintf(&b, "below %s", e.Domain)
	case e.Match == Self|Below:
		fmt.Fprintf(&b, "%s and below", e.Domain)
	default:
		fmt.Fprintf(&b, "MATCH %d %s", e.Match, e.Domain)
	}
	if e.Except {
		b.WriteString(", except")
	}
	if e.Confidence >= 0 {
		fmt.Fprintf(&b, ", confidence %d", e.Confidence)
	}
	if !e.Until.IsZero() {
		b.WriteString(", until " + e.Until.UTC().Format(time.RFC3339))
	}
	return b.String()
}

// report writes what is not zero of a report.
func report(r Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "format %s, %d lines, %d entries", r.Format, r.Lines, r.Entries)
	for _, c := range []struct {
		name string
		n    int64
	}{
		{"exceptions", r.Exceptions},
		{"masked", r.Masked},
		{"unreadable", r.Unreadable},
		{"unsupported", r.Unsupported},
		{"skipped", r.Skipped},
		{"revoked", r.Revoked},
		{"expired", r.Expired},
		{"of low confidence", r.LowConfidence},
	} {
		if c.n > 0 {
			fmt.Fprintf(&b, ", %d %s", c.n, c.name)
		}
	}
	b.WriteByte('\n')
	for _, l := range r.Left {
		fmt.Fprintf(&b, "left %d: %s  (%s)\n", l.Line, l.Text, l.Reason)
	}
	return b.String()
}

// read parses a text and says all that came of it.
func read(r io.Reader, o Options) (string, Report, error) {
	var b strings.Builder
	if o.Now.IsZero() {
		o.Now = now
	}
	rep, err := Parse(r, o, func(e *Entry) error {
		b.WriteString(say(e) + "\n")
		return nil
	})
	b.WriteString(report(rep))
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			fmt.Fprintf(&b, "error %s: ", e.Kind)
		}
		b.WriteString(err.Error() + "\n")
	}
	return b.String(), rep, err
}

// in reads a short text in one format, and gives the entries without line numbers, then
// what was left out.
func in(t *testing.T, text string, o Options) string {
	t.Helper()
	var got []string
	o.Now = now
	rep, err := Parse(strings.NewReader(text), o, func(e *Entry) error {
		_, s, _ := strings.Cut(say(e), ": ")
		got = append(got, s)
		return nil
	})
	for _, l := range rep.Left {
		got = append(got, "left: "+l.Reason)
	}
	if rep.Skipped > 0 {
		got = append(got, fmt.Sprintf("skipped %d", rep.Skipped))
	}
	if err != nil {
		got = append(got, "error: "+err.Error())
	}
	return strings.Join(got, "; ")
}

// kindOfError is the Kind of an error, empty for none.
func kindOfError(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// checkInvariants reads data and looks at what holds for any input.
func checkInvariants(t *testing.T, data []byte, o Options) {
	t.Helper()
	o.Now = now
	var entries []Entry
	rep, err := Parse(bytes.NewReader(data), o, func(e *Entry) error {
		one := *e
		one.Domain = bytes.Clone(e.Domain)
		entries = append(entries, one)
		return nil
	})
	if err != nil && kindOfError(err) == "" {
		t.Fatalf("not an *Error: %v", err)
	}
	if rep.Lines > newlines(data)+1 {
		t.Errorf("%d lines, and %d line ends", rep.Lines, newlines(data))
	}
	if rep.Entries != int64(len(entries)) || len(rep.Left) > maxLeft || int64(len(rep.Left)) > rep.Unreadable+rep.Unsupported {
		t.Errorf("the report does not add up: %+v", rep)
	}
	for _, l := range rep.Left {
		if n := len([]rune(l.Text)); n > maxShown || strings.ContainsFunc(l.Text, func(r rune) bool { return r < ' ' || r == 0x7f }) || l.Reason == "" {
			t.Errorf("not fit to be shown: %+v", l)
		}
	}
	for i, e := range entries {
		if i < 20 {
			checkEntry(t, e)
		}
		if int64(e.Line) > newlines(data)+1 {
			t.Errorf("line %d of %d: %s", e.Line, newlines(data)+1, say(&e))
		}
	}
	if len(data) > 1<<16 {
		return
	}
	once, _, _ := read(bytes.NewReader(data), o)
	bytewise, _, _ := read(iotest.OneByteReader(bytes.NewReader(data)), o)
	if once != bytewise {
		t.Errorf("octet by octet it reads differently:\n%s\n--\n%s", once, bytewise)
	}
}

// checkEntry makes sure that an entry is canonical: read again it is itself.
func checkEntry(t *testing.T, e Entry) {
	t.Helper()
	text := string(e.Domain)
	if e.Prefix.IsValid() {
		if text = e.Prefix.String(); e.Prefix != e.Prefix.Masked() || e.Prefix.Addr().Is4In6() || len(e.Domain) > 0 || e.Match != 0 {
			t.Errorf("not a masked prefix: %+v", e)
		}
	} else if len(text) == 0 || len(text) > maxName || e.Match == 0 || e.Match > Self|Below {
		t.Errorf("not an entry: %+v", e)
	}
	again := in(t, text, Options{Format: api.FeedText})
	if again != text && again != text+" and below" {
		t.Errorf("%q reads as %q the second time", text, again)
	}
}
