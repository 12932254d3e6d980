//go:build cgo

package main

// The hooks stand on every request: -O2 also where CGO_CFLAGS says nothing of it. The
// linker's flags cost nothing after loading.

/*
#cgo CFLAGS: -std=gnu11 -O2 -fstack-protector-strong -Wall -Wextra -Werror=implicit-function-declaration -I${SRCDIR}
#cgo pavise_module_test CFLAGS: -DPAVISE_MODULE_TEST
#cgo LDFLAGS: -Wl,-z,relro -Wl,-z,now -lpthread
#include "module.h"
*/
import "C"

import (
	"log/slog"
	"runtime"
	"runtime/debug"

	"pavise.dev/pavise/proxy/filter"
)

// one is the module: Envoy loads a library once.
var one = &module{log: slog.New(envoyLog{write: logToEnvoy})}

func main() {}

func logToEnvoy(level int, line string) {
	if line != "" {
		C.pv_log(C.int(level), bytesOf(line), C.size_t(len(line)))
	}
}

// paviseStart is called once, before any other function but paviseConfigure.
//
//export paviseStart
func paviseStart(path *C.char) {
	defer one.recovered("start", nil)
	// The heap holds the list of feeds and little else. Collecting at every megabyte
	// instead of four costs nothing where nothing is allocated.
	debug.SetGCPercent(25)
	// A Go call is a microsecond of one in many requests, and each processor costs memory.
	runtime.GOMAXPROCS(min(4, runtime.NumCPU()))
	one.path = C.GoString(path)
	if one.path == "" {
		one.log.Warn("PAVISE_FEEDS names no snapshot: onFailure decides on everything")
	}
}

// paviseLoad says whether what is at the path is in force now.
//
//export paviseLoad
func paviseLoad() (ok C.bool) {
	defer one.recovered("load", func(err error) { one.failed(err) })
	return C.bool(one.load())
}

//export paviseReport
func paviseReport() {
	defer one.recovered("report", nil)
	one.report()
}

// paviseConfigure reads the configuration of a filter.
//
//export paviseConfigure
func paviseConfigure(kind, name *C.char, nameSize C.size_t, text *C.char, size C.size_t, out *C.struct_pv_config) (ok C.bool) {
	defer one.recovered("configure", nil)
	if size > maxConfig || nameSize > maxConfig {
		one.log.Error("a filter is refused", "error", "its configuration is longer than 4096 octets")
		return false
	}
	c, err := readConfig(C.GoString(kind), C.GoStringN(name, C.int(nameSize)), C.GoStringN(text, C.int(size)))
	if err != nil {
		one.log.Error("a filter is refused", "error", err)
		return false
	}
	out.direction, out.closed = C.uint8_t(c.direction), C.bool(c.closed)
	return true
}

// paviseCheck decides on what something is listed of. It says whether it did; if not, the
// fail mode decides.
//
//export paviseCheck
func paviseCheck(direction C.uint8_t, f *C.struct_pv_facts, out *C.struct_pv_verdict) (ok C.bool) {
	defer one.recovered("check", nil)
	if one.engine.Snapshot() == nil {
		return false
	}
	facts := filter.Facts{
		Direction:   filter.Direction(direction),
		Source:      addrOf(&f.source),
		Destination: addrOf(&f.destination),
		ServerName:  hostOf(&f.server_name),
		Host:        hostOf(&f.host),
	}
	inject(&facts)
	v := one.engine.Check(&facts)
	out.action = C.uint8_t(v.Action)
	if v.Action == filter.Pass {
		return true
	}
	line, asked := "", ""
	if v.Cause == filter.Listed {
		line, asked = decimal(v.Line), v.Asked.String()
	}
	put(&out.feed, v.Feed)
	put(&out.line, line)
	put(&out.entry, v.Entry())
	put(&out.asked, asked)
	put(&out.reason, v.Reason())
	return true
}
