package parse

import (
	"bytes"
	"math"
)

// lines cuts an input into lines that end with \n, \r\n or a lone \r.
type lines struct {
	in  *input
	max int
	// no is how many lines were given, and so the number of the last one.
	no int64
	// long is set with a line that is longer than max, of which only the beginning is
	// given.
	long bool
	// open is set with a line that ends with the input and not with an end of line.
	open bool
	// afterCR is set where a \n would belong to the line before.
	afterCR bool
	head    []byte
}

func newLines(in *input, longest int) *lines {
	in.reserve(longest)
	return &lines{in: in, max: longest}
}

// next gives the next line without its end. It is valid until the next call. At the end
// and after an error of the reader it reports false.
func (l *lines) next() ([]byte, bool) {
	in := l.in
	l.long, l.open = false, false
	if !l.settle() {
		return nil, false
	}
	for seen := 0; ; {
		if i := lineEnd(in.buf[in.pos+seen : in.end]); i >= 0 {
			line := in.buf[in.pos : in.pos+seen+i]
			l.ended(seen + i)
			if l.long = len(line) > l.max; l.long {
				line = line[:l.max]
			}
			return line, true
		}
		if seen = in.end - in.pos; seen > l.max {
			return l.skipLong(), true
		}
		if !in.more() {
			if seen == 0 || in.failed(0) != nil {
				return nil, false
			}
			l.no++
			l.open = true
			line := in.buf[in.pos:in.end]
			in.pos = in.end
			return line, true
		}
	}
}

// settle finds out whether the line before ended with \r\n, and whether there is more.
func (l *lines) settle() bool {
	in := l.in
	for {
		if in.pos == in.end && !in.more() {
			return false
		}
		if !l.afterCR || in.buf[in.pos] != '\n' {
			l.afterCR = false
			return true
		}
		l.afterCR = false
		in.pos++
	}
}

// ended uses n octets and the end of line behind them.
func (l *lines) ended(n int) {
	l.afterCR = l.in.buf[l.in.pos+n] == '\r'
	l.in.pos += n + 1
	l.no++
}

// skipLong passes over the rest of a line and gives its beginning.
func (l *lines) skipLong() []byte {
	in := l.in
	l.long = true
	l.head = append(l.head[:0], in.buf[in.pos:in.pos+l.max]...)
	for {
		if i := lineEnd(in.buf[in.pos:in.end]); i >= 0 {
			l.ended(i)
			return l.head
		}
		in.pos = in.end
		if !in.more() {
			l.no++
			l.open = true
			return l.head
		}
	}
}

// lineEnd is where the first \n or \r is, -1 for none. It looks at a little at first, so
// that a file of lone \r is not searched to its end for a \n with every line.
func lineEnd(b []byte) int {
	for from, size := 0, 256; from < len(b); size *= 2 {
		part := b[from:min(from+size, len(b))]
		to := from + len(part)
		n := bytes.IndexByte(part, '\n')
		if n >= 0 {
			part = part[:n]
		}
		if r := bytes.IndexByte(part, '\r'); r >= 0 {
			return from + r
		}
		if n >= 0 {
			return from + n
		}
		from = to
	}
	return -1
}

// lineNumber is a count of lines as an entry holds it.
func lineNumber(n int64) uint32 {
	return uint32(min(max(n, 0), math.MaxUint32))
}

// newlines counts the line ends in a text.
func newlines(b []byte) int64 {
	n := int64(bytes.Count(b, []byte{'\n'}))
	for i, c := range b {
		if c == '\r' && (i+1 == len(b) || b[i+1] != '\n') {
			n++
		}
	}
	return n
}

// eachLine gives every line to read, which may ask l for its number.
func eachLine(in *input, out *emitter, read func(line []byte, l *lines, out *emitter) error) error {
	l := newLines(in, maxLine)
	defer func() { out.rep.Lines = l.no }()
	for {
		line, ok := l.next()
		if !ok {
			return in.failed(l.no + 1)
		}
		if err := read(line, l, out); err != nil {
			return err
		}
	}
}
