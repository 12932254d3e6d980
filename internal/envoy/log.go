package envoy

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// logFormat is what we ask of Envoy: level, logger, message. Together with
// --log-format-escaped every record is one line, whatever the message holds.
const logFormat = "[%l][%n] %v"

// maxLine bounds what is kept of one line, so that an Envoy that prints a whole
// configuration in its anger can't fill this process.
const maxLine = 8 << 10

// logWriter turns what Envoy writes to stderr into log records, and remembers
// the words that explain an exit.
type logWriter struct {
	logger *slog.Logger
	now    func() time.Time

	line []byte // the beginning of a line not ended yet
	cut  bool   // the line was longer than maxLine

	mu       sync.Mutex // guards what follows: said is called by another goroutine
	critical string     // the first critical line of the latest burst
	burst    time.Time  // when the latest critical line came
	err      string     // the latest error line
	plain    string     // the latest line that is no log record: from the dynamic loader, a flag's parser, a module
}

// Write takes any piece of the stream; it never fails, as a full log must not
// be a reason for Envoy to block on its pipe.
func (w *logWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		piece, after, ended := bytes.Cut(rest, []byte{'\n'})
		room := maxLine - len(w.line)
		w.cut = w.cut || len(piece) > room
		w.line = append(w.line, piece[:min(len(piece), room)]...)
		if ended {
			w.flush()
		}
		rest = after
	}
	return len(p), nil
}

// flush emits the line collected so far, if any.
func (w *logWriter) flush() {
	line := strings.TrimRight(strings.ToValidUTF8(string(w.line), "\uFFFD"), "\r")
	if w.cut {
		line += "…"
	}
	w.line, w.cut = w.line[:0], false
	if strings.TrimSpace(line) == "" {
		return
	}
	r := parseLine(line)
	w.remember(r)
	if r.component == "" {
		w.logger.Log(context.Background(), r.level, r.message)
		return
	}
	w.logger.Log(context.Background(), r.level, r.message, "component", r.component)
}

func (w *logWriter) remember(r record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case r.critical:
		// A crash is one critical line that says what, then a backtrace of them:
		// of such a burst the first is worth keeping.
		if now := w.now(); now.Sub(w.burst) > time.Second {
			w.critical, w.burst = r.message, now
		} else {
			w.burst = now
		}
	case r.level >= slog.LevelError:
		w.err = r.message
	case r.component == "":
		w.plain = r.message
	}
}

// said returns Envoy's own words on why it ended: its critical line, else its
// latest error, else what it printed outside its log; empty when there is none.
func (w *logWriter) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, words := range []string{w.critical, w.err, w.plain} {
		if words != "" {
			return string(clip([]byte(words), 1000))
		}
	}
	return ""
}

// record is one line of Envoy's log.
type record struct {
	level     slog.Level
	critical  bool
	component string
	message   string
}

// parseLine reads a line in logFormat. A line in no such form (the dynamic
// loader, a panic in a module) is all message, at level info.
func parseLine(line string) record {
	plain := record{level: slog.LevelInfo, message: line}
	rest, ok := strings.CutPrefix(line, "[")
	if !ok {
		return plain
	}
	level, rest, ok := strings.Cut(rest, "][")
	if !ok {
		return plain
	}
	component, message, ok := strings.Cut(rest, "] ")
	if !ok {
		return plain
	}
	r := record{component: component, message: unescape.Replace(message)}
	switch level {
	case "trace", "debug":
		r.level = slog.LevelDebug
	case "info":
		r.level = slog.LevelInfo
	case "warning", "warn":
		r.level = slog.LevelWarn
	case "error":
		r.level = slog.LevelError
	case "critical":
		r.level, r.critical = slog.LevelError, true
	default:
		return plain
	}
	return r
}

// unescape undoes --log-format-escaped as far as a person reads it: a message
// stays one line.
var unescape = strings.NewReplacer(
	`\\`, `\`, `\'`, `'`, `\"`, `"`, `\n`, " ", `\r`, "", `\t`, " ",
)
