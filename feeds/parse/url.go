package parse

import (
	"bytes"

	"pavise.dev/pavise/api"
)

// url reads a URL (RFC 3986). Its host is an entry where the URL has no path, and with a
// path where urls says so.
func (m *emitter) url(text []byte) error {
	text = trim(text)
	scheme, rest, ok := bytes.Cut(text, []byte("://"))
	if !ok || !isScheme(scheme) {
		m.unreadable(text, whyNot(text, badURL))
		return nil
	}
	authority, path := rest, []byte(nil)
	if i := bytes.IndexAny(rest, "/?#"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	// Browsers take \ for /, and others take it for a part of the user: both would see
	// another host in http://good.example\@evil.example. What is between two @ is
	// likewise host to some.
	if bytes.IndexByte(authority, '\\') >= 0 || bytes.Count(authority, []byte("@")) > 1 {
		m.unreadable(text, odd)
		return nil
	}
	if _, host, ok := bytes.Cut(authority, []byte("@")); ok {
		authority = host
	}
	return m.located(authority, len(path) > 0 && !bytes.Equal(path, []byte("/")), text)
}

// located gives the host of a URL, if something in it can be read and a path is no
// reason against it.
func (m *emitter) located(host []byte, path bool, text []byte) error {
	p, _, isAddr := parsePrefix(host)
	if isAddr && host[0] != '[' && bytes.Count(host, []byte(":")) > 1 {
		m.unreadable(text, odd) // an IPv6 address in a URL stands in brackets, or has a port that looks like a part
		return nil
	}
	var name []byte
	if !isAddr {
		if i := bytes.IndexByte(host, ':'); i >= 0 && (i+1 == len(host) || isPort(host[i+1:])) {
			host = host[:i]
		}
		var reason string
		if name, reason = m.names.canonical(host); reason != "" {
			if reason == noName || reason == emptyLabel {
				reason = badURL
			}
			m.unreadable(text, whyNot(text, reason))
			return nil
		}
	}
	switch {
	case path && m.o.URLs != api.URLsHost:
		m.unsupported(text, hasPath)
		return nil
	case isAddr:
		return m.prefix(p, text)
	}
	return m.domain(name, m.bare, text)
}

func isScheme(b []byte) bool {
	for i, c := range b {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || c-'0' > 9 && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return len(b) > 0
}
