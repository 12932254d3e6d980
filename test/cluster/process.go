package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// poll is how often readiness is asked for.
const poll = 50 * time.Millisecond

// Process is one program of a cluster, and the faults that a test can have it show.
// Its methods may be called from several goroutines.
type Process struct {
	name   string
	path   string
	args   []string
	log    string       // file of what it wrote, over all its lives
	before func() error // called before each start where it is not nil
	// ready returns nil once it serves.
	ready func(ctx context.Context) error

	mu   sync.Mutex
	cmd  *exec.Cmd     // nil before the first start
	done chan struct{} // closed when it has ended; nil before the first start
}

// Start starts the process, which must not run, and waits until it serves. It has the arguments,
// port and data of its last life. The context bounds the waiting alone; where it serves too
// late or ends at once, the error holds the end of its log.
func (p *Process) Start(ctx context.Context) error {
	done, err := p.launch()
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		err := p.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-done:
			return fmt.Errorf("%s ended before it served:\n%s", p.name, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve (%w): %w:\n%s", p.name, ctx.Err(), err, p.tail())
		case <-tick.C:
		}
	}
}

// launch starts the program on a thread that lives as long as it does: where the system
// ties a child's life to its parent, it means the thread that started it.
func (p *Process) launch() (<-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return nil, errors.New("it runs already; Kill it first")
	}
	if p.before != nil {
		if err := p.before(); err != nil {
			return nil, err
		}
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(p.path, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	dieWithParent(cmd)
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		defer log.Close()
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how a killed process ended is of no interest
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	p.cmd, p.done = cmd, done
	return done, nil
}

// Kill ends the process at once, as the system does when memory runs out, and waits for its
// end. Its data stay for [Process.Start]. Killing one that does not run is no error.
func (p *Process) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return nil
	}
	if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// Pause stops the process where it is (SIGSTOP): its connections stay, and nothing is answered.
func (p *Process) Pause() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signal(syscall.SIGSTOP)
}

// Continue lets a paused process go on.
func (p *Process) Continue() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signal(syscall.SIGCONT)
}

func (p *Process) signal(sig syscall.Signal) error {
	if !p.running() {
		return fmt.Errorf("%s: %s: it does not run", p.name, sig)
	}
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("%s: %s: %w", p.name, sig, err)
	}
	return nil
}

func (p *Process) running() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// tail returns the last 4 KiB of the log.
func (p *Process) tail() string { return tail(p.log) }

// tail returns the last 4 KiB of a file, or why it can't be read.
func tail(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > 4096 {
		_, _ = file.Seek(-4096, io.SeekEnd)
	}
	text, err := io.ReadAll(io.LimitReader(file, 4096))
	if err != nil {
		return err.Error()
	}
	return string(text)
}
