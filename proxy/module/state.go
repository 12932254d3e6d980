//go:build cgo

package main

import (
	"os"
)

// report says what is in force. What goes wrong is logged once and stops nothing.
func (m *module) report() {
	if m.path == "" {
		return
	}
	m.state.PID, m.state.Panics, m.state.Hits = os.Getpid(), m.panics.Load(), m.engine.Hits()
	text := ""
	if err := m.state.Save(m.path); err != nil {
		text = err.Error()
		if text != m.unreported {
			m.log.Warn("what is in force is not reported", "error", err)
		}
	}
	m.unreported = text
}
