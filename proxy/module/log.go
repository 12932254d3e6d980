//go:build cgo

package main

import (
	"bytes"
	"context"
	"log/slog"
)

// Levels of Envoy's log, as in abi.h.
const (
	envoyDebug = 1 + iota
	envoyInfo
	envoyWarn
	envoyError
)

// envoyLog writes records to Envoy's log, a line each: "pavise: " and what
// slog.TextHandler makes of them, which quotes what is not plain. Envoy adds the time.
type envoyLog struct {
	write func(level int, line string)
	attrs []slog.Attr
}

// Enabled leaves the choice to Envoy.
func (h envoyLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle writes one record.
func (h envoyLog) Handle(ctx context.Context, r slog.Record) error {
	var b bytes.Buffer
	text := slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: withoutTime})
	r.AddAttrs(h.attrs...)
	if err := text.Handle(ctx, r); err != nil {
		return err
	}
	level := envoyDebug
	switch {
	case r.Level >= slog.LevelError:
		level = envoyError
	case r.Level >= slog.LevelWarn:
		level = envoyWarn
	case r.Level >= slog.LevelInfo:
		level = envoyInfo
	}
	h.write(level, "pavise: "+string(bytes.TrimRight(b.Bytes(), "\n")))
	return nil
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
		return slog.Attr{}
	}
	return a
}

// WithAttrs adds attributes to every record.
func (h envoyLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)
	return h
}

// WithGroup is not used here, and attributes stay where they are.
func (h envoyLog) WithGroup(string) slog.Handler { return h }
