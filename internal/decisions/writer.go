package decisions

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"syscall"
)

// Writer is a sink of JSON lines.
type Writer struct {
	w     io.Writer
	lines lines
}

// NewWriter returns a sink that writes to w, each time whole lines. It does not close w.
//
// For standard output use [Stdout]: by default Go ends a program which writes to file
// descriptor 1 after the reader has gone.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes a line for each record. A reader that has gone is a [RefusedError]. A Write of
// the underlying writer that hangs cannot be ended.
func (w *Writer) Write(ctx context.Context, batch []*Record) (int, error) {
	for done := 0; ; {
		if done == len(batch) {
			return done, nil
		}
		if err := ctx.Err(); err != nil {
			return done, err
		}
		w.lines.next(batch[done:])
		n, err := w.lines.flush(w.w)
		done += n
		switch {
		case errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrClosedPipe), errors.Is(err, fs.ErrClosed):
			return done, &RefusedError{err}
		case err != nil:
			return done, err
		}
	}
}

// Close does nothing.
func (*Writer) Close() error { return nil }
