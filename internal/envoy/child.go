package envoy

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// listenerDrain is how long connections of a listener that xDS replaced may
// live on. Envoy's own default of ten minutes keeps old policy in force for
// that long; a few seconds would cut long downloads on every push.
const listenerDrain = 45 * time.Second

// ExitError tells how an Envoy ended and what it said about it.
type ExitError struct {
	Err   error         // from the operating system, such as "exit status 1"
	Said  string        // Envoy's own words, where it had any
	Lived time.Duration // from start to end
}

// Error is one line that names the cause first.
func (e *ExitError) Error() string {
	text := fmt.Sprintf("envoy ended after %s", e.Lived.Round(time.Millisecond))
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	var status *exec.ExitError
	if errors.As(e.Err, &status) {
		if ws, ok := status.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL {
			text += " from outside (often: out of memory)"
		}
	}
	if e.Said != "" {
		text += "; it said: " + e.Said
	}
	return text
}

// Unwrap returns the operating system's error.
func (e *ExitError) Unwrap() error { return e.Err }

// child is one running Envoy.
type child struct {
	cmd     *exec.Cmd
	started time.Time
	done    chan struct{} // closed when it has ended and its output is read
	exit    error         // why it ended; read it after done
}

func (s *Supervisor) arguments() []string {
	args := []string{
		"--config-path", s.bootstrapPath(),
		// Hot restart is off: we never hand over between two Envoys, and its
		// shared memory would be one more file in /dev/shm for every start
		// (also with --use-dynamic-base-id) or a clash between two sidecars.
		"--disable-hot-restart",
		"--log-level", s.cfg.LogLevel,
		"--log-format", logFormat, "--log-format-escaped",
		// "immediate": while draining every answer asks its client to go.
		"--drain-strategy", "immediate",
		"--drain-time-s", strconv.Itoa(int(max(listenerDrain, s.cfg.DrainTime).Seconds())),
	}
	if s.cfg.Concurrency > 0 {
		args = append(args, "--concurrency", strconv.Itoa(s.cfg.Concurrency))
	}
	return args
}

// startChild returns when Envoy was started or could not be.
func (s *Supervisor) startChild() (*child, error) {
	output := &logWriter{logger: s.cfg.Logger, now: time.Now}
	// No CommandContext: when it ends is ours to time, by drain, SIGTERM, SIGKILL.
	cmd := exec.Command(s.cfg.Path, s.arguments()...)
	cmd.Env = append(cmd.Environ(), s.cfg.Env...)
	cmd.Stdout, cmd.Stderr = s.cfg.Stdout, output
	cmd.SysProcAttr = childAttributes()
	// Something that inherited Envoy's stderr must not keep us from restarting.
	cmd.WaitDelay = time.Second

	c := &child{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// PR_SET_PDEATHSIG fires when the *thread* that forked ends, not the
		// process. Go ends a thread when a goroutine that locked it returns
		// without unlocking, so on a shared thread some other part of the
		// program could kill Envoy. This goroutine keeps the thread to itself
		// until Envoy is gone; only then may it go back to the others.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		c.started = time.Now()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		output.flush()
		c.exit = &ExitError{Err: err, Said: output.said(), Lived: time.Since(c.started)}
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("can't start Envoy: %w", explainExec(s.cfg.Path, err))
	}
	return c, nil
}

// signal sends sig; an Envoy that ended meanwhile is no error.
func (c *child) signal(sig syscall.Signal) {
	// The only failure is that the process is gone, which done tells.
	_ = c.cmd.Process.Signal(sig)
}

func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}
