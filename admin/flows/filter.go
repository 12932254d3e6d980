package flows

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"pavise.dev/pavise/policy"
)

// Filter says which flows are wanted: those of which everything holds that is set. The zero
// value takes all.
type Filter struct {
	Namespace string
	// Workload is NAMESPACE/NAME, or a NAME in any namespace.
	Workload string
	// Peer is an address, NAMESPACE/NAME, or "*".
	Peer    string
	Verdict policy.Verdict
	// Reason is the beginning of one, such as "default-deny" or "namespace:shop/web#".
	Reason string
	// Feed is the name of a feed that denied or alerted.
	Feed string
	// Name as the flow has it, or "*.example.com" for all names below example.com.
	Name      string
	Method    string
	Direction policy.Direction
	Port      uint16
	// Since and Until are around decisions: the last one is not before Since, and the first
	// one is before Until.
	Since, Until time.Time
	// Audit takes only what the audited policies would have decided in another way.
	Audit bool
	// Text is in the workload, listener, peer, name, method, path, reason or feed, in upper or
	// lower case of ASCII.
	Text string
}

// Match says whether a flow is wanted.
func (f *Filter) Match(fl *Flow) bool {
	return f.match(&fl.Key, &row{feed: fl.Feed, alert: fl.Alert, first: fl.First.UnixNano(), last: fl.Last.UnixNano()})
}

func (f *Filter) match(k *Key, w *row) bool {
	namespace, name, _ := strings.Cut(k.Workload, "/")
	switch {
	case f.Verdict != "" && f.Verdict != k.Verdict,
		f.Namespace != "" && f.Namespace != namespace,
		f.Workload != "" && f.Workload != k.Workload && f.Workload != name,
		f.Direction != "" && f.Direction != k.Direction,
		f.Peer != "" && f.Peer != k.Peer,
		f.Port != 0 && f.Port != k.Port,
		f.Method != "" && f.Method != k.Method,
		!strings.HasPrefix(k.Reason, f.Reason),
		f.Feed != "" && f.Feed != w.feed.Name && f.Feed != w.alert.Name,
		f.Audit && (k.AuditVerdict == "" || k.AuditVerdict == k.Verdict),
		!f.Since.IsZero() && w.last < f.Since.UnixNano(),
		!f.Until.IsZero() && w.first >= f.Until.UnixNano():
		return false
	}
	if below, wild := strings.CutPrefix(f.Name, "*."); wild {
		if rest, ok := strings.CutSuffix(k.Name, below); !ok || !strings.HasSuffix(rest, ".") {
			return false
		}
	} else if f.Name != "" && f.Name != k.Name {
		return false
	}
	return f.Text == "" || f.inText(k, w)
}

func (f *Filter) inText(k *Key, w *row) bool {
	for _, s := range [...]string{k.Name, k.Path, k.Peer, k.Workload, k.Reason, k.Listener, k.Method, w.feed.Name, w.alert.Name} {
		if containsFold(s, f.Text) {
			return true
		}
	}
	return false
}

// containsFold is strings.Contains for ASCII in upper or lower case.
func containsFold(s, part string) bool {
	lower := func(b byte) byte {
		if 'A' <= b && b <= 'Z' {
			b |= 0x20
		}
		return b
	}
	first := lower(part[0])
	for i := 0; i+len(part) <= len(s); i++ {
		if lower(s[i]) != first {
			continue
		}
		j := 1
		for j < len(part) && lower(s[i+j]) == lower(part[j]) {
			j++
		}
		if j == len(part) {
			return true
		}
	}
	return false
}

// FieldError is a parameter that cannot be taken as it stands.
type FieldError struct{ Field, Message string }

func (e *FieldError) Error() string { return e.Field + ": " + e.Message }

const (
	// DefaultLimit is that of a page where nothing else is said.
	DefaultLimit = 100
	mostFilter   = 512 // octets of a parameter; more for a reason
	mostText     = 64
	mostReason   = 4096
)

// fields are the parameters of Parse.
var fields = []string{
	"namespace", "workload", "peer", "verdict", "reason", "feed", "name", "method", "direction", "port", "since", "until",
	"audit", "text", "cursor", "limit",
}

// Parse reads the parameters of a query: those of Filter in lower case, cursor, and limit,
// DefaultLimit if there is none. since and until are times (RFC 3339) or how long ago they
// are (10m). What is unknown, given twice, too long or no UTF-8 is a FieldError, and so is
// what can match nothing, such as verdict=denied.
func Parse(v url.Values) (Filter, Cursor, int, error) { return parse(v, time.Now()) }

func parse(v url.Values, now time.Time) (f Filter, c Cursor, limit int, err error) {
	p := params{v: v, now: now}
	p.check()
	f = Filter{
		Namespace: p.text("namespace"), Workload: p.text("workload"), Peer: p.text("peer"), Reason: p.text("reason"),
		Feed: p.text("feed"), Name: strings.ToLower(strings.TrimSuffix(p.text("name"), ".")), Method: p.text("method"), Text: p.text("text"),
		Verdict:   policy.Verdict(p.word("verdict", string(policy.Allowed), string(policy.Denied))),
		Direction: policy.Direction(p.word("direction", string(policy.Ingress), string(policy.Egress))),
		Audit:     p.word("audit", "true", "false") == "true",
		Port:      uint16(p.number("port", 0, 1<<16-1)), //nolint:gosec // 0 to 65535
		Since:     p.time("since"), Until: p.time("until"),
	}
	limit = p.number("limit", DefaultLimit, MaxLimit)
	c, cerr := ParseCursor(p.text("cursor"))
	p.fail(cerr)
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		p.fail(&FieldError{"until", "it is not after since"})
	}
	if p.err != nil {
		return Filter{}, Cursor{}, 0, p.err
	}
	return f, c, limit, nil
}

// Values are parameters which Parse makes the filter of.
func (f *Filter) Values() url.Values {
	v := url.Values{}
	set := func(field, s string) {
		if s != "" {
			v.Set(field, s)
		}
	}
	set("namespace", f.Namespace)
	set("workload", f.Workload)
	set("peer", f.Peer)
	set("verdict", string(f.Verdict))
	set("reason", f.Reason)
	set("feed", f.Feed)
	set("name", f.Name)
	set("method", f.Method)
	set("direction", string(f.Direction))
	set("text", f.Text)
	if f.Port != 0 {
		v.Set("port", strconv.Itoa(int(f.Port)))
	}
	if f.Audit {
		v.Set("audit", "true")
	}
	if !f.Since.IsZero() {
		v.Set("since", f.Since.UTC().Format(time.RFC3339Nano))
	}
	if !f.Until.IsZero() {
		v.Set("until", f.Until.UTC().Format(time.RFC3339Nano))
	}
	return v
}

// params reads parameters and keeps the first error.
type params struct {
	v   url.Values
	now time.Time
	err error
}

func (p *params) fail(err error) {
	if p.err == nil && err != nil {
		p.err = err
	}
}

// check looks at all parameters, in the order of fields, and then for unknown ones.
func (p *params) check() {
	known := 0
	for _, field := range fields {
		values, ok := p.v[field]
		if !ok {
			continue
		}
		known++
		most := mostFilter
		switch field {
		case "reason":
			most = mostReason
		case "text":
			most = mostText
		}
		switch {
		case len(values) != 1:
			p.fail(&FieldError{field, fmt.Sprintf("it is given %d times; give it once", len(values))})
		case len(values[0]) > most:
			p.fail(&FieldError{field, fmt.Sprintf("it has %d octets; %d are possible", len(values[0]), most)})
		case !utf8.ValidString(values[0]):
			p.fail(&FieldError{field, "it is no UTF-8"})
		}
	}
	if known == len(p.v) {
		return
	}
	unknown := ""
	for field := range p.v {
		if !slices.Contains(fields, field) && (unknown == "" || field < unknown) {
			unknown = field
		}
	}
	if unknown == "" || len(unknown) > 40 || !utf8.ValidString(unknown) {
		unknown = "parameter"
	}
	p.fail(&FieldError{unknown, "there is no such parameter; there are " + strings.Join(fields, ", ")})
}

func (p *params) text(field string) string { return p.v.Get(field) }

func (p *params) word(field string, words ...string) string {
	s := p.v.Get(field)
	if s != "" && !slices.Contains(words, s) {
		p.fail(&FieldError{field, "it is one of " + strings.Join(words, ", ")})
	}
	return s
}

func (p *params) number(field string, without, most int) int {
	s := p.v.Get(field)
	if s == "" {
		return without
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most || strconv.Itoa(n) != s {
		p.fail(&FieldError{field, fmt.Sprintf("it is a number from 1 to %d", most)})
	}
	return n
}

func (p *params) time(field string) time.Time {
	s := p.v.Get(field)
	if s == "" {
		return time.Time{}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return p.now.Add(-d).UTC()
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	t = t.UTC()
	if err != nil || t.Year() < 1970 || t.Year() > 2261 {
		p.fail(&FieldError{field, "it is a time such as 2006-01-02T15:04:05Z, or how long ago, such as 10m"})
		return time.Time{}
	}
	return t
}
