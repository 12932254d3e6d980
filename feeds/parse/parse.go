package parse

import (
	"io"
	"time"

	"pavise.dev/pavise/api"
)

// DefaultMaxEntries is the bound on entries where Options has none.
const DefaultMaxEntries = 5_000_000

// maxLeft is how many of the entries left out a Report shows.
const maxLeft = 20

// Options say how to read a feed. All but Now come from api.ThreatFeedSpec, where they
// are described; empty ones are the defaults there.
type Options struct {
	// Format is Auto to look at the first 64 KiB.
	Format     api.FeedFormat
	Content    api.FeedContent
	CSV        api.FeedCSVOptions
	JSON       api.FeedJSONOptions
	Subdomains api.FeedSubdomains
	URLs       api.FeedURLs
	// MinConfidence leaves out entries with a lower confidence, and never those without
	// one.
	MinConfidence int
	// MaxEntries is how many entries are given before the feed is refused. A range
	// counts as the prefixes that cover it. Default [DefaultMaxEntries].
	MaxEntries int64
	// Now is the time that entries begin and end by. Default time.Now().
	Now time.Time
}

// Left is one entry that was not taken.
type Left struct {
	Line uint32
	// Text is at most 120 runes, with control characters escaped.
	Text   string
	Reason string
}

// Report is what was seen besides entries.
type Report struct {
	// Format is what the feed was read as; never Auto, and empty where it has no format
	// that is known.
	Format api.FeedFormat
	// Lines of the input. A line ends with \n, \r\n or a lone \r.
	Lines int64
	// Entries given to the sink, and Exceptions among them.
	Entries, Exceptions int64
	// Masked counts prefixes that were written with host bits, 192.0.2.1/24 for
	// 192.0.2.0/24. They are entries: other tools read them so.
	Masked int64
	// Unreadable counts what cannot be read as an entry.
	Unreadable int64
	// Unsupported counts what is well-formed and says more than a list of addresses and
	// names can hold: a URL with a path, a rule for scripts only, a hash of a file.
	Unsupported int64
	// Skipped counts what lists nothing by the format's own rules: localhost in a hosts
	// file, a JSON line without the value, an attribute that is not for detection, an
	// object that a newer version replaced.
	Skipped int64
	// Revoked, Expired and LowConfidence count what the feed took back, what is valid
	// at another time than now, and what is below MinConfidence.
	Revoked, Expired, LowConfidence int64
	// Left shows the first 20 of the unreadable and the unsupported.
	Left []Left
}

// Sink takes one entry. It must not keep e or e.Domain. An error ends the parse.
type Sink func(e *Entry) error

// reader reads one format. It returns an *Error or an error of the sink.
type reader func(in *input, out *emitter) error

// readerOf is the reader of a format, nil for one that is not known.
func readerOf(f api.FeedFormat) reader {
	switch f {
	case api.FeedText:
		return readText
	case api.FeedIpset:
		return readIpset
	case api.FeedHosts:
		return readHosts
	case api.FeedAdBlock:
		return readAdBlock
	case api.FeedCSV:
		return readCSV
	case api.FeedJSON:
		return readJSON
	case api.FeedJSONLines:
		return readJSONLines
	case api.FeedRPZ:
		return readRPZ
	case api.FeedSTIX, api.FeedTAXII:
		return readSTIX
	case api.FeedMISP:
		return readMISP
	case api.FeedMISPWarningList:
		return readWarningList
	case api.FeedSuricata:
		return readSuricata
	case api.FeedCrowdSec:
		return readCrowdSec
	}
	return nil
}

// Parse reads r to its end and gives each entry to sink.
//
// An *Error says why the feed as a whole is not to be believed. An error of r is
// wrapped in one and never taken for the end; an error of sink is returned as it is. A
// line of more than 64 KiB is one unreadable entry and is passed over without being
// held. The report counts what was seen until then, with an error too.
func Parse(r io.Reader, o Options, sink Sink) (Report, error) {
	in := newInput(r)
	sample := in.sample()
	out := newEmitter(o, sink)
	if err := in.failed(0); err != nil {
		return out.rep, err
	}
	if err := refuse(sample); err != nil {
		return out.rep, err
	}
	all := len(sample) < sampleSize
	in.skipBOM()
	out.rep.Format = out.o.Format
	if out.o.Format == api.FeedAuto {
		format, err := detect(in.buf[in.pos:in.end], all)
		if err != nil {
			out.rep.Format = ""
			return out.rep, err
		}
		out.rep.Format = format
	}
	read := readerOf(out.rep.Format)
	if read == nil {
		return out.rep, failf(Misconfigured, 0, "format %q is not known", string(out.rep.Format))
	}
	out.bare = bareMatch(out.rep.Format, out.o.Subdomains)
	err := read(in, out)
	return out.rep, err
}

// bareMatch is what a name stands for that does not say it itself.
func bareMatch(f api.FeedFormat, s api.FeedSubdomains) Match {
	switch s {
	case api.SubdomainsInclude:
		return Self | Below
	case api.SubdomainsExclude:
		return Self
	}
	switch f {
	case api.FeedHosts, api.FeedSTIX, api.FeedTAXII, api.FeedMISP:
		return Self
	}
	return Self | Below
}
