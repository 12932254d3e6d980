package parse

import (
	"bytes"
	"io"
)

const (
	// sampleSize is how much is looked at before a feed is read.
	sampleSize = 64 << 10
	// maxLine is the longest line that is read.
	maxLine = 64 << 10
	// block is how much room there is at least for a read.
	block = 64 << 10
)

// input is a reader with a window on what was read and not yet used: buf[pos:end].
type input struct {
	r        io.Reader
	buf      []byte
	pos, end int
	// err is what ended the reading: io.EOF or the reader's own error.
	err error
}

func newInput(r io.Reader) *input {
	return &input{r: r, buf: make([]byte, maxLine+2*block)}
}

// reserve makes room for a window of n octets.
func (in *input) reserve(n int) {
	if need := n + 2*block; need > len(in.buf) {
		buf := make([]byte, need)
		in.end = copy(buf, in.buf[in.pos:in.end])
		in.buf, in.pos = buf, 0
	}
}

// more reads on, behind what is unused. It may move the window. It reports false at the
// end and after an error, which err tells apart.
func (in *input) more() bool {
	if in.err != nil {
		return false
	}
	if len(in.buf)-in.end < block {
		in.end = copy(in.buf, in.buf[in.pos:in.end])
		in.pos = 0
	}
	for range 100 {
		n, err := in.r.Read(in.buf[in.end:])
		in.end += n
		in.err = err
		if n > 0 {
			return true // an error that came with octets is met by the next call
		}
		if err != nil {
			return false
		}
	}
	in.err = io.ErrNoProgress
	return false
}

// sample reads until there is enough to look at, or all, and uses none of it.
func (in *input) sample() []byte {
	for in.end-in.pos < sampleSize {
		if !in.more() {
			break
		}
	}
	return in.buf[in.pos:min(in.end, in.pos+sampleSize)]
}

// skipBOM passes over the byte order mark of UTF-8.
func (in *input) skipBOM() {
	if bytes.HasPrefix(in.buf[in.pos:in.end], utf8BOM) {
		in.pos += len(utf8BOM)
	}
}

// failed is the reader's error, nil where it came to its end.
func (in *input) failed(line int64) error {
	if in.err == nil || in.err == io.EOF { //nolint:errorlint // Read returns a bare io.EOF
		return nil
	}
	return readFailed(line, in.err)
}
