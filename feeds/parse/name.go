package parse

import (
	"bytes"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	maxName  = 253 // octets in a name as text (RFC 1035, section 2.3.4)
	maxLabel = 63
	// longestName leaves room for scripts that shrink in punycode, and keeps the mapping,
	// which is not linear, away from kilobytes.
	longestName = 1024
)

// Why a name cannot be read.
const (
	noName       = "not an address and not a name"
	emptyName    = "nothing where an entry is expected"
	emptyLabel   = "a name with an empty label"
	longName     = "a name of more than 253 octets"
	longLabel    = "a name with a label of more than 63 octets"
	endsInNumber = "ends in a number and is not an address"
	badScript    = "not a name in any script"
	badWildcard  = "a * that is not the whole first label"
	badPort      = "a name with something after a colon that is not a port"
)

// nameProfile maps names as browsers do before they look them up (UTS 46, not
// transitional). Hyphens may stand anywhere: there are hosts like r3---sn-x.example.
var nameProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false),
	idna.StrictDomainName(false), idna.CheckHyphens(false))

// What an octet may be in a canonical name.
const (
	inLabel  = 1 << iota
	isLetter // or underscore: what a last label can begin with and be no number
	isDot
)

var class = func() (t [256]uint8) {
	for c := byte('a'); c <= 'z'; c++ {
		t[c] = inLabel | isLetter
	}
	for c := byte('0'); c <= '9'; c++ {
		t[c] = inLabel
	}
	t['_'], t['-'], t['.'] = inLabel|isLetter, inLabel, isDot
	return t
}()

// plainName tells how many octets at the beginning of b are a canonical name that needs
// no second look: no xn--, and a last label that begins with a letter. 0 is for any
// other, which may be a name all the same.
func plainName(b []byte) int {
	b = b[:min(len(b), maxName+1)]
	for start := 0; ; {
		i := start
		for i < len(b) && class[b[i]]&inLabel != 0 {
			i++
		}
		if i == start || i-start > maxLabel || b[start] == 'x' && isACE(b[start:i]) {
			return 0
		}
		if i == len(b) || b[i] != '.' {
			if i > maxName || class[b[start]]&isLetter == 0 {
				return 0
			}
			return i
		}
		start = i + 1
	}
}

func isACE(label []byte) bool {
	return len(label) >= 4 && label[0] == 'x' && label[1] == 'n' && label[2] == '-' && label[3] == '-'
}

// names makes names canonical, in memory that it keeps.
type names struct{ buf []byte }

// canonical reads a name as people write it: in any case and script, with a dot at its
// end or without. It returns the name in lower case and ACE, or why it is none. The name
// is valid until the next call.
func (s *names) canonical(b []byte) (name []byte, reason string) {
	b = bytes.TrimSuffix(b, []byte{'.'})
	if len(b) > longestName {
		return nil, longName
	}
	s.buf = s.buf[:0]
	ascii, ace := true, false
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		ascii = ascii && c < utf8.RuneSelf
		s.buf = append(s.buf, c)
		ace = ace || c == '-' && i >= 3 && (i == 3 || s.buf[i-4] == '.') && isACE(s.buf[i-3:])
	}
	if !ascii || ace {
		if reason := s.toASCII(); reason != "" {
			return nil, reason
		}
	}
	return s.buf, checkName(s.buf)
}

// toASCII turns the name in buf into ACE. The result has to stand for itself: what
// would read differently a second time is no name to compare by.
func (s *names) toASCII() string {
	if !utf8.Valid(s.buf) {
		return badScript
	}
	once, err := nameProfile.ToASCII(string(s.buf))
	if err != nil {
		return badScript
	}
	if twice, err := nameProfile.ToASCII(once); err != nil || twice != once {
		return badScript
	}
	s.buf = append(s.buf[:0], once...)
	return ""
}

// checkName looks at a name in lower case.
func checkName(b []byte) string {
	if len(b) == 0 {
		return emptyLabel
	}
	if len(b) > maxName {
		return longName
	}
	start := 0
	for i := 0; ; i++ {
		if i < len(b) && class[b[i]] == 0 {
			return noName
		}
		if i < len(b) && b[i] != '.' {
			continue
		}
		switch {
		case i == start:
			return emptyLabel
		case i-start > maxLabel:
			return longLabel
		}
		if i == len(b) {
			break
		}
		start = i + 1
	}
	if isNumber(b[start:]) {
		return endsInNumber
	}
	return ""
}

// isNumber tells whether some clients take a last label for a number, and the name with
// it for an address: 10.1 and 0x7f.1 (WHATWG URL, "ends in a number"). So is one that
// looks like a part of a range, 192.0.2.1-9: there are no such top-level domains.
func isNumber(label []byte) bool {
	if len(label) >= 2 && label[0] == '0' && label[1] == 'x' {
		return true
	}
	for _, c := range label {
		if c-'0' > 9 && c != '-' {
			return false
		}
	}
	return true
}
