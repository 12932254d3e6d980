package page

import (
	"fmt"
	"html/template"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/printable"
	"pavise.dev/pavise/policy"
)

// mostShown is how many characters of a text are shown.
const mostShown = 300

// funcs are what templates can call.
func (s *site) funcs() template.FuncMap {
	return template.FuncMap{
		"v":       func(x any) string { return visible(fmt.Sprint(x)) },
		"short":   short,
		"count":   func(x any) string { return grouped(fmt.Sprint(x)) },
		"number":  number,
		"when":    s.when,
		"words":   func(reason string) string { return policy.ParseReason(reason).Explain() },
		"what":    what,
		"way":     way,
		"denied":  func(v policy.Verdict) bool { return v == policy.Denied },
		"url":     link,
		"whole":   whole,
		"seek":    seek,
		"about":   about,
		"ask":     func(r decisions.Record) string { return askAbout(&r) },
		"add":     func(a, b int) int { return a + b },
		"changed": func(k flows.Key) bool { return k.AuditVerdict != "" && k.AuditVerdict != k.Verdict },
	}
}

// visible is a text as it can be shown: what has no shape of its own, or changes the direction
// or order of what is around it, is written as an escape, and what is too long is cut.
func visible(s string) string {
	var b strings.Builder
	for n := 0; s != ""; n++ {
		if n == mostShown {
			fmt.Fprintf(&b, "… (%d octets more)", len(s))
			break
		}
		shown, octets := printable.Rune(s)
		b.WriteString(shown)
		s = s[octets:]
	}
	return b.String()
}

// short is the beginning of a digest.
func short(digest string) string {
	const shown = 12
	_, hex, found := strings.Cut(digest, ":")
	if !found {
		hex = digest
	}
	return visible(hex[:min(shown, len(hex))])
}

// grouped puts a narrow space that is no break between thousands.
func grouped(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	for i, r := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(r)
	}
	return sign + b.String()
}

// number has no more digits than are of use.
func number(x float64) string {
	const exact = 1 << 53 // whole numbers beyond are not exact
	if x == math.Trunc(x) && math.Abs(x) < exact {
		return grouped(strconv.FormatInt(int64(x), 10))
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}

// instant is a time as it is shown.
type instant struct{ ISO, Ago, Text string }

// when is empty for the zero time.
func (s *site) when(t time.Time) instant {
	if t.IsZero() {
		return instant{}
	}
	t = t.UTC()
	return instant{t.Format(time.RFC3339), ago(s.now().Sub(t)), t.Format("2006-01-02 15:04:05")}
}

// ago is a span in its greatest unit.
func ago(d time.Duration) string {
	form := "%s ago"
	if d < 0 {
		form, d = "in %s", -d
	}
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf(form, strconv.Itoa(int(d/time.Second))+" s")
	case d < time.Hour:
		return fmt.Sprintf(form, strconv.Itoa(int(d/time.Minute))+" min")
	case d < day:
		return fmt.Sprintf(form, strconv.Itoa(int(d/time.Hour))+" h")
	default:
		return fmt.Sprintf(form, strconv.Itoa(int(d/day))+" d")
	}
}

// what is what a flow asked for.
func what(k flows.Key) string {
	var b strings.Builder
	if k.From == decisions.DNS {
		b.WriteString("DNS ")
	}
	if k.Method != "" {
		b.WriteString(k.Method + " ")
	}
	b.WriteString(k.Name)
	if k.Port != 0 {
		b.WriteString(":" + strconv.Itoa(int(k.Port)))
	}
	b.WriteString(k.Path)
	if b.Len() == 0 {
		return "connection"
	}
	return b.String()
}

// about is what an alert is of: the peer, the name and the path, as far as it has them.
func about(a anomaly.Alert) string {
	peer := a.Peer
	if peer == flows.Star {
		peer = "several"
	}
	return strings.Trim(peer+" "+a.Name+a.Path, " ")
}

// way is the direction, seen from the workload.
func way(d policy.Direction) string {
	switch d {
	case policy.Ingress:
		return "from"
	case policy.Egress:
		return "to"
	}
	return ""
}

// link is a path with parameters; those that are empty are left out.
func link(path string, nameAndValue ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(nameAndValue); i += 2 {
		if nameAndValue[i+1] != "" {
			v.Set(nameAndValue[i], nameAndValue[i+1])
		}
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// seek is a link to the flows that have in common what a key says; "*" is any.
func seek(k flows.Key) string {
	f := flows.Filter{Workload: k.Workload, Direction: k.Direction, Verdict: k.Verdict}
	for _, c := range []struct {
		into  *string
		value string
	}{{&f.Peer, k.Peer}, {&f.Name, k.Name}, {&f.Method, k.Method}} {
		if c.value != flows.Star && len(c.value) <= mostValue {
			*c.into = c.value
		}
	}
	return withValues("/flows", f.Values())
}
