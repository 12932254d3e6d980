package parse

import (
	"net/netip"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"pavise.dev/pavise/api"
)

// emitter gives entries to the sink and counts what is not one. A reader calls begin,
// sets what the format says of the entry in e, and gives it with one of value, address,
// host and url.
type emitter struct {
	o    Options
	sink Sink
	rep  Report
	e    Entry
	// bare is what a name stands for that does not say it itself.
	bare               Match
	noAddrs, noDomains bool
	names              names
	prefixes           []netip.Prefix
}

func newEmitter(o Options, sink Sink) *emitter {
	if o.Format == "" {
		o.Format = api.FeedAuto
	}
	if o.MaxEntries <= 0 {
		o.MaxEntries = DefaultMaxEntries
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	return &emitter{
		o: o, sink: sink,
		noAddrs:   o.Content == api.FeedDomains,
		noDomains: o.Content == api.FeedAddresses,
	}
}

// begin forgets the entry before.
func (m *emitter) begin(line int64) {
	m.e = Entry{Confidence: -1, Line: lineNumber(line)}
}

// prefix gives a prefix; text is how it was written.
func (m *emitter) prefix(p netip.Prefix, text []byte) error {
	if m.noAddrs {
		m.unreadable(text, "an address in a feed of Domains")
		return nil
	}
	if m.e.Domain != nil { // most feeds have either prefixes or names
		m.e.Domain, m.e.Match = nil, 0
	}
	m.e.Prefix = p
	return m.give()
}

// domain gives a canonical name.
func (m *emitter) domain(name []byte, match Match, text []byte) error {
	if m.noDomains {
		m.unreadable(text, "a name in a feed of Addresses")
		return nil
	}
	m.e.Prefix, m.e.Domain, m.e.Match = netip.Prefix{}, name, match
	return m.give()
}

func (m *emitter) give() error {
	if m.rep.Entries >= m.o.MaxEntries {
		return m.tooMany()
	}
	m.rep.Entries++
	if m.e.Except {
		m.rep.Exceptions++
	}
	return m.sink(&m.e)
}

func (m *emitter) tooMany() error {
	return failf(TooMany, int64(m.e.Line), "the feed lists more than %d entries", m.o.MaxEntries)
}

// stated is what a name stands for in a format that says it by entry. The option goes
// before what is listed, but not before *.name, which would list nothing else, and not
// before exceptions: they are the feed's own.
func (m *emitter) stated(match Match) Match {
	if match&Self == 0 || m.e.Except {
		return match
	}
	switch m.o.Subdomains {
	case api.SubdomainsInclude:
		return Self | Below
	case api.SubdomainsExclude:
		return Self
	}
	return match
}

// confident sets the confidence of the entry and reports whether it is enough.
func (m *emitter) confident(c int) bool {
	c = min(max(c, 0), 100)
	m.e.Confidence = int8(c)
	if c < m.o.MinConfidence {
		m.rep.LowConfidence++
		return false
	}
	return true
}

func (m *emitter) unreadable(text []byte, reason string) {
	m.rep.Unreadable++
	m.leave(text, reason)
}

func (m *emitter) unsupported(text []byte, reason string) {
	m.rep.Unsupported++
	m.leave(text, reason)
}

func (m *emitter) leave(text []byte, reason string) {
	if len(m.rep.Left) < maxLeft {
		m.rep.Left = append(m.rep.Left, Left{Line: m.e.Line, Text: shown(text), Reason: reason})
	}
}

const (
	longLine   = "a line of more than 65,536 octets"
	maxShown   = 120
	shownShort = "…"
)

// shown is a text as it can stand in a log: at most 120 runes, none of which moves a
// cursor or turns the direction of writing.
func shown(text []byte) string {
	out, n := make([]byte, 0, min(len(text), maxShown)), 0
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		at := len(out)
		switch {
		case r == utf8.RuneError && size == 1:
			const digits = "0123456789abcdef"
			out = append(out, '\\', 'x', digits[text[0]>>4], digits[text[0]&15])
		case unicode.IsPrint(r):
			out = utf8.AppendRune(out, r)
		default:
			quoted := strconv.AppendQuoteRune(nil, r)
			out = append(out, quoted[1:len(quoted)-1]...)
		}
		n += utf8.RuneCount(out[at:])
		text = text[size:]
		if n > maxShown || n == maxShown && len(text) > 0 {
			for ; n >= maxShown; n-- {
				_, size := utf8.DecodeLastRune(out)
				out = out[:len(out)-size]
			}
			return string(out) + shownShort
		}
	}
	return string(out)
}
