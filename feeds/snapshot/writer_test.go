package snapshot

import (
	"bytes"
	"runtime"
	"testing"
)

// TestOneProcessor writes a file of some pieces with one processor, and with more: who
// fills a piece waits for those who write others.
func TestOneProcessor(t *testing.T) {
	var files [2]memory
	for i, n := range []int{1, 4} {
		before := runtime.GOMAXPROCS(n)
		_, err := version(0, 100_000).WriteTo(&locked{memory: &files[i]})
		runtime.GOMAXPROCS(before)
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(files[0]) < 4*piece || !bytes.Equal(files[0], files[1]) {
		t.Fatalf("%d and %d octets", len(files[0]), len(files[1]))
	}
}
