//go:build cgo

package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/proxy/module/fast"
)

// open opens a snapshot for Go and for C.
func open(path string) (*snapshot.Snapshot, *fast.Index, error) {
	// A pipe in its place must not make this wait for somebody who writes.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	s, err := snapshot.OpenFile(f)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	var unloaded [2]bool
	for _, feed := range s.Feeds() {
		if err := checkName(feed.Name); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		if feed.Required && !feed.Loaded && feed.Action != "Alert" {
			// What it closes is for the engine to say, which then is asked about everything.
			unloaded = [2]bool{true, true}
		}
	}
	x, err := fast.Open(f, s, unloaded)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, x, nil
}

// checkName refuses the name of a feed that cannot stand in a header: a snapshot may come
// from anywhere.
func checkName(name string) error {
	if name == "" || len(name) > 253 {
		return fmt.Errorf("the name of a feed has %d octets: it has 1 to 253", len(name))
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("the name of a feed is %q: it has visible ASCII characters only", name)
		}
	}
	return nil
}
