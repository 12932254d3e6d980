package fetch

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"strings"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// mostWindow is what RFC 9659 allows zstd in Content-Encoding, and what its levels up to
// 19 use. Brotli's window has at most 16 MiB, gzip's 32 KiB, whatever is sent.
const mostWindow = 8 << 20

// sink bounds, counts and sums what is written to the caller.
type sink struct {
	w    io.Writer
	sum  hash.Hash
	n    int64
	most int64
	head []byte // the first four octets of an answer
}

func newSink(w io.Writer, most int64) *sink { return &sink{w: w, sum: sha256.New(), most: most} }

func (s *sink) Write(p []byte) (int, error) {
	if int64(len(p)) > s.most-s.n {
		return 0, overLimit(s.most)
	}
	if n := 4 - len(s.head); n > 0 {
		s.head = append(s.head, p[:min(n, len(p))]...)
	}
	n, err := s.w.Write(p)
	s.n += int64(n)
	_, _ = s.sum.Write(p[:n])
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return n, &Error{Kind: Write, Temporary: true, text: "what came could not be kept: " + err.Error(), cause: err}
	}
	return n, nil
}

func overLimit(most int64) *Error {
	return failed(OverLimit, false, "the feed has more than %d octets; if that is right, raise maxBytes", most)
}

// wire bounds, counts and times what comes. Its errors are final, and ours.
type wire struct {
	ctx    context.Context //nolint:containedctx // of the one fetch
	cancel context.CancelCauseFunc
	r      io.Reader
	host   string
	n      int64
	most   int64
	over   *Error // for what is more
	window time.Duration
	least  int64

	spent time.Duration // in Read, in this window
	got   int64         // in this window
	err   error
}

// mostWire is how much may still come, for all pages together. A compressed body may
// be a little larger than what is in it: headers, and blocks that could not be made
// smaller.
func (f *fetching) mostWire() int64 {
	return f.src.MaxBytes + f.src.MaxBytes/1000 + 64<<10 - f.res.Wire
}

// Read waits only as long as the body makes progress. Only time spent in here counts:
// a slow disk of ours is not the server's fault.
func (w *wire) Read(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	patience := w.window - w.spent
	if w.got >= w.least {
		patience += w.window // this window is won; a read may last until the end of the next
	}
	alarm := time.AfterFunc(patience, func() {
		w.cancel(failed(Slow, true, "%s sends less than %d octets in %s; the fetch was given up", w.host, w.least, w.window))
	})
	start := time.Now()
	n, err := w.r.Read(p)
	alarm.Stop()
	w.spent += time.Since(start)
	w.got += int64(n)
	w.n += int64(n)
	if w.spent >= w.window {
		if w.got < w.least && err == nil {
			err = failed(Slow, true, "%s sends less than %d octets in %s; the fetch was given up", w.host, w.least, w.window)
		}
		w.spent, w.got = 0, 0
	}
	switch ours := (*Error)(nil); {
	case w.n > w.most:
		w.err = w.over
	case err == nil || err == io.EOF: //nolint:errorlint // documented to be returned bare
		w.err = err
	case w.ctx.Err() != nil:
		w.err = ended(w.ctx)
	case errors.As(err, &ours):
		w.err = ours
	default:
		// A connection that broke, a Content-Length that promised more, a chunk that is
		// none: the texts of net/http may quote the server, and help nobody.
		w.err = failed(Truncated, true, "the body from %s broke off after %d octets", w.host, w.n)
	}
	return n, w.err
}

// fatal returns the error that ended the body, other than its end.
func (w *wire) fatal() error {
	if w.err == io.EOF { //nolint:errorlint // put there bare
		return nil
	}
	return w.err
}

// encodingOf reads Content-Encoding (RFC 9110 8.4).
func encodingOf(host string, values []string) (string, error) {
	found := ""
	for _, v := range strings.Split(strings.ToLower(strings.Join(values, ",")), ",") {
		v = strings.TrimSpace(v)
		switch v {
		case "", "identity":
			continue
		case "x-gzip":
			v = "gzip"
		case "gzip", "zstd", "br":
		default:
			return "", failed(Encoding, false, "%s compressed the body in a way that was not asked for", host)
		}
		if found != "" {
			return "", failed(Encoding, false, "%s compressed the body more than once", host)
		}
		found = v
	}
	return found, nil
}

// magic says which compression begins so.
func magic(b []byte) string {
	switch {
	case len(b) >= 3 && b[0] == 0x1f && b[1] == 0x8b && b[2] == 8: // RFC 1952 2.3.1
		return "gzip"
	case len(b) >= 4 && b[0] == 0x28 && b[1] == 0xb5 && b[2] == 0x2f && b[3] == 0xfd: // RFC 8878 3.1.1
		return "zstd"
	}
	return ""
}

// body copies an answer's body to out.
func (f *fetching) body(a answer, out io.Writer) error {
	resp := a.resp
	encoding, err := encodingOf(a.from.Host, resp.Header.Values("Content-Encoding"))
	if err != nil {
		return err
	}
	if resp.ContentLength > f.mostWire() {
		return overLimit(f.src.MaxBytes) // before a byte of it is read
	}
	encoding, err = f.copy(a.from.Host, resp.Body, encoding, out)
	if err != nil {
		return err
	}
	open := resp.ContentLength < 0 && resp.ProtoMajor == 1 && len(resp.TransferEncoding) == 0 && encoding == ""
	f.res.OpenEnded = f.res.OpenEnded || open
	f.res.Encoding = encoding
	return nil
}

// copy decompresses what comes, and returns what it was compressed with.
func (f *fetching) copy(host string, from io.Reader, encoding string, out io.Writer) (string, error) {
	f.out.head = f.out.head[:0]
	w := &wire{
		ctx: f.ctx, cancel: f.cancel, r: from, host: host,
		most: f.mostWire(), over: overLimit(f.src.MaxBytes),
		window: f.c.o.Timeouts.Window, least: f.c.o.Timeouts.Least,
	}
	defer func() { f.res.Wire += w.n }()
	in := bufio.NewReaderSize(w, 64<<10)
	head, _ := in.Peek(4) // an error comes again with the next read: those of wire are final
	switch {
	case encoding == "":
		encoding = magic(head)
	case len(head) == 0 && w.fatal() == nil:
		return "", failed(Truncated, true, "the body from %s is said to be compressed, and is empty", host)
	}
	plain, done, err := decoder(encoding, in)
	if err == nil {
		defer done()
		err = pump(out, plain)
	}
	if err == nil && encoding != "" {
		// The decoder may stop at its end; the body has to end there too.
		if _, err = in.ReadByte(); err == nil {
			err = errors.New("more after the end")
		} else if err == io.EOF { //nolint:errorlint // documented to be returned bare
			err = nil
		}
	}
	switch ours := (*Error)(nil); {
	case err == nil && encoding != "" && magic(f.out.head) != "":
		return "", failed(Encoding, false, "the body from %s is compressed twice", host)
	case err == nil:
		return encoding, nil
	case w.fatal() != nil:
		return "", w.fatal()
	case errors.As(err, &ours):
		return "", ours
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "", failed(Truncated, true, "the body from %s ends in the middle of its %s compression, after %d octets", host, encoding, w.n)
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return "", failed(Encoding, false, "the body from %s needs a zstd window of more than %d MiB", host, mostWindow>>20)
	}
	return "", failed(Encoding, true, "the body from %s is no proper %s", host, encoding)
}

// decoder returns the reader of what is compressed in a stream, and what to call at the
// end.
func decoder(encoding string, in *bufio.Reader) (io.Reader, func(), error) {
	switch encoding {
	case "gzip":
		z, err := gzip.NewReader(in)
		return z, func() {}, err
	case "zstd":
		// Concurrency 1 decodes in this goroutine, and allocates one window.
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(mostWindow), zstd.WithDecoderMaxMemory(mostWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	case "br":
		return brotli.NewReader(in), func() {}, nil
	}
	return in, func() {}, nil
}

// pump is io.Copy without its short cuts, which would hand decoders to the writer.
func pump(out io.Writer, in io.Reader) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			if _, werr := out.Write(buf[:n]); werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
