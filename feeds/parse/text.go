package parse

import (
	"bytes"
	"net/netip"
)

// readText reads a list with one entry a line.
//
// A comment begins with #, ; or //, on a line of its own or behind an entry. Behind an
// entry, // needs a blank before it, so that https:// stays whole; # and ; need one only
// behind a URL, where both can be part of it, since no address and no name has them.
// A line of several words is unreadable, but for a range with blanks around its hyphen:
// what the other words mean is not known, and the format that is likely is named.
func readText(in *input, out *emitter) error {
	l := newLines(in, maxLine)
	defer func() { out.rep.Lines = l.no }()
	out.begin(0)
	for {
		if err := quickLines(l, out); err != nil {
			return err
		}
		line, ok := l.next()
		if !ok {
			return in.failed(l.no + 1)
		}
		if err := textLine(line, l, out); err != nil {
			return err
		}
	}
}

// quickLines takes lines as long as they are nothing but an IPv4 address, a CIDR or a
// canonical name, and end within the window. Most lines of most feeds are such. Where
// it is lives in b, which is faster than in the input.
func quickLines(l *lines, out *emitter) error {
	if l.afterCR {
		return nil
	}
	in := l.in
	b := in.buf[in.pos:in.end]
	for len(b) > quickRoom {
		isAddr, ip, bits, n := false, uint32(0), 0, 0
		if b[0]-'0' <= 9 {
			if ip, n = quickQuad(b); n > 0 {
				if isAddr, bits = true, 32; b[n] == '/' {
					bits, n = quickBits(b, n)
					isAddr = n > 0
				}
			}
		}
		if !isAddr {
			if n = plainName(b); n == 0 {
				break
			}
		}
		end := n
		if end >= len(b) {
			break
		}
		if b[end] != '\n' {
			if end++; b[n] != '\r' || end >= len(b) || b[end] != '\n' {
				break
			}
		}
		l.no++
		out.e.Line = lineNumber(l.no) // nothing else of an entry changes in a list
		var err error
		if isAddr {
			masked := ip & maskOf(bits)
			if masked != ip {
				out.rep.Masked++
			}
			// What prefix does, without the calls, where there is nothing to decide.
			p := netip.PrefixFrom(addrOf(masked), bits)
			if out.noAddrs || out.e.Domain != nil || out.rep.Entries >= out.o.MaxEntries {
				err = out.prefix(p, b[:n])
			} else {
				out.e.Prefix = p
				out.rep.Entries++
				err = out.sink(&out.e)
			}
		} else {
			err = out.domain(b[:n], out.bare, b[:n])
		}
		b = b[end+1:]
		if err != nil {
			return err
		}
	}
	in.pos = in.end - len(b)
	return nil
}

func textLine(line []byte, l *lines, out *emitter) error {
	line = trim(line)
	if len(line) == 0 || line[0] == '#' || line[0] == ';' || hasPrefix(line, "//") {
		return nil
	}
	out.begin(l.no)
	if l.long {
		out.unreadable(line, longLine)
		return nil
	}
	text := trim(line[:commentAt(line)])
	if word, rest := field(text); len(rest) > 0 {
		if ok, err := out.addresses(text); ok {
			return err
		}
		out.unreadable(line, severalWords(word, rest))
		return nil
	}
	return out.value(text)
}

// commentAt is where the comment behind an entry begins, or the length of the line.
func commentAt(line []byte) int {
	url := false
	for i, c := range line {
		blank := i > 0 && isBlank(line[i-1])
		switch {
		case (c == '#' || c == ';') && (blank || !url):
			return i
		case c == '/' && blank && i+1 < len(line) && line[i+1] == '/':
			return i
		case c == '/' && i > 1 && line[i-1] == '/' && line[i-2] == ':':
			url = true
		}
	}
	return len(line)
}

// severalWords names the format that a line of several words is likely from.
func severalWords(word, rest []byte) string {
	second, _ := field(rest)
	_, isAddr := parseAddr(word)
	switch {
	case isAddr && plainName(second) == len(second):
		return looksHosts
	case isIpsetCommand(word):
		return looksIpset
	case word[0] == '$' || zoneType(rest):
		return looksZone
	case bytes.IndexByte(word, ',') >= 0:
		return columns
	}
	return whyNot(word, withBlanks)
}

// zoneType tells whether one of the words is a type that response policy zones use.
func zoneType(rest []byte) bool {
	for range 3 {
		var word []byte
		word, rest = field(rest)
		switch string(word) {
		case "CNAME", "SOA", "NS", "A", "AAAA", "TXT":
			return true
		}
	}
	return false
}
