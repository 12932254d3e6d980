package api

import (
	"cmp"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Defaults of a ThreatFeed.
const (
	defaultFeedInterval   = time.Hour
	defaultFeedTimeout    = 2 * time.Minute
	defaultFeedMaxBytes   = 256 << 20
	defaultFeedMaxEntries = 5_000_000
)

// OrDefault is the content, Mixed where none is given.
func (c FeedContent) OrDefault() FeedContent { return cmp.Or(c, FeedMixed) }

// OrDefault is the format, Auto where none is given.
func (f FeedFormat) OrDefault() FeedFormat { return cmp.Or(f, FeedAuto) }

// OrDefault is the action, Deny where none is given.
func (a FeedAction) OrDefault() FeedAction { return cmp.Or(a, FeedDeny) }

// OrDefault is the direction, Both where none is given.
func (d FeedDirection) OrDefault() FeedDirection { return cmp.Or(d, FeedBoth) }

// OrDefault is the choice, Auto where none is given.
func (s FeedSubdomains) OrDefault() FeedSubdomains { return cmp.Or(s, SubdomainsAuto) }

// OrDefault is the choice, Refuse where none is given.
func (u FeedURLs) OrDefault() FeedURLs { return cmp.Or(u, URLsRefuse) }

// Interval is the time between two fetches, 1h by default.
func (s *ThreatFeedSpec) Interval() time.Duration {
	return durationOr(s.Refresh.Interval, defaultFeedInterval)
}

// Jitter is the most that is added to the interval at random, a tenth of it by default.
func (s *ThreatFeedSpec) Jitter() time.Duration {
	return durationOr(s.Refresh.Jitter, s.Interval()/10)
}

// Timeout bounds one fetch as a whole, 2m by default.
func (s *ThreatFeedSpec) Timeout() time.Duration {
	return durationOr(s.Refresh.Timeout, defaultFeedTimeout)
}

// Expiry is how long entries stay in force without a fetch that succeeds; 0, the
// default, is for ever.
func (s *ThreatFeedSpec) Expiry() time.Duration { return durationOr(s.ExpireAfter, 0) }

// ByteLimit bounds the body after decompression, 256 MiB by default.
func (s *ThreatFeedSpec) ByteLimit() int64 { return cmp.Or(s.MaxBytes, defaultFeedMaxBytes) }

// EntryLimit bounds what the feed may list, 5,000,000 by default.
func (s *ThreatFeedSpec) EntryLimit() int64 { return cmp.Or(s.MaxEntries, defaultFeedMaxEntries) }

// Host is the canonical host that the feed is fetched from; "" for a file: URL and for
// one that cannot be read.
func (s *ThreatFeedSpec) Host() string {
	u, f := parseFeedURL(s.URL)
	if f != nil || u.Scheme == "file" {
		return ""
	}
	host, _ := canonicalHost(u.Hostname())
	return host
}

// FilePath is the path of a file: URL; ok is false for another one, or one that cannot
// be read. A relative path begins at the folder, see Set.Folder.
func (s *ThreatFeedSpec) FilePath(folder string) (path string, ok bool) {
	u, f := parseFeedURL(s.URL)
	if f != nil || u.Scheme != "file" {
		return "", false
	}
	path, f = filePath(u)
	return inFolder(folder, path), f == nil
}

// FilePath is where to read the value from, "" where it is not from a file. A relative
// path begins at the folder, see Set.Folder.
func (v *ValueSource) FilePath(folder string) string {
	if v.File == "" {
		return ""
	}
	return inFolder(folder, v.File)
}

func inFolder(folder, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(folder, path)
}

// filePath takes the path out of a file: URL, in which a relative one is opaque.
func filePath(u *url.URL) (string, *fault) {
	if u.Opaque == "" {
		return u.Path, nil
	}
	path, err := url.PathUnescape(u.Opaque)
	if err != nil {
		return "", faultf(CodeFeedURL, "write %25 for the character %", "the path has a %% that begins no escape")
	}
	return path, nil
}

// FeedLimits are the numbers that guards go by, with the defaults filled in.
//
// +kubebuilder:object:generate=false
type FeedLimits struct {
	// MinPrefixV4 and MinPrefixV6 are the shortest prefixes to take: 8 and 16.
	MinPrefixV4, MinPrefixV6 int
	// MaxUnreadable and MaxShrink are percentages: 5 and 50.
	MaxUnreadable, MaxShrink int
	// MaxGrowth is how many times its size a feed may reach at once: 5.
	MaxGrowth int
}

// Limits are the numbers that are given, and the defaults for the others.
func (g *FeedGuards) Limits() FeedLimits {
	return FeedLimits{
		MinPrefixV4:   intOr(g.MinPrefixV4, 8),
		MinPrefixV6:   intOr(g.MinPrefixV6, 16),
		MaxUnreadable: intOr(g.MaxUnreadable, 5),
		MaxShrink:     intOr(g.MaxShrink, 50),
		MaxGrowth:     intOr(g.MaxGrowth, 5),
	}
}

// EntryColumn is the name or the number, from 1, of the column of the entries: 1 by
// default. The name is "" where the column is a number.
func (o *FeedCSVOptions) EntryColumn() (name string, number int) {
	return csvColumn(cmp.Or(o.Column, "1"))
}

// Confidence is the same for the column of the confidence; "" and 0 where there is none.
func (o *FeedCSVOptions) Confidence() (name string, number int) {
	return csvColumn(o.ConfidenceColumn)
}

func csvColumn(s string) (name string, number int) {
	if s != "" && strings.Trim(s, "0123456789") == "" {
		if n, err := strconv.Atoi(s); err == nil {
			return "", n
		}
	}
	return s, 0
}

// Separator is what stands between two columns, a comma by default.
func (o *FeedCSVOptions) Separator() rune {
	switch o.Delimiter {
	case "":
		return ','
	case `\t`:
		return '\t'
	}
	r, _ := utf8.DecodeRuneInString(o.Delimiter)
	return r
}

// CommentPrefix is what lines to pass over begin with, # by default.
func (o *FeedCSVOptions) CommentPrefix() string { return cmp.Or(o.Comment, "#") }

func durationOr(d *metav1.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return d.Duration
}

func intOr(i *int32, otherwise int) int {
	if i == nil {
		return otherwise
	}
	return int(*i)
}
