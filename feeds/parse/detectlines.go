package parse

import (
	"bytes"

	"pavise.dev/pavise/api"
)

// detectLines names a format by what most lines look like. Where as many look like one
// as like another, it is a list. The lines of the other are then unreadable, each with
// a reason that names its format.
func detectLines(b []byte, done bool) (api.FeedFormat, error) {
	count := map[api.FeedFormat]int{}
	l := newLines(newInput(bytes.NewReader(b)), maxLine)
	for {
		line, ok := l.next()
		if !ok || l.open && !done && l.no > 1 {
			break // what is cut off tells nothing
		}
		if f := lineFormat(trim(line)); f != "" {
			count[f]++
		}
	}
	if count[api.FeedRPZ] > 0 {
		return api.FeedRPZ, nil // no other has a SOA
	}
	best := api.FeedText
	for _, f := range []api.FeedFormat{api.FeedIpset, api.FeedHosts, api.FeedAdBlock, api.FeedSuricata, api.FeedCSV} {
		if count[f] > count[best] {
			best = f
		}
	}
	if best == api.FeedCSV {
		return "", failf(Unknown, 0, "the feed has several columns; set format: CSV and csv.column")
	}
	return best, nil
}

// lineFormat is what one line looks like, empty for one that tells nothing.
func lineFormat(line []byte) api.FeedFormat {
	switch {
	case len(line) == 0:
		return ""
	case isAdBlockHeader(line), hasPrefix(line, "||"), hasPrefix(line, "@@"), isCosmetic(line):
		return api.FeedAdBlock
	case line[0] == '!':
		return api.FeedAdBlock
	case line[0] == '#', line[0] == ';', hasPrefix(line, "//"):
		return ""
	}
	word, rest := field(line)
	_, _, isReputation := reputation(line)
	_, isAddr := parseAddr(word)
	second, _ := field(rest)
	switch {
	case isReputation && isEntry(trim(line[:bytes.IndexByte(line, ',')])):
		return api.FeedSuricata
	case hasSOA(rest):
		return api.FeedRPZ
	case isIpsetCommand(word) && len(rest) > 0:
		return api.FeedIpset
	case isHostsAddress(word) && isNameLike(second), isAddr && isBoilerplate(second):
		return api.FeedHosts
	case bytes.IndexByte(beforeURL(line[:commentAt(line)]), ',') >= 0:
		return api.FeedCSV
	}
	return api.FeedText
}

// beforeURL leaves out a URL, in which a comma is a letter as any other.
func beforeURL(line []byte) []byte {
	before, _, _ := bytes.Cut(line, []byte("://"))
	return before
}

func isIpsetCommand(word []byte) bool {
	switch string(word) {
	case "add", "create", "-A", "-N":
		return true
	}
	return false
}

func isEntry(b []byte) bool {
	_, _, ok := parsePrefix(b)
	return ok
}

// isNameLike tells a name from the hyphen of a range and the mark of a comment.
func isNameLike(word []byte) bool {
	return len(word) > 0 && plainName(bytes.ToLower(word)) == len(word)
}

// hasSOA looks for the type behind the owner: name [TTL] [class] SOA.
func hasSOA(rest []byte) bool {
	for range 3 {
		var word []byte
		if word, rest = field(rest); string(bytes.ToUpper(word)) == "SOA" {
			return len(rest) > 0
		}
	}
	return false
}
