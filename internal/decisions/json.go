package decisions

import (
	"strconv"
	"time"
	"unicode/utf8"

	"pavise.dev/pavise/internal/printable"
)

// AppendJSON appends the record as one JSON object, without a line end. All of it is
// printable ASCII: what is not is written as \uXXXX, which covers what ends a line or
// begins an escape sequence, in ASCII (0x1b, 0x7f), above it (U+009B, U+2028) or by turning
// the direction of text (U+202E). An octet that is no UTF-8 is written as \ufffd.
func (r *Record) AppendJSON(b []byte) []byte {
	o := object{append(b, `{"time":"`...)}
	o.b = append(r.Time.UTC().AppendFormat(o.b, time.RFC3339Nano), '"')
	o.text("from", string(r.From))
	o.text("workload", r.Workload)
	o.always("listener", r.Listener)
	o.text("direction", string(r.Direction))
	o.always("verdict", string(r.Verdict))
	o.always("reason", r.Reason)
	o.text("policy", r.Policy)
	o.text("rule", r.Rule)
	o.text("auditVerdict", string(r.AuditVerdict))
	o.text("auditReason", r.AuditReason)
	o.hit("feed", &r.Feed)
	o.hit("alert", &r.Alert)
	o.text("source", r.Source)
	o.text("destination", r.Destination)
	o.text("serverName", r.ServerName)
	o.text("method", r.Method)
	o.text("host", r.Host)
	o.text("path", r.Path)
	o.list("names", r.Names)
	o.list("headers", r.Headers)
	o.text("query", r.Query)
	if r.Question != (Question{}) {
		o.b = append(o.b, `,"question":{"name":`...)
		o.b = appendText(o.b, r.Question.Name)
		o.text("type", r.Question.Type)
		o.b = append(o.b, '}')
	}
	o.text("answer", r.Answer)
	o.number("status", uint64(r.Status))
	o.text("requestID", r.RequestID)
	o.text("detail", r.Detail)
	o.number("sampled", uint64(r.Sampled))
	o.number("count", r.Count)
	return append(o.b, '}')
}

// MarshalJSON is AppendJSON, so that a record looks the same wherever it is printed.
func (r Record) MarshalJSON() ([]byte, error) { return r.AppendJSON(nil), nil }

// object is a JSON object that has a member already.
type object struct{ b []byte }

func (o *object) key(name string) {
	o.b = append(o.b, ',', '"')
	o.b = append(o.b, name...)
	o.b = append(o.b, '"', ':')
}

func (o *object) always(name, s string) {
	o.key(name)
	o.b = appendText(o.b, s)
}

func (o *object) text(name, s string) {
	if s != "" {
		o.always(name, s)
	}
}

func (o *object) list(name string, l Lines) {
	if l != "" {
		o.key(name)
		o.b = appendList(o.b, l)
	}
}

func (o *object) number(name string, n uint64) {
	if n != 0 {
		o.key(name)
		o.b = strconv.AppendUint(o.b, n, 10)
	}
}

func (o *object) hit(name string, h *Hit) {
	if *h == (Hit{}) {
		return
	}
	o.key(name)
	o.b = append(o.b, `{"name":`...)
	o.b = appendText(o.b, h.Name)
	o.number("line", uint64(h.Line))
	o.text("entry", h.Entry)
	o.text("asked", h.Asked)
	o.b = append(o.b, '}')
}

// appendText appends a JSON string (RFC 8259, section 7) of printable ASCII.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if ' ' <= c && c <= '~' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[done:i]...)
		r, size := utf8.DecodeRuneInString(s[i:])
		b = appendEscaped(b, r)
		i += size
		done = i
	}
	return append(append(b, s[done:]...), '"')
}

func appendEscaped(b []byte, r rune) []byte {
	if r == '"' || r == '\\' {
		return append(b, '\\', byte(r))
	}
	return printable.AppendEscape(b, r)
}
