package flows

import "strings"

const (
	// mostSegments and mostSegment bound a shape to 8 segments of 48 octets.
	mostSegments = 8
	mostSegment  = 48
)

// Shape is a path with what differs from one object to the next left out, so that the paths
// of one route have one shape: "/users/123/orders/9f0c21aa" is "/users/{n}/orders/{hex}".
// Segment by segment, the first of these that holds is taken:
//
//   - empty, and . and .. : kept
//   - {long}: more than 48 octets
//   - {enc}: it holds an escape, a space, a control character or anything that is not ASCII
//   - {n}: digits, alone or with any of -._:, such as 123, 2026-11-30 and 1.2.3
//   - {uuid}: 8-4-4-4-12 hexadecimal digits
//   - {hex}: 8 or more hexadecimal digits, at least one of them 0 to 9
//   - {id}: 20 or more of letters, digits, - and _, with at least four changes between letters
//     and digits: a token
//   - as it is, but three and more digits in a row are {n}: "img0042.png" is "img{n}.png",
//     while "v1" stays
//
// What comes after the eighth segment is {more}; a query is left out. A shape is its own
// shape, has at most 400 octets and is ASCII. It is a hint for people, and no form to
// decide on: different paths have the same one.
func Shape(path string) string {
	if i := strings.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	var room [8*(mostSegment+1) + 8]byte
	out, rest := room[:0], path
	for n := 0; ; n++ {
		segment, after, more := strings.Cut(rest, "/")
		if n > mostSegments { // a path begins with a slash, and so with an empty segment
			out = append(out, "{more}"...)
			break
		}
		out = appendSegment(out, segment)
		if !more {
			break
		}
		out, rest = append(out, '/'), after
	}
	if string(out) == path { // no copy
		return path
	}
	return string(out)
}

// class counts what a segment is made of.
type class struct {
	digits, hexLetters, letters, marks, dashes, changes, run, longest int
	strange                                                           bool
}

func classify(s string) (c class) {
	was := byte(0)
	for i := range len(s) {
		b, is := s[i], byte('.')
		switch {
		case '0' <= b && b <= '9':
			c.digits++
			is = '0'
		case 'a' <= b|0x20 && b|0x20 <= 'z':
			c.letters++
			if b|0x20 <= 'f' {
				c.hexLetters++
			}
			is = 'a'
		case b == '-' || b == '_':
			c.dashes++
			fallthrough
		case b == '.' || b == ':':
			if b != '_' {
				c.marks++
			}
		case b <= ' ' || b >= 0x7f || b == '%':
			c.strange = true
		}
		if is != '.' && was != 0 && is != was {
			c.changes++
		}
		if is != '.' {
			was = is
		}
		if is == '0' {
			c.run++
			c.longest = max(c.longest, c.run)
		} else {
			c.run = 0
		}
	}
	return c
}

func appendSegment(out []byte, s string) []byte {
	if s == "" || s == "." || s == ".." {
		return append(out, s...)
	}
	if len(s) > mostSegment {
		return append(out, "{long}"...)
	}
	c := classify(s)
	switch n := len(s); {
	case c.strange:
		return append(out, "{enc}"...)
	case c.digits > 0 && c.digits+c.marks == n:
		return append(out, "{n}"...)
	case n == 36 && c.dashes == 4 && c.digits+c.hexLetters == 32 && uuidDashes(s):
		return append(out, "{uuid}"...)
	case n >= 8 && c.digits > 0 && c.digits+c.hexLetters == n:
		return append(out, "{hex}"...)
	case n >= 20 && c.changes >= 4 && c.digits+c.letters+c.dashes == n:
		return append(out, "{id}"...)
	case c.longest < 3:
		return append(out, s...)
	}
	for i := 0; i < len(s); {
		j := i
		for j < len(s) && '0' <= s[j] && s[j] <= '9' {
			j++
		}
		switch {
		case j-i >= 3:
			out = append(out, "{n}"...)
		case j > i:
			out = append(out, s[i:j]...)
		default:
			out = append(out, s[i])
			j++
		}
		i = j
	}
	return out
}

func uuidDashes(s string) bool { return s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' }
