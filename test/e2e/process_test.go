package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/test/netlab"
)

// user of a process or a socket.
type user struct{ uid, gid uint32 }

var (
	root        = user{0, 0}
	agentUser   = user{1337, 1337}
	application = user{2000, 2000}
)

// process is a child that is ended by its pid, at the latest when the test ends.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  *tail
	done chan struct{} // closed when it has ended
	err  error         // why; read it after done
}

// start starts a program in a namespace. What it writes to stdout goes to out.
func start(t *testing.T, n *netlab.Namespace, u user, out io.Writer, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: args[0], log: &tail{}, done: make(chan struct{})}
	p.cmd = exec.Command(name, args...)
	p.cmd.Env = []string{"PATH=/usr/bin:/bin"}
	p.cmd.Stdout, p.cmd.Stderr = out, p.log
	p.cmd.WaitDelay = time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: u.uid, Gid: u.gid}, Pdeathsig: syscall.SIGKILL,
	}
	if err := n.Start(p.cmd); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, p.log)
		}
	})
	return p
}

// stop ends it in order, and by force if that takes too long.
func (p *process) stop() {
	p.signal(syscall.SIGTERM)
	if !p.ended(limit) {
		p.t.Errorf("%s does not stop", p.name)
		p.kill()
	}
}

// kill ends it without a word.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // it may have ended

// ended waits for its end.
func (p *process) ended(most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// code is its exit code, once it has ended.
func (p *process) code() int { return p.cmd.ProcessState.ExitCode() }

// alive says whether a process that is not our child runs. One that has ended and that
// nobody has waited for yet does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := bytes.Cut(b, []byte(") "))
	return len(state) > 0 && state[0] != 'Z' && state[0] != 'X'
}

// tail keeps the last of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const maxTail = 64 << 10

func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, b...)
	if n := len(l.b) - maxTail; n > 0 {
		l.b = append([]byte(nil), l.b[n:]...)
	}
	return len(b), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

// journal is the decision log of an agent: a JSON object a line.
type journal struct {
	mu      sync.Mutex
	rest    []byte
	all     []decisions.Record
	bad     error
	arrived chan struct{}
}

func newJournal() *journal { return &journal{arrived: make(chan struct{})} }

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.rest = append(j.rest, b...)
	for {
		line, rest, ok := bytes.Cut(j.rest, []byte("\n"))
		if !ok {
			break
		}
		var r decisions.Record
		if err := json.Unmarshal(line, &r); err != nil {
			j.bad = fmt.Errorf("a line of the decision log: %w: %q", err, line)
		}
		j.all, j.rest = append(j.all, r), rest
	}
	close(j.arrived)
	j.arrived = make(chan struct{})
	return len(b), nil
}

// mark is where the log ends now.
func (j *journal) mark() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.all)
}

// find waits for a record behind a mark.
func (j *journal) find(from int, fits func(*decisions.Record) bool) (decisions.Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		j.mu.Lock()
		fresh, arrived, bad := j.all[from:], j.arrived, j.bad
		j.mu.Unlock()
		if bad != nil {
			return decisions.Record{}, bad
		}
		for i := range fresh {
			if fits(&fresh[i]) {
				return fresh[i], nil
			}
		}
		from += len(fresh)
		select {
		case <-arrived:
		case <-ctx.Done():
			return decisions.Record{}, errors.New("no such decision in the log")
		}
	}
}

// since are the records behind a mark.
func (j *journal) since(from int) []decisions.Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]decisions.Record(nil), j.all[from:]...)
}
