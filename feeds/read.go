package feeds

import (
	"errors"
	"io"
	"net/netip"
	"time"

	"go4.org/netipx"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/guard"
	"pavise.dev/pavise/feeds/parse"
)

// maxLeft is how many of the entries left out a status shows.
const maxLeft = 20

// outcome is what reading a body came to.
type outcome struct {
	format api.FeedFormat
	counts guard.Counts
	left   []api.FeedLeftOut
	// exceptions are entries that the feed itself takes out.
	exceptions int64
	// until is when the first entry ends; zero for none.
	until time.Time
}

// reader reads bodies of one feed. It is for one goroutine.
type reader struct {
	feed  *Feed
	guard *guard.Guard
	now   time.Time
}

func (r *reader) options() parse.Options {
	s := &r.feed.Spec
	o := parse.Options{
		Format: s.Format, Content: s.Content, Subdomains: s.Subdomains, URLs: s.URLs,
		MinConfidence: int(s.MinConfidence), MaxEntries: s.EntryLimit(), Now: r.now,
	}
	if s.CSV != nil {
		o.CSV = *s.CSV
	}
	if s.JSON != nil {
		o.JSON = *s.JSON
	}
	return o
}

// read gives the entries of a body that the guards take to take. The error is a
// *guard.Refused where a guard's name says it, or what take returned.
func (r *reader) read(body io.Reader, take parse.Sink) (outcome, error) {
	var out outcome
	report, err := parse.Parse(body, r.options(), func(e *parse.Entry) error {
		if name, reason := r.guard.Entry(e); name != "" {
			out.counts.Guarded++
			if len(out.left) < maxLeft {
				out.left = append(out.left, api.FeedLeftOut{Line: int64(e.Line), Text: textOf(e), Reason: name + ": " + reason})
			}
			return nil
		}
		if e.Except {
			out.exceptions++
		} else {
			out.counts.Entries++
		}
		if !e.Until.IsZero() && (out.until.IsZero() || e.Until.Before(out.until)) {
			out.until = e.Until
		}
		return take(e)
	})
	out.format = report.Format
	out.counts.Unreadable, out.counts.Unsupported = report.Unreadable, report.Unsupported
	for _, l := range report.Left {
		if len(out.left) == maxLeft {
			break
		}
		out.left = append(out.left, api.FeedLeftOut{Line: int64(l.Line), Text: l.Text, Reason: l.Reason})
	}
	return out, named(err)
}

// named gives an error of the parser the name of the guard that it stands for.
func named(err error) error {
	var bad *parse.Error
	if !errors.As(err, &bad) {
		return err
	}
	switch bad.Kind {
	case parse.HTML:
		return &guard.Refused{Guard: api.GuardHTML, Reason: bad.Error()}
	case parse.NotText:
		return &guard.Refused{Guard: api.GuardNotText, Reason: bad.Error()}
	case parse.Truncated:
		return &guard.Refused{Guard: api.GuardTruncated, Reason: bad.Error()}
	}
	return err
}

// textOf is an entry as people write it, and as changes list it: =name is the name alone,
// *.name what is below it, and ! what the feed takes out.
func textOf(e *parse.Entry) string { return string(appendText(nil, e)) }

func appendText(b []byte, e *parse.Entry) []byte {
	if e.Except {
		b = append(b, '!')
	}
	switch {
	case e.Prefix.IsSingleIP():
		return e.Prefix.Addr().AppendTo(b)
	case e.Prefix.IsValid():
		return e.Prefix.AppendTo(b)
	case e.Match == parse.Below:
		b = append(b, "*."...)
	case e.Match == parse.Self:
		b = append(b, '=')
	}
	return append(b, e.Domain...)
}

// excepted takes ranges out of prefixes.
type excepted struct{ set *netipx.IPSet }

// newExcepted compiles spec.except.cidrs and what the feed itself takes out.
func newExcepted(cidrs []string, own []netip.Prefix) (excepted, error) {
	if len(cidrs)+len(own) == 0 {
		return excepted{}, nil
	}
	var b netipx.IPSetBuilder
	for _, c := range cidrs {
		p, err := api.ParseCIDR(c)
		if err != nil {
			return excepted{}, err
		}
		b.AddPrefix(p)
	}
	for _, p := range own {
		b.AddPrefix(p)
	}
	set, err := b.IPSet()
	return excepted{set}, err
}

// each calls add with what is left of a prefix.
func (x excepted) each(p netip.Prefix, add func(netip.Prefix) error) error {
	if x.set == nil || !x.set.OverlapsPrefix(p) {
		return add(p)
	}
	var b netipx.IPSetBuilder
	b.AddPrefix(p)
	b.RemoveSet(x.set)
	rest, err := b.IPSet()
	if err != nil {
		return err
	}
	for _, q := range rest.Prefixes() {
		if err := add(q); err != nil {
			return err
		}
	}
	return nil
}
