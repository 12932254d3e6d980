package api

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/theory/jsonpath"
)

const (
	maxJSONPath   = 512
	maxCSVColumn  = 1024
	maxCSVComment = 16
)

// feedOptions checks the options that belong to some formats only.
func feedOptions(r *reporter, s *ThreatFeedSpec) {
	format := s.Format.OrDefault()
	if slices.Contains(feedFormats, format) {
		belongs(r, "csv", s.CSV != nil, format, FeedCSV)
		belongs(r, "json", s.JSON != nil, format, FeedJSON, FeedJSONLines)
		switch format {
		case FeedAuto, FeedSTIX, FeedTAXII, FeedSuricata:
		case FeedCSV:
			if s.MinConfidence != 0 && s.CSV != nil && s.CSV.ConfidenceColumn == "" {
				r.reportIn("minConfidence", CodeFeedFormat, "give csv.confidenceColumn", "no column says how confident the feed is")
			}
		default:
			if s.MinConfidence != 0 {
				r.reportIn("minConfidence", CodeFeedFormat, "remove it", "format %s does not say how confident it is", format)
			}
		}
	}
	within(r, "minConfidence", s.MinConfidence, 0, 100)
	if s.CSV != nil {
		r.in("csv")
		csvOptions(r, s.CSV)
		r.out()
	}
	if s.JSON != nil {
		r.in("json")
		if required(r, "path", s.JSON.Path) {
			r.in("path")
			r.reportFault(checkJSONPath(s.JSON.Path))
			r.out()
		}
		r.out()
	}
}

// belongs reports options that are missing for their formats, or there for another.
func belongs(r *reporter, name string, given bool, format FeedFormat, of ...FeedFormat) {
	switch right := slices.Contains(of, format); {
	case right && !given:
		r.report(CodeFeedFormat, "give "+name, "format %s needs %s", format, name)
	case given && !right:
		words := make([]string, len(of))
		for i, f := range of {
			words[i] = string(f)
		}
		r.reportIn(name, CodeFeedFormat, "remove it, or write format: "+strings.Join(words, " or "), "%s means nothing with format %s", name, format)
	}
}

func csvOptions(r *reporter, o *FeedCSVOptions) {
	csvColumnName(r, "column", o.Column, o.Header)
	csvColumnName(r, "confidenceColumn", o.ConfidenceColumn, o.Header)
	name, number := o.EntryColumn()
	if other, n := o.Confidence(); other == name && n == number {
		r.reportIn("confidenceColumn", CodeFeedCSV, "", "it is the column of the entries")
	}
	if d := o.Delimiter; d != "" && d != `\t` {
		c, size := utf8.DecodeRuneInString(d)
		if size != len(d) || c == utf8.RuneError || c < ' ' && c != '\t' || c == 0x7f || c == '"' || isDigitOrLetter(c) {
			r.reportIn("delimiter", CodeFeedCSV, `write one character that is no letter, digit or quote, or \t`, "%s is not what stands between columns", quote(d))
		}
	}
	switch c := o.Comment; {
	case c == "":
	case len(c) > maxCSVComment || strings.ContainsFunc(c, func(c rune) bool { return c < ' ' || c == 0x7f }):
		r.reportIn("comment", CodeFeedCSV, "", "%s is not what a line of comment begins with", quote(c))
	case strings.HasPrefix(c, string(o.Separator())):
		r.reportIn("comment", CodeFeedCSV, "", "lines with an empty first column begin like that too")
	}
}

func isDigitOrLetter(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func csvColumnName(r *reporter, field, s string, header bool) {
	if s == "" {
		return
	}
	number, err := strconv.Atoi(s)
	switch digits := strings.Trim(s, "0123456789") == ""; {
	case digits && (err != nil || number < 1 || number > maxCSVColumn):
		r.reportIn(field, CodeFeedCSV, "", "%s is not a column: they count from 1, up to %d", shorten(s), maxCSVColumn)
	case len(s) > 256:
		r.reportIn(field, CodeFeedCSV, "", "the name of the column is longer than 256 bytes")
	case !digits && !header:
		r.reportIn(field, CodeFeedCSV, "write header: true, or a number", "column %s is a name, and no line is said to have the names", quote(s))
	}
}

func checkJSONPath(s string) *fault {
	if len(s) > maxJSONPath {
		return faultf(CodeJSONPath, "", "the path has %d bytes and may have %d", len(s), maxJSONPath)
	}
	if _, err := jsonpath.Parse(s); err != nil {
		fix := ""
		if !strings.HasPrefix(s, "$") {
			fix = "begin it with $"
		}
		message := err.Error()
		if _, rest, ok := strings.Cut(message, "jsonpath: "); ok {
			message = rest
		}
		return faultf(CodeJSONPath, fix, "not a JSONPath: %s", printable(message))
	}
	return nil
}
