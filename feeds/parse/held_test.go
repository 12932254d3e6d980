package parse

import (
	"fmt"
	"testing"
	"time"
)

// TestHeld puts more objects than are held: the first leave, and a newer version finds
// only those that are still there.
func TestHeld(t *testing.T) {
	var given []uint32
	out := newEmitter(Options{}, func(e *Entry) error { given = append(given, e.Line); return nil })
	h := newHeld()
	put := func(id, line, hour int) {
		t.Helper()
		o := object{modified: now.Add(time.Duration(hour) * time.Hour), line: int64(line), confidence: -1, values: []indicated{{indicatesAddress, "192.0.2.1"}}}
		if err := h.put(fmt.Sprint("indicator--", id), o, out); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxHeld + 10 {
		put(i, i, 0)
	}
	if len(given) != 10 || given[9] != 9 {
		t.Errorf("%v were given", given)
	}
	put(100, 1_000_100, 1) // newer
	put(101, 1_000_101, -1)
	put(9, 1_000_009, 1) // has left: it is there twice
	if err := h.flush(out); err != nil {
		t.Fatal(err)
	}
	seen := map[uint32]int{}
	for _, line := range given {
		seen[line]++
	}
	for line, want := range map[uint32]int{9: 1, 1_000_009: 1, 100: 0, 1_000_100: 1, 101: 1, 1_000_101: 0, maxHeld: 1} {
		if seen[line] != want {
			t.Errorf("line %d was given %d times", line, seen[line])
		}
	}
	if len(h.at) != 0 || h.text != 0 || out.rep.Skipped != 2 {
		t.Errorf("%d ids and %d octets are left, %d skipped", len(h.at), h.text, out.rep.Skipped)
	}
	// By their text.
	long := object{values: []indicated{{indicatesName, string(make([]byte, maxHeldText/4))}}}
	for i := range 8 {
		if err := h.put(fmt.Sprint(i), long, out); err != nil {
			t.Fatal(err)
		}
	}
	if len(h.queue) != 4 {
		t.Errorf("%d long ones are held", len(h.queue))
	}
}
