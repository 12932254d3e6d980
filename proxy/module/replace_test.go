//go:build cgo

package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestReplaceUnderReaders would catch a snapshot that is freed while a thread looks it up,
// and one that is never freed.
func TestReplaceUnderReaders(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("needs gcc: ", err)
	}
	dir := t.TempDir()
	feeds := filepath.Join(dir, "snapshot")
	save(t, feeds, deny("f", "Both", "10.0.0.0/8"))
	program := filepath.Join(dir, "replace")
	out, err := exec.Command(gcc, "-std=gnu11", "-O2", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
		"-Itestdata", "-I.", "-o", program, "testdata/replace.c", "-lpthread").CombinedOutput()
	if bytes.Contains(out, []byte("asan")) {
		t.Skipf("gcc has no sanitizers here: %s", out)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command(program, feeds, "3000").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
