package parse

import (
	"bytes"

	"go4.org/netipx"
)

// Why a value cannot be taken.
const (
	badCIDR     = "not a prefix length behind the slash"
	badRange    = "a range that does not lead from one address to a higher one of its kind"
	badZone     = "an address with a zone"
	badURL      = "a URL without a host that can be read"
	odd         = "a URL that programs read differently"
	defanged    = "a defanged entry"
	columns     = "several columns; set format: CSV and csv.column"
	notAddress  = "not an address"
	notName     = "an address where a name is expected"
	hasPath     = "a URL with a path, and urls is Refuse"
	wildAll     = "a * that stands for every name"
	narrowPort  = "only one port of an address or name"
	withBlanks  = "several words"
	looksHosts  = "a line of a hosts file in a list; set format: Hosts"
	looksIpset  = "a line of ipset in a list; set format: Ipset"
	looksFilter = "an ad-blocker's rule in a list; set format: AdBlock"
	looksZone   = "a line of a zone file in a list; set format: RPZ"
	looksJSON   = "JSON in a list; set format: JSONLines and json.path"
)

// value reads what a format without types lists: an address, a CIDR, a range, a name,
// *.name, .name or a URL. It gives the entries in it or counts what is left out.
func (m *emitter) value(text []byte) error {
	text = trim(text)
	if len(text) == 0 {
		m.unreadable(text, emptyName)
		return nil
	}
	if ok, err := m.addresses(text); ok {
		return err
	}
	if bytes.Contains(text, []byte("://")) {
		return m.url(text)
	}
	if host, path, ok := bytes.Cut(text, []byte("/")); ok {
		digit := len(path) > 0 && path[0]-'0' <= 9
		_, bare := parseAddr(host)
		_, _, isAddr := parsePrefix(host)
		if bare || digit && (isAddr || numeric(host)) {
			m.unreadable(text, badCIDR)
			return nil
		}
		return m.located(host, len(path) > 0, text)
	}
	return m.host(text)
}

// address reads an address, a CIDR or a range.
func (m *emitter) address(text []byte) error {
	text = trim(text)
	ok, err := m.addresses(text)
	if !ok {
		m.unreadable(text, addressFault(text))
	}
	return err
}

func addressFault(text []byte) string {
	if len(text) == 0 {
		return emptyName
	}
	if reason := whyNot(text, ""); reason != "" {
		return reason
	}
	return notAddress
}

// addresses gives the prefixes of an address, a CIDR or a range, and tells whether text
// is meant as one of these.
func (m *emitter) addresses(text []byte) (bool, error) {
	if p, masked, ok := parsePrefix(text); ok {
		if masked {
			m.rep.Masked++
		}
		return true, m.prefix(p, text)
	}
	from, to, ok := bytes.Cut(text, []byte("-"))
	if !ok {
		return false, nil
	}
	a, ok := parseAddr(trim(from))
	if !ok {
		return false, nil
	}
	b, ok := parseAddr(trim(to))
	if !ok && !numeric(trim(to)) {
		return false, nil // 192.0.2.1-static.example is a name
	}
	r := netipx.IPRangeFrom(a.Unmap(), b.Unmap())
	if !ok || !r.IsValid() {
		m.unreadable(text, badRange)
		return true, nil
	}
	m.prefixes = r.AppendPrefixes(m.prefixes[:0])
	for _, p := range m.prefixes {
		if err := m.prefix(p, text); err != nil {
			return true, err
		}
		if m.noAddrs {
			break // one entry was left out, however many prefixes it has
		}
	}
	return true, nil
}

// host reads a name, *.name or .name, with a port or without.
func (m *emitter) host(text []byte) error {
	return m.named(text, text, m.bare, true)
}

// exact reads a name that stands for what match says.
func (m *emitter) exact(text []byte, match Match) error {
	return m.named(text, text, match, false)
}

// named gives the name that is written as part of text.
func (m *emitter) named(part, text []byte, match Match, wild bool) error {
	whole := part
	switch {
	case wild && len(part) == 1 && part[0] == '*':
		m.unreadable(text, wildAll)
		return nil
	case wild && bytes.HasPrefix(part, []byte("*.")):
		part, match = part[2:], Below
	case wild && len(part) > 1 && part[0] == '.':
		part, match = part[1:], Self|Below
	}
	if i := bytes.IndexByte(part, ':'); i >= 0 {
		if !isPort(part[i+1:]) {
			m.unreadable(text, whyNoName(whole, badPort))
			return nil
		}
		part = part[:i]
	}
	name, reason := m.names.canonical(part)
	if reason != "" {
		m.unreadable(text, whyNoName(whole, reason))
		return nil
	}
	return m.domain(name, match, text)
}

func whyNoName(part []byte, first string) string {
	if _, _, ok := parsePrefix(part); ok {
		return notName
	}
	return whyNot(part, first)
}

// whyNot finds the likely reason why a text is not an entry, else what was found first.
func whyNot(text []byte, first string) string {
	has := func(s string) bool { return bytes.Contains(text, []byte(s)) }
	switch {
	case has("[.]") || has("(.)") || has("[:]"):
		return defanged
	case len(text) == 0:
		return first
	case has("||") || has("##") || text[0] == '@' || text[0] == '!':
		return looksFilter
	case text[0] == '{':
		return looksJSON
	case has("%") && bytes.Count(text, []byte(":")) > 1:
		return badZone
	case has(",") || has("\t"):
		return columns
	case has("*") && !hasPrefix(text, "*."):
		return badWildcard
	}
	return first
}

// numeric tells whether a text is made of what numeric addresses are made of.
func numeric(b []byte) bool {
	for _, c := range b {
		if c-'0' > 9 && c != '.' {
			return false
		}
	}
	return true
}
