//go:build cgo

// Command module is the filter in Envoy that decides by threat feeds: a shared library
// that Envoy loads as a dynamic module.
//
//	CGO_ENABLED=1 go build -buildmode=c-shared -trimpath -o bin/libpavise.so ./proxy/module
//
// It has three filters. Two are named "feeds", for HTTP and for connections, and take
// {"direction": "ingress"|"egress", "onFailure": "open"|"closed"}: what comes in is asked
// about by its source, what goes out by its destination, its TLS server name and its host.
// What a feed denies gets 403 with x-pavise-reason, or is closed before an upstream is
// opened for it; what a feed denies or reports is in the dynamic metadata pavise.feeds. The
// third is named "names", for listeners, takes {}, and writes the names that a destination
// was resolved from into the filter state pavise.names.
//
// # Who does what
//
// C code on Envoy's thread answers whether anything is listed (package fast); it neither
// allocates nor waits. Go is called where something is, and says which entry of which feed
// and what is to be done (package filter); that takes some microseconds. Go also opens and
// checks the snapshot, which a thread of C finds replaced: between two versions nothing of
// Go runs, so its scheduler sleeps.
//
// The environment variable PAVISE_FEEDS names the snapshot. It is replaced by another file
// in one step, as snapshot.Save does; whoever truncates or rewrites it in place ends Envoy
// with SIGBUS. What does not open, or is gone, leaves the one before in force. What is in
// force stands in a file beside it, see filter.InForce.
//
// # What it must not do
//
// End Envoy. A panic in Go is caught, counted and logged, and what was asked is decided by
// onFailure, as everything is while there is no snapshot. What the Go runtime calls a fatal
// error, such as running out of memory, is not a panic and cannot be caught.
//
// The library cannot be unloaded, since a Go runtime cannot: set do_not_close. Only one
// library with a Go runtime should be in one process.
package main
