package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProgressElsewhere: lines without control characters, for logs.
func TestProgressElsewhere(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	b := p.count("fetching", 2)
	b.step(1, "a: Current")
	b.step(1, "b: Failed")
	slow := p.count("big", 200)
	slow.step(10, "") // too soon for a line
	slow.last = slow.last.Add(-quietLines)
	slow.step(90, "")
	p.count("empty", 0).step(0, "")
	p.done()
	if want := "fetching 1 of 2: a: Current\nfetching 2 of 2: b: Failed\nbig: 50 %\n"; out.String() != want {
		t.Errorf("lines:\n%s", out.String())
	}
}

// TestProgressOnATerminal: bars, which end although the work broke off.
func TestProgressOnATerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	screen, keyboard := terminal(t)
	p := newProgress(screen)
	p.count("whole", 4).step(4, "")
	p.count("half", 4).step(2, "")
	p.count("empty", 0)
	p.done()
	if err := screen.Close(); err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(keyboard) // ends with an error when the other side is closed
	for _, want := range []string{"whole", "100 %", "half", "50 %"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the terminal does not show %q: %q", want, out)
		}
	}
	t.Setenv("TERM", "dumb")
	if screen, _ := terminal(t); newProgress(screen).bars != nil {
		t.Error("bars on a terminal that cannot move its cursor")
	}
}

// terminal is a pseudo terminal: what programs write to, and the other side.
func terminal(t *testing.T) (screen, other *os.File) {
	t.Helper()
	other, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	fd := int(other.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: 80})
	}
	if err == nil {
		screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	return screen, other
}
