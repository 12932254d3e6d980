package replica

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pavise.dev/pavise/feeds/snapshot"
)

const (
	// workTime bounds one task: hashing a gigabyte takes seconds.
	workTime = 2 * time.Minute
	// maxTask and maxResult bound what goes to a worker and comes back.
	maxTask   = 1 << 20
	maxResult = 64 << 10
)

// task is what is done apart from everything else, since it is done on what others sent.
type task struct {
	// Old and Delta make Path, if given. Then Path is proven to be what Digest names, or
	// what it claims to be itself if there is none.
	Old    string `json:"old,omitempty"`
	Delta  string `json:"delta,omitempty"`
	Path   string `json:"path"`
	Digest string `json:"digest,omitempty"`
	// Check it as well, and that it lists nothing of Never.
	Check bool     `json:"check,omitempty"`
	Never []string `json:"never,omitempty"`
	// Memory is how many octets the worker may have of its own; for a process only.
	Memory int64 `json:"memory,omitempty"`
}

// result is what came of a task: what Path is, or a Kind and words.
type result struct {
	Digest string `json:"digest,omitempty"`
	Kind   Kind   `json:"kind,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Work does one task that a Follower wrote to in, writes what came of it to out, and
// returns the exit code of the process, which does nothing else: see Config.Worker. The
// process ends when in does, so that it does not outlive the Follower.
func Work(in io.Reader, out io.Writer) int {
	d := json.NewDecoder(io.LimitReader(in, maxTask))
	var t task
	if err := d.Decode(&t); err != nil {
		fmt.Fprintf(os.Stderr, "this is started by a follower of feeds, which says what to do: %v\n", err)
		return 2
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		os.Exit(3)
	}()
	if t.Memory > 0 {
		// Close to the bound, the runtime collects all the more; beyond it, this ends.
		debug.SetMemoryLimit(t.Memory / 4 * 3)
		go bound(t.Memory)
	}
	if err := json.NewEncoder(out).Encode(t.do()); err != nil {
		return 2
	}
	return 0
}

// bound ends the process when it holds more memory of its own. RLIMIT_DATA would count
// eight megabytes for the stack of each thread, which nobody uses.
func bound(most int64) {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	for {
		metrics.Read(sample)
		if held := sample[0].Value.Uint64() - sample[1].Value.Uint64(); held > uint64(most) { //nolint:gosec // G115: it is above 0
			fmt.Fprintf(os.Stderr, "it takes more than %d octets of memory\n", most)
			os.Exit(4)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// do does the task in this process.
func (t *task) do() (r result) {
	defer func() {
		if p := recover(); p != nil {
			r = result{Kind: Worker, Error: fmt.Sprintf("it panicked: %v", p)}
		}
	}()
	s, err := t.file()
	if err != nil {
		return result{Kind: kindOf(err), Error: err.Error()}
	}
	if t.Check {
		if err := check(s, t.Never); err != nil {
			return result{Kind: Refused, Error: "it is refused: " + err.Error()}
		}
	}
	return result{Digest: s.Digest().String()}
}

// file makes and opens what is to be proven.
func (t *task) file() (*snapshot.Snapshot, error) {
	if t.Digest == "" {
		return proven(t.Path, nil)
	}
	digest, err := snapshot.ParseDigest(t.Digest)
	if err != nil {
		return nil, failed(Protocol, "%w", err)
	}
	if t.Delta != "" {
		if err := t.apply(digest); err != nil {
			return nil, err
		}
	}
	return proven(t.Path, &digest)
}

func (t *task) apply(digest snapshot.Digest) error {
	old, err := snapshot.Open(t.Old)
	if err != nil {
		return failed(Damaged, "%w", err)
	}
	f, err := os.Open(t.Delta)
	if err != nil {
		return failed(Disk, "%w", err)
	}
	defer f.Close()
	info, err := snapshot.Apply(old, f, t.Path)
	switch {
	case err == nil && info.Digest != digest:
		return failed(Delta, "a delta makes %s, and was offered as one to %s", info.Digest, digest)
	case errors.As(err, new(unix.Errno)):
		return failed(Disk, "%w", err)
	case err != nil: // it is damaged, for another base, or of another version
		return failed(Delta, "%w", err)
	}
	return nil
}

// proven opens a file that is what a digest names, to the last octet; nil for its own.
func proven(path string, digest *snapshot.Digest) (*snapshot.Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, failed(Disk, "%w", err)
	}
	defer f.Close()
	s, err := snapshot.OpenFile(f)
	if err != nil {
		return nil, failed(Digest, "%w", err)
	}
	if digest != nil && s.Digest() != *digest {
		return nil, failed(Digest, "it is %s, not %s", s.Digest(), *digest)
	}
	if err := s.VerifyDigest(); err != nil {
		return nil, failed(Digest, "%w", err)
	}
	return s, nil
}

// work has a task done, here or by a worker.
func (f *Follower) work(ctx context.Context, t *task) error {
	_, err := f.workFor(ctx, t)
	return err
}

// workFor returns the digest of what was proven as well.
func (f *Follower) workFor(ctx context.Context, t *task) (snapshot.Digest, error) {
	var r result
	if len(f.c.Worker) > 0 {
		var err error
		if r, err = f.workElsewhere(ctx, t); err != nil {
			return snapshot.Digest{}, err
		}
	} else {
		r = workHere(t)
	}
	if r.Kind != "" {
		return snapshot.Digest{}, failed(r.Kind, "%s", r.Error)
	}
	d, err := snapshot.ParseDigest(r.Digest)
	if err != nil {
		return d, failed(Worker, "%w", err)
	}
	return d, nil
}

func workHere(t *task) result {
	r := t.do()
	// What it took is given back at once, the mapping of the file too: a sidecar should not
	// stay as large as it was for a moment.
	runtime.GC() // which finds that nobody holds the mapping
	debug.FreeOSMemory()
	return r
}

func (f *Follower) workElsewhere(ctx context.Context, t *task) (result, error) {
	var r result
	t.Memory = f.c.WorkerMemory
	in, err := json.Marshal(t)
	if err != nil {
		return r, failed(Worker, "%w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, workTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, f.c.Worker[0], f.c.Worker[1:]...)
	out, words := &beginning{most: maxResult}, &beginning{most: 1 << 10}
	cmd.Stdout, cmd.Stderr = out, words
	cmd.WaitDelay = time.Second
	// Not closed until it has ended: that it closes is how it learns that we have.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return r, failed(Worker, "%w", err)
	}
	if err := cmd.Start(); err != nil {
		return r, failed(Worker, "start the worker: %w", err)
	}
	_, werr := stdin.Write(append(in, '\n'))
	if err := cmd.Wait(); err != nil {
		first, _, _ := strings.Cut(words.String(), "\n")
		return r, failed(Worker, "the worker that proves a snapshot ended with %w: %s", err, cmp.Or(first, "it says nothing"))
	}
	if err := errors.Join(werr, json.Unmarshal(out.Bytes(), &r)); err != nil {
		return r, failed(Worker, "what the worker says cannot be read: %w", err)
	}
	return r, nil
}

// beginning keeps that of what is written to it, and takes the rest for written.
type beginning struct {
	bytes.Buffer
	most int
}

func (k *beginning) Write(b []byte) (int, error) {
	_, _ = k.Buffer.Write(b[:min(len(b), max(k.most-k.Len(), 0))])
	return len(b), nil
}
