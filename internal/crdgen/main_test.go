package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestUpToDate: a change of package api is a change of the resources too.
func TestUpToDate(t *testing.T) {
	files, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(kinds)+1 {
		t.Errorf("%d files are generated, want one for each of %v and the deep copies", len(files), kinds)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what package api gives (%v): run make generate", name, err)
		}
	}
	stale, err := strangers(root, files)
	if err != nil || len(stale) > 0 {
		t.Errorf("not generated any more: %v (%v)", stale, err)
	}
}
