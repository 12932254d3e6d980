package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"
	"unsafe"
)

// batch is how many requests one contender gets before it is the next one's turn: few, so
// that what else the machine does meets all alike, and enough to warm the caches.
const batch = 50

// singly measures the latency of each contender at one connection, turning from one to
// the next.
func singly(ctx context.Context, cs []*contender, requests []string, duration time.Duration) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var conns []*client
	defer func() {
		for _, c := range conns {
			_ = c.file.Close()
		}
	}()
	for _, c := range cs {
		conn, err := dial(ctx, c.port)
		if err != nil {
			return err
		}
		conns = append(conns, conn)
	}
	took := make([][]time.Duration, len(cs))
	for end := time.Now().Add(duration * time.Duration(len(cs))); time.Now().Before(end) && ctx.Err() == nil; {
		for i, c := range conns {
			for k := range batch {
				d, err := c.ask(requests[rand.IntN(len(requests))])
				if err != nil {
					return fmt.Errorf("%s: %w", cs[i].name, err)
				}
				if k >= batch/5 { // the first find everything cold
					took[i] = append(took[i], d)
				}
			}
		}
	}
	for i, c := range cs {
		slices.Sort(took[i])
		at := func(q float64) float64 { return float64(took[i][int(q*float64(len(took[i])-1))].Nanoseconds()) / 1e3 }
		c.one50, c.one99 = append(c.one50, at(0.5)), append(c.one99, at(0.99))
	}
	return ctx.Err()
}

// client is a connection that is waited for in the kernel, not in Go's scheduler, whose
// own microseconds would be the noise of the measurement.
type client struct {
	file *os.File
	fd   uintptr
	room [4096]byte
}

// dial connects from a random address of 127.0.0.0/8: the module asks about the source.
func dial(ctx context.Context, port int) (*client, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(rand.IntN(256)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))}}
	conn, err := d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	f, err := conn.(*net.TCPConn).File()
	if err != nil {
		return nil, err
	}
	return &client{file: f, fd: f.Fd()}, nil // Fd makes it blocking
}

// ask sends a request and waits for the whole answer of the upstream.
func (c *client) ask(request string) (time.Duration, error) {
	out := unsafe.Slice(unsafe.StringData(request), len(request)) //nolint:gosec // read only
	start := time.Now()
	if n, err := c.call(syscall.SYS_WRITE, out); err != nil || n < len(out) {
		return 0, fmt.Errorf("a request was not written: %w", cmpErr(err, io.ErrShortWrite))
	}
	n := 0
	for !bytes.HasSuffix(c.room[:n], []byte("\r\n\r\nok")) {
		m, err := c.call(syscall.SYS_READ, c.room[n:])
		if err != nil || m == 0 {
			return 0, fmt.Errorf("no answer: %w", cmpErr(err, io.ErrUnexpectedEOF))
		}
		if n += m; n == len(c.room) || bytes.HasPrefix(c.room[:n], []byte("HTTP/1.1 4")) {
			return 0, fmt.Errorf("another answer than the upstream's: %q", c.room[:n])
		}
	}
	return time.Since(start), nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func (c *client) call(number uintptr, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(number, c.fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))) //nolint:gosec // within the call, as its rules ask
		if errno == 0 {
			return int(n), nil
		}
		if !errors.Is(errno, syscall.EINTR) {
			return 0, errno
		}
	}
}
