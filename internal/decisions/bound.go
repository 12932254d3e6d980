package decisions

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"
)

// text is a text of a record and how many octets it may have.
type text struct {
	s    *string
	most int
}

// Bounds of texts, in octets. Names of our own objects fit always: a namespace and a name
// have at most 253 octets each, and a reason stays below 4 KiB (policy.Reason).
const (
	mostWord   = 32
	mostName   = 255
	mostNames  = 3*253 + 2
	mostReason = 4096
	mostPath   = 1024
	mostLines  = 2048
	mostID     = 128
	mostDetail = 256
)

// texts lists every text of a record, so that what is done to all of them is written once.
func (r *Record) texts() [30]text {
	return [...]text{
		{(*string)(&r.From), mostWord},
		{&r.Workload, mostNames},
		{&r.Listener, mostNames},
		{(*string)(&r.Direction), mostWord},
		{(*string)(&r.Verdict), mostWord},
		{&r.Reason, mostReason},
		{&r.Policy, mostNames},
		{&r.Rule, mostName},
		{(*string)(&r.AuditVerdict), mostWord},
		{&r.AuditReason, mostReason},
		{&r.Feed.Name, mostName},
		{&r.Feed.Entry, mostName},
		{&r.Feed.Asked, mostWord},
		{&r.Alert.Name, mostName},
		{&r.Alert.Entry, mostName},
		{&r.Alert.Asked, mostWord},
		{&r.Source, mostName},
		{&r.Destination, mostName},
		{&r.ServerName, mostName},
		{&r.Method, mostWord},
		{&r.Host, mostName},
		{&r.Path, mostPath},
		{(*string)(&r.Names), mostLines},
		{(*string)(&r.Headers), mostLines},
		{&r.Query, mostPath},
		{&r.Question.Name, mostName},
		{&r.Question.Type, mostWord},
		{&r.Answer, mostWord},
		{&r.RequestID, mostID},
		{&r.Detail, mostDetail},
	}
}

// Bound does to a record what Add does, for who keeps records elsewhere: without it, one may
// be as large as the request was that it is of.
func (r *Record) Bound() { r.bound(time.Now()) }

// bound makes a record fit to be kept: every text within its bound and valid UTF-8, all of
// them in one piece of memory of their own, and a time that can be printed. What the
// texts were cut from, such as a request's headers, is then not held by the record.
func (r *Record) bound(now time.Time) {
	if y := r.Time.Year(); r.Time.IsZero() || y < 0 || y > 9999 { // RFC 3339 has four digits
		r.Time = now
	}
	texts := r.texts()
	size := 0
	for _, t := range texts {
		*t.s = clip(*t.s, t.most)
		size += len(*t.s)
	}
	var all strings.Builder
	all.Grow(size)
	for _, t := range texts {
		all.WriteString(*t.s)
	}
	rest := all.String()
	for _, t := range texts {
		n := len(*t.s)
		*t.s, rest = rest[:n], rest[n:]
	}
}

// octets is how much memory a bounded record holds, but for what the allocator adds.
func (r *Record) octets() int {
	n := int(unsafe.Sizeof(*r))
	for _, t := range r.texts() {
		n += len(*t.s)
	}
	return n
}

const (
	cutMark = "…+"
	// markRoom is for the mark and a number of ten digits.
	markRoom = len(cutMark) + 10
)

// Cut reports whether a text of a record was too long and lacks its end.
func Cut(s string) bool { return strings.Contains(s, cutMark) }

// clip returns s as valid UTF-8 of at most that many octets. What does not fit is replaced
// by "…+N", N being how many octets of s are gone. An octet that is no UTF-8 becomes U+FFFD.
func clip(s string, most int) string {
	if len(s) <= most && utf8.ValidString(s) {
		return s
	}
	out := make([]byte, 0, most)
	// Where to cut, if it comes to that: the last place which leaves room for the mark.
	cutIn, cutOut := 0, 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if len(out)+utf8.RuneLen(r) > most {
			out = append(out[:cutOut], cutMark...)
			return string(strconv.AppendInt(out, int64(len(s)-cutIn), 10))
		}
		out = utf8.AppendRune(out, r)
		i += size
		if len(out) <= most-markRoom {
			cutIn, cutOut = i, len(out)
		}
	}
	return string(out)
}
