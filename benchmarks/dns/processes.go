package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The processors that servers and load are pinned to.
const (
	serverCore = 0
	loadCore   = 1
)

// process is a server, pinned to a processor.
type process struct {
	cmd  *exec.Cmd
	out  bytes.Buffer // what it said
	done chan struct{}
	err  error // how it ended, once done
}

// pinned runs f on a thread of that processor; what is started in it stays there.
func pinned(core int, f func() error) error {
	result := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and so does where it is pinned to.
		runtime.LockOSThread()
		var set unix.CPUSet
		set.Set(core)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			result <- fmt.Errorf("pin to processor %d: %w", core, err)
			return
		}
		result <- f()
	}()
	return <-result
}

// ownSession is for whatever is started. Where the kernel shares processors out by session
// (sched_autogroup), a server would otherwise get the less of its own, beside the other work
// of the machine, the less it takes.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// launch starts a server.
func launch(core int, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = ownSession()
	if err := pinned(core, p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// answers waits until the server answers a question, or says why it ended.
func (p *process) answers(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	question := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05ready\x07example\x00\x00\x01\x00\x01")
	for {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended and was to serve (%w): %s", p.cmd.Path, p.err, p.out.String())
		default:
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s answers nothing at %s: %w", p.cmd.Path, addr, err)
		}
		if ask(addr, question) == nil {
			return nil
		}
	}
}

// ask asks once, and waits for the answer for a moment.
func ask(addr string, question []byte) error {
	const moment = 50 * time.Millisecond
	c, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(question); err != nil {
		return err
	}
	until := time.Now().Add(moment)
	if err := c.SetReadDeadline(until); err != nil {
		return err
	}
	var room [512]byte
	if _, err := c.Read(room[:]); err != nil {
		time.Sleep(time.Until(until)) // refused at once where nobody listens yet
		return err
	}
	return nil
}

// end stops the process and returns what it said.
func (p *process) end() string {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	return p.out.String()
}

// used is the processor time that the process took so far, in user mode and in the
// kernel. The kernel counts in hundredths of a second.
func (p *process) used() (user, system time.Duration, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(data), ") ") // the name may have spaces
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, 0, fmt.Errorf("/proc/%d/stat has no times: %q", p.cmd.Process.Pid, data)
	}
	ticks := func(s string) time.Duration {
		n, perr := strconv.Atoi(s)
		err = errors.Join(err, perr)
		return time.Duration(n) * 10 * time.Millisecond
	}
	user, system = ticks(f[11]), ticks(f[12])
	return user, system, err
}

// dropped counts the packets that the kernel threw away as the buffer of a socket was full
// that is bound to the port.
func dropped(port int) (total uint64, err error) {
	data, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		return 0, err
	}
	hex := fmt.Sprintf(":%04X", port)
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 13 {
			continue
		}
		if n, err := strconv.ParseUint(f[12], 10, 64); err == nil && strings.HasSuffix(f[1], hex) {
			total += n
		}
	}
	return total, nil
}

// overflowed counts the packets that the kernel threw away at any socket of the machine.
func overflowed() (uint64, error) {
	data, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		return 0, err
	}
	var names []string
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, n := range names {
			if n == "RcvbufErrors" && i < len(f) {
				return strconv.ParseUint(f[i], 10, 64)
			}
		}
	}
	return 0, errors.New("/proc/net/snmp has no RcvbufErrors")
}
