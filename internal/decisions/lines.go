package decisions

import (
	"bytes"
	"io"
)

const (
	// chunkOctets is how much is written at once; the line that reaches it is the last.
	chunkOctets = 32 << 10
	// mostOctets is the most that is written at once. The largest line has 120 KiB: all
	// texts at their bounds, each octet written as \u00xx.
	mostOctets = chunkOctets + 120<<10
)

// lines writes records to a writer, a line each, many lines in one Write. A line is
// written whole, or what there is of it is ended before the next.
type lines struct {
	buf   []byte
	torn  bool  // what was written last ends within a line
	wrote int64 // octets by the last flush,
	rest  int64 // and those of them behind the last line end
}

// next encodes records until there is enough to write.
func (l *lines) next(batch []*Record) {
	l.buf = l.buf[:0]
	if l.torn {
		l.buf = append(l.buf, '\n')
	}
	for _, r := range batch {
		if len(l.buf) >= chunkOctets {
			break
		}
		l.buf = append(r.AppendJSON(l.buf), '\n')
	}
}

// flush writes what next encoded, and returns how many records of it are written whole.
func (l *lines) flush(w io.Writer) (records int, err error) {
	n, err := w.Write(l.buf)
	n = max(0, min(n, len(l.buf)))
	if n < len(l.buf) && err == nil {
		err = io.ErrShortWrite
	}
	out := l.buf[:n]
	records = bytes.Count(out, []byte{'\n'})
	l.wrote, l.rest = int64(n), int64(n-1-bytes.LastIndexByte(out, '\n'))
	if l.torn && n > 0 {
		l.torn = false
		records-- // that was the end of the torn line
	}
	l.torn = l.torn || l.rest > 0
	return records, err
}
