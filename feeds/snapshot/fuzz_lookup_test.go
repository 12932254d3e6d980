package snapshot

import (
	"net/netip"
	"strings"
	"testing"
)

// FuzzLookup makes a few entries and a few questions of its input, a line each: entries
// until an empty line, then questions. What the snapshot says is compared with the oracle.
func FuzzLookup(f *testing.F) {
	for _, s := range []string{
		"10.0.0.0/8\n10.1.0.0/16\n10.1.2.3/32\n\n10.1.2.3\n10.2.0.0\n11.0.0.0\n9.255.255.255",
		"2001:db8::/32\n2001:db8::1/128\nfe80::/10\n::/0\n\n2001:db8::1\n::\nffff::",
		"0.0.0.0/1\n128.0.0.0/1\n\n0.0.0.0\n255.255.255.255\n127.255.255.255",
		"example.com\n=a.example.com\n<b.example.com\n\nexample.com\na.example.com\nx.a.example.com\nb.example.com\ny.b.example.com",
		"com\n!a.com\n1 example.com\n2 !www.example.com\n\na.com\nb.a.com\nwww.example.com\nx",
		"3fff:ffff::/32\n2000::/16\n1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128\n\n2000::\n3fff:ffff:ffff::\n4000::",
		"a..b\n.a\n..\n\na..b\n.a\nx..\n..\n...",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, questions, _ := strings.Cut(text, "\n\n")
		var entries []entry
		for i, line := range strings.Split(list, "\n") {
			if e, ok := readEntry(line, uint32(i+1)); ok {
				entries = append(entries, e)
			}
		}
		b, err := NewBuilder(make([]Feed, 3), Key{9})
		if err != nil {
			t.Fatal(err)
		}
		add(t, b, entries)
		var out memory
		if _, err := b.WriteTo(&locked{memory: &out}); err != nil {
			t.Fatal(err)
		}
		s, err := open(aligned8(out))
		if err != nil {
			t.Fatal(err)
		}
		o := newOracle(t, entries)
		for _, e := range entries {
			if e.prefix.IsValid() {
				for _, a := range []netip.Addr{e.prefix.Addr(), lastOf(e.prefix), e.prefix.Addr().Prev(), lastOf(e.prefix).Next()} {
					if a.IsValid() {
						expect(t, s, o, a, "")
					}
				}
			}
		}
		for q := range strings.SplitSeq(questions, "\n") {
			if a, err := netip.ParseAddr(q); err == nil && a.Zone() == "" && !a.Is4In6() {
				expect(t, s, o, a, "")
			} else if canonical(q) {
				expect(t, s, o, netip.Addr{}, q)
			} else {
				s.ContainsDomain(q)
				s.LookupDomain(nil, q)
			}
		}
	})
}

// readEntry reads a prefix or a name: feed 0 to 2 and a blank before it, then = for the
// name itself, < for what is below it, ! for an exception, nothing for both.
func readEntry(line string, at uint32) (entry, bool) {
	e := entry{line: at, match: Self | Below}
	if len(line) > 2 && line[0] >= '0' && line[0] < '3' && line[1] == ' ' {
		e.feed, line = int(line[0]-'0'), line[2:]
	}
	if p, err := netip.ParsePrefix(line); err == nil {
		e.prefix = p.Masked()
		return e, !p.Addr().Is4In6()
	}
	if line == "" {
		return e, false
	}
	switch line[0] {
	case '=':
		e.match, line = Self, line[1:]
	case '<':
		e.match, line = Below, line[1:]
	case '!':
		e.except, line = true, line[1:]
	}
	e.domain = line
	return e, canonical(line)
}

// canonical says whether a text has the form of a name, as far as look-ups depend on it.
func canonical(name string) bool {
	return len(name) > 0 && len(name) <= maxName && !strings.Contains("."+name+".", "..")
}
