package main

import (
	"os"

	"pavise.dev/pavise/feeds/snapshot"
)

// write builds a snapshot of one feed and opens it.
func write(dir string, fill func(*snapshot.Builder) error) (*snapshot.Snapshot, error) {
	feeds := []snapshot.Feed{{Name: "bench", Action: "Deny", Direction: "Both"}}
	b, err := snapshot.NewBuilder(feeds, snapshot.KeyOf(feeds))
	if err != nil {
		return nil, err
	}
	if err := fill(b); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, "snapshot-")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := b.WriteTo(f); err != nil {
		return nil, err
	}
	return snapshot.OpenFile(f)
}
