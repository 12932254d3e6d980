package api

import (
	"reflect"
	"slices"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var threatFeedType = reflect.TypeFor[ThreatFeed]()

const (
	// maxFeeds bounds the feeds of a set: each has a bit in what the proxies look up,
	// and files in the state folder.
	maxFeeds           = 4096
	maxFeedInterval    = 365 * 24 * time.Hour
	maxFeedDescription = 1024
)

var feedFormats = []FeedFormat{
	FeedAuto, FeedText, FeedIpset, FeedHosts, FeedAdBlock, FeedCSV, FeedJSON, FeedJSONLines, FeedRPZ,
	FeedSTIX, FeedTAXII, FeedMISP, FeedMISPWarningList, FeedSuricata, FeedCrowdSec,
}

// validateFeed checks a ThreatFeed. One that was not read from a file may not name
// files: whoever may write objects is not always who may read the control plane's disk.
func validateFeed(r *reporter, s *ThreatFeedSpec) {
	if n := utf8.RuneCountInString(s.Description); n > maxFeedDescription {
		r.reportIn("description", CodeFeedBound, "", "the description has %d characters and may have %d", n, maxFeedDescription)
	}
	scheme, host := "", ""
	if required(r, "url", s.URL) {
		r.in("url")
		if u, f := parseFeedURL(s.URL); f != nil {
			r.reportFault(f)
		} else {
			scheme = u.Scheme
			host, _ = canonicalHost(u.Hostname())
		}
		if scheme == "file" {
			localOnly(r, "a file: URL")
		}
		r.out()
	}
	enum(r, "content", s.Content, false, FeedMixed, FeedAddresses, FeedDomains)
	enum(r, "format", s.Format, false, feedFormats...)
	enum(r, "subdomains", s.Subdomains, false, SubdomainsAuto, SubdomainsInclude, SubdomainsExclude)
	enum(r, "urls", s.URLs, false, URLsRefuse, URLsHost)
	enum(r, "action", s.Action, false, FeedDeny, FeedAlert)
	enum(r, "direction", s.Direction, false, FeedBoth, FeedIngress, FeedEgress)
	feedOptions(r, s)
	feedTiming(r, s)
	if s.MaxBytes != 0 {
		within(r, "maxBytes", s.MaxBytes, 1, 4<<30)
	}
	if s.MaxEntries != 0 {
		within(r, "maxEntries", s.MaxEntries, 1, 50_000_000)
	}
	feedHeaders(r, s.Headers, scheme, host)
	feedTLS(r, s.TLS, scheme)

	r.in("except")
	ranges(r, s.Except.CIDRs, nil)
	r.in("cidrs")
	atMost(r, len(s.Except.CIDRs), 4096)
	r.out()
	r.in("domains")
	atMost(r, len(s.Except.Domains), 4096)
	for i, name := range s.Except.Domains {
		r.at(i)
		r.reportFault(checkFeedDomain(name))
		r.out()
	}
	r.out()
	r.out()
	feedGuards(r, &s.Guards)
}

// localOnly reports what only objects from files may have.
func localOnly(r *reporter, what string) {
	if r.line == nil {
		r.report(CodeFeedLocal, "", "%s is read only where the feed itself is in a file", what)
	}
}

// within checks a number against its bounds; both count as within.
func within[T int32 | int64](r *reporter, name string, value, least, most T) {
	if value < least || value > most {
		r.reportIn(name, CodeFeedBound, "", "%d is out of bounds: %d to %d", value, least, most)
	}
}

// feedTiming checks the durations, those that depend on another only where that one is
// right.
func feedTiming(r *reporter, s *ThreatFeedSpec) {
	r.in("refresh")
	valid := lasts(r, "interval", s.Refresh.Interval, 10*time.Second, maxFeedInterval)
	lasts(r, "timeout", s.Refresh.Timeout, time.Second, time.Hour)
	if valid {
		lasts(r, "jitter", s.Refresh.Jitter, 0, s.Interval())
	}
	r.out()
	if valid {
		lasts(r, "expireAfter", s.ExpireAfter, s.Interval(), 0)
	}
}

// lasts checks a duration against its bounds; a most of 0 is none.
func lasts(r *reporter, name string, d *metav1.Duration, least, most time.Duration) bool {
	switch {
	case d == nil:
		return true
	case d.Duration < 0:
		r.reportIn(name, CodeFeedTiming, "", "%s is before it began", showDuration(d.Duration))
	case d.Duration < least:
		r.reportIn(name, CodeFeedTiming, "write "+showDuration(least)+" or more", "%s is too short", showDuration(d.Duration))
	case most > 0 && d.Duration > most:
		r.reportIn(name, CodeFeedTiming, "write "+showDuration(most)+" or less", "%s is too long", showDuration(d.Duration))
	default:
		return true
	}
	return false
}

// checkFeedDomain checks a name that stands for itself and all names below it.
func checkFeedDomain(s string) *fault {
	name, f := canonicalHost(s)
	switch {
	case f != nil:
		f.code = CodeDomain
		return f
	case name[0] == '*':
		return faultf(CodeDomain, "write "+quote(name[2:]), "%s: names stand here for themselves and every name below them", quote(s))
	case isAddress(name):
		return faultf(CodeDomainAddress, "use cidrs", "%s is an address and not a name", quote(s))
	}
	return nil
}

func feedGuards(r *reporter, g *FeedGuards) {
	r.in("guards")
	defer r.out()
	r.in("disabled")
	atMost(r, len(g.Off), 64)
	guards := Guards()
	for i, name := range g.Off {
		r.at(i)
		at := slices.IndexFunc(guards, func(info GuardInfo) bool { return info.Name == name })
		if at < 0 {
			r.report(CodeFeedGuard, suggestGuard(name), "there is no guard %s", quote(name))
		} else if guards[at].Fixed {
			r.report(CodeFeedGuard, "remove it", "%s cannot be switched off", name)
		}
		r.out()
	}
	r.out()
	for _, n := range []struct {
		name        string
		value       *int32
		least, most int32
	}{
		{"minPrefixV4", g.MinPrefixV4, 0, 32},
		{"minPrefixV6", g.MinPrefixV6, 0, 128},
		{"maxUnreadable", g.MaxUnreadable, 0, 100},
		{"maxShrink", g.MaxShrink, 0, 100},
		{"maxGrowth", g.MaxGrowth, 1, 1_000_000},
	} {
		if n.value != nil {
			within(r, n.name, *n.value, n.least, n.most)
		}
	}
	r.in("protected")
	atMost(r, len(g.Protected), 1024)
	for i, s := range g.Protected {
		r.at(i)
		_, f := parseProtected(s)
		r.reportFault(f)
		r.out()
	}
	r.out()
}

func suggestGuard(name string) string {
	known := make([]string, 0, len(Guards()))
	for _, g := range Guards() {
		known = append(known, g.Name)
	}
	if best := nearest(name, known); best != "" {
		return "did you mean " + best + "?"
	}
	return "known are " + enumerate(known)
}

// checkFeeds finds what only shows when all feeds are seen together.
func checkFeeds(s *Set) {
	if len(s.ThreatFeeds) <= maxFeeds {
		return
	}
	f := s.ThreatFeeds[maxFeeds]
	r := &s.between
	file, line := s.Position(KindThreatFeed, "", f.Name, "")
	r.file, r.object, r.path = file, ObjectName(KindThreatFeed, "", f.Name), nil
	r.reportLine(line, CodeTooManyFeeds, "", "there are %d feeds, and there may be %d", len(s.ThreatFeeds), maxFeeds)
}
