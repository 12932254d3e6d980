package envoy

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestParseLine(t *testing.T) {
	for line, want := range map[string]record{
		`[info][main] starting main dispatch loop`: {slog.LevelInfo, false, "main", "starting main dispatch loop"},
		`[warning][rbac] it\'s \"odd\"\n\tb\\n`:    {slog.LevelWarn, false, "rbac", `it's "odd"  b\n`},
		`[error][config] a] b`:                     {slog.LevelError, false, "config", "a] b"},
		`[critical][main] out`:                     {slog.LevelError, true, "main", "out"},
		`[debug][http] `:                           {slog.LevelDebug, false, "http", ""},
		`[trace][http] x`:                          {slog.LevelDebug, false, "http", "x"},
		`[loud][main] x`:                           {slog.LevelInfo, false, "", "[loud][main] x"},
		`[info] main`:                              {slog.LevelInfo, false, "", "[info] main"},
		`panic: no shield`:                         {slog.LevelInfo, false, "", "panic: no shield"},
		`envoy: libfoo.so.1: cannot open: a\nb`:    {slog.LevelInfo, false, "", `envoy: libfoo.so.1: cannot open: a\nb`},
		`[info][main]x`:                            {slog.LevelInfo, false, "", "[info][main]x"},
	} {
		if got := parseLine(line); got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", line, got, want)
		}
	}
}

func newLogWriter(out *bytes.Buffer) *logWriter {
	handler := slog.NewTextHandler(out, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	return &logWriter{logger: slog.New(handler), now: time.Now}
}

// The stream arrives in any pieces; the records must not depend on them.
func TestLogWriterPieces(t *testing.T) {
	const stream = "[info][main] one\n\n[warning][http] two\r\nthree\xff\n[error][config] four"
	const want = `level=INFO msg=one component=main
level=WARN msg=two component=http
level=INFO msg="three` + "\uFFFD" + `"
level=ERROR msg=four component=config
`
	for size := 1; size <= len(stream); size++ {
		var out bytes.Buffer
		w := newLogWriter(&out)
		for rest := []byte(stream); len(rest) > 0; {
			n, err := w.Write(rest[:min(size, len(rest))])
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		w.flush()
		w.flush() // of nothing
		if out.String() != want {
			t.Fatalf("pieces of %d:\n%s\nwant:\n%s", size, out.String(), want)
		}
	}
}

func TestLogWriterBoundsALine(t *testing.T) {
	var out bytes.Buffer
	w := newLogWriter(&out)
	for range 1000 {
		_, _ = w.Write(bytes.Repeat([]byte("x"), 1000))
	}
	if cap(w.line) > 4*maxLine {
		t.Errorf("an endless line takes %d bytes", cap(w.line))
	}
	_, _ = w.Write([]byte("\nnext\n"))
	if got, want := out.String(), "level=INFO msg="+strings.Repeat("x", maxLine)+"…\nlevel=INFO msg=next\n"; got != want {
		t.Errorf("got %d bytes, want %d", len(got), len(want))
	}
}

func TestSaid(t *testing.T) {
	now := time.Unix(0, 0)
	w := &logWriter{logger: slog.New(slog.DiscardHandler), now: func() time.Time { return now }}
	say := func(line, want string) {
		t.Helper()
		_, _ = w.Write([]byte(line + "\n"))
		if got := w.said(); got != want {
			t.Errorf("after %q: %q, want %q", line, got, want)
		}
	}
	say("", "")
	say("loader trouble", "loader trouble")
	say("[info][main] up", "loader trouble")
	say("[error][config] rejected", "rejected")
	say("[info][main] on", "rejected")
	say("[critical][main] odd", "odd")
	now = now.Add(time.Minute)
	say("[critical][backtrace] caught a fault", "caught a fault")
	say("[critical][backtrace] #0 somewhere", "caught a fault")
	say("[error][main] aftermath", "caught a fault")
	now = now.Add(time.Minute)
	say("[critical][main] "+strings.Repeat("y", 2000), strings.Repeat("y", 1000)+"…")
}

func BenchmarkLogWriter(b *testing.B) {
	w := &logWriter{logger: slog.New(slog.DiscardHandler), now: time.Now}
	line := []byte("[warning][config] gRPC config stream to xds closed: 14, connection refused\n")
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		_, _ = w.Write(line)
	}
}
