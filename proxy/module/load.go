//go:build cgo

package main

/*
#include "module.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"pavise.dev/pavise/proxy/filter"
)

// module is what the exported functions work on. All but the engine and the count of
// panics is for one thread, that which loads and reports.
type module struct {
	path   string
	log    *slog.Logger
	engine filter.Engine
	panics atomic.Uint64

	state      filter.InForce
	unreported string // why the state could not be written
}

// load puts the snapshot that is at the path in force and says whether it is.
func (m *module) load() bool {
	s, x, err := open(m.path)
	if err != nil {
		m.failed(err)
		return false
	}
	digest := s.Digest().String()
	if digest == m.state.Digest {
		x.Close() // the same again
	} else {
		// The engine first: whoever looks it up in C already is to find in Go what it found.
		m.engine.Swap(s)
		C.pv_publish((*C.struct_pv_snapshot)(x.Pointer()))
		m.state.Digest, m.state.Since = digest, time.Now().UTC()
		file, _ := s.Sizes()
		m.log.Info("a snapshot is in force", "digest", digest, "feeds", len(s.Feeds()), "octets", file)
	}
	m.state.Error = ""
	m.report()
	// What reading the list of feeds took, and what the snapshot before had.
	debug.FreeOSMemory()
	return true
}

// failed keeps what is in force and says why it is not replaced. The same error is said
// once.
func (m *module) failed(err error) {
	text := err.Error()
	if errors.Is(err, fs.ErrNotExist) {
		text += ": it is there once the feeds are loaded"
	}
	if text == m.state.Error {
		return
	}
	m.state.Error = text
	stands := "onFailure decides on everything"
	if m.state.Digest != "" {
		stands = "the one before stays in force: " + m.state.Digest
	}
	m.log.Error("the snapshot is not loaded", "error", err, "then", stands)
	m.report()
}

// recovered takes a panic of an exported function: it must not reach C, which has no
// defers to run and would end Envoy.
func (m *module) recovered(doing string, then func(error)) {
	r := recover()
	if r == nil {
		return
	}
	n := m.panics.Add(1)
	if n == 1 || n%1000 == 0 { // each is the same to whoever reads the log, and costs time
		m.log.Error("a panic: this is a bug; onFailure decided", "doing", doing, "panic", fmt.Sprint(r), "count", n, "stack", string(debug.Stack()))
	}
	if then != nil {
		then(fmt.Errorf("a panic: %v", r))
	}
}
