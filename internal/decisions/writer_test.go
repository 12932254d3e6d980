package decisions

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func batchOf(from, to int) []*Record {
	var out []*Record
	for i := from; i < to; i++ {
		r := denied(i)
		out = append(out, &r)
	}
	return out
}

// paths reads lines, each of which has to be a record, and returns their paths.
func paths(t *testing.T, text string) (out []string) {
	t.Helper()
	if text != "" && !strings.HasSuffix(text, "\n") {
		t.Errorf("the last line has no end: %q", text[max(0, len(text)-100):])
	}
	for line := range strings.Lines(text) {
		var r Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		out = append(out, r.Path)
	}
	return out
}

// numbered checks that paths are /from, … , /to-1, each once.
func numbered(t *testing.T, paths []string, from, to int) {
	t.Helper()
	for i, p := range paths {
		if want := fmt.Sprint("/", from+i); p != want {
			t.Fatalf("line %d is of %s, want %s", i+1, p, want)
		}
	}
	if len(paths) != to-from {
		t.Fatalf("%d lines, want %d", len(paths), to-from)
	}
}

// bits is a writer that takes only so much at a time, and counts the calls.
type bits struct {
	bytes.Buffer
	most, calls int
}

func (b *bits) Write(p []byte) (int, error) {
	if b.calls++; b.most == 0 || len(p) <= b.most {
		return b.Buffer.Write(p)
	}
	n, _ := b.Buffer.Write(p[:b.most])
	return n, errors.New("no more than that")
}

func TestWriterWritesWholeLines(t *testing.T) {
	var b bits
	n, err := NewWriter(&b).Write(t.Context(), batchOf(0, 1000))
	if n != 1000 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	numbered(t, paths(t, b.String()), 0, 1000)
	if most := b.Len()/chunkOctets + 1; b.calls > most {
		t.Errorf("%d octets in %d writes, want at most %d", b.Len(), b.calls, most)
	}
}

// TestTornLineIsEnded: what follows a line that was written in part is not glued to it, and
// the record is written again.
func TestTornLineIsEnded(t *testing.T) {
	b := bits{most: 1000}
	w := NewWriter(&b)
	batch := batchOf(0, 20)
	torn := 0
	for tries := 0; len(batch) > 0; tries++ {
		n, err := w.Write(t.Context(), batch)
		if batch = batch[n:]; err == nil && len(batch) > 0 || tries > 100 {
			t.Fatalf("%d are left, %v", len(batch), err)
		}
		if err != nil {
			torn++
		}
	}
	var whole strings.Builder
	broken := 0
	for line := range strings.Lines(b.String()) {
		if json.Valid([]byte(line)) {
			whole.WriteString(line)
		} else {
			broken++
		}
	}
	numbered(t, paths(t, whole.String()), 0, 20)
	if torn == 0 || broken > torn {
		t.Errorf("%d broken lines of %d broken writes", broken, torn)
	}
}

func TestReaderThatGoesAway(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	l := newLog(t, Options{Repeats: -1, Outputs: []Output{{Name: "stdout", Sink: NewWriter(w)}}})
	stop := start(l)
	for i := range 1000 {
		l.Add(denied(i))
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	o := balanced(t, l).Outputs[0]
	if o.Dropped[Refused].Deny != 1000 || o.Err == nil {
		t.Errorf("%+v", o)
	}
}

// TestReaderThatBlocks: a pipe that nobody reads holds up no other output, and what it
// takes later is whole.
func TestReaderThatBlocks(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	other := &memory{}
	l := newLog(t, Options{
		Repeats: -1, FlushTimeout: time.Minute,
		Outputs: []Output{{Name: "stdout", Sink: NewWriter(w), MaxRecords: 3000}, {Name: "other", Sink: other, MaxRecords: 10_000}},
	})
	stop := start(l)
	for i := range 5000 { // some 800 KB; a pipe has room for 64
		l.Add(denied(i))
	}
	for deadline := time.Now().Add(10 * time.Second); len(other.records()) < 5000; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the other output has %d records of 5000", len(other.records()))
		}
	}
	dropped := balanced(t, l).Outputs[0].Dropped[QueueFull].Deny
	if dropped < 1000 || dropped > 2000 {
		t.Errorf("%d dropped", dropped)
	}
	read := make(chan string)
	go func() {
		b, _ := io.ReadAll(r)
		read <- string(b)
	}()
	if err := stop(); err != nil {
		t.Error(err)
	}
	w.Close()
	got, last := paths(t, <-read), -1
	for _, p := range got { // it had room again in between, so some are missing
		var i int
		if _, err := fmt.Sscanf(p, "/%d", &i); err != nil || i <= last {
			t.Fatalf("%s follows /%d", p, last)
		}
		last = i
	}
	if len(got) != 5000-int(dropped) {
		t.Errorf("%d lines, and %d were dropped of 5000", len(got), dropped)
	}
}

// TestStdoutOutlivesItsReader runs itself as a program whose standard output is closed at
// the other end: written to descriptor 1 it would die of SIGPIPE.
func TestStdoutOutlivesItsReader(t *testing.T) {
	if os.Getenv("PAVISE_TEST_STDOUT") != "" {
		out, err := Stdout()
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		w := NewWriter(out)
		if _, err := w.Write(t.Context(), batchOf(0, 1)); err != nil {
			t.Fatal(err)
		}
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the reader has gone
		n, err := w.Write(t.Context(), batchOf(1, 2))
		var refused *RefusedError
		fmt.Fprintf(os.Stderr, "alive: %d %t\n", n, errors.As(err, &refused))
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestStdoutOutlivesItsReader$")
	cmd.Env = append(os.Environ(), "PAVISE_TEST_STDOUT=1")
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	numbered(t, paths(t, line), 0, 1)
	out.Close()
	_, _ = in.Write([]byte("\n"))
	// The test's own "PASS" goes to descriptor 1, so that it dies after all: only then.
	_ = cmd.Wait()
	if !strings.Contains(said.String(), "alive: 0 true") {
		t.Errorf("it ended with %v and said %q", cmd.ProcessState, said.String())
	}
}
