package dns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

const (
	// tcpIdle is when a TCP connection of a client is closed that asks nothing.
	tcpIdle = 10 * time.Second
	// tcpWaiting is how many answers may wait for a client to take them.
	tcpWaiting = 64
	// anyPort is how often another port is tried if UDP has it and TCP does not get it.
	anyPort = 16
)

// listen opens the sockets of one address.
func (r *Resolver) listen(ctx context.Context, a netip.AddrPort) error {
	for try := 1; ; try++ {
		err := r.listenOn(ctx, a)
		if err == nil || a.Port() != 0 || try == anyPort || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
}

func (r *Resolver) listenOn(ctx context.Context, a netip.AddrPort) (err error) {
	lc := net.ListenConfig{}
	if r.c.Sockets > 1 {
		lc.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			if cerr := c.Control(func(fd uintptr) { err = share(fd) }); cerr != nil {
				return cerr
			}
			return err
		}
	}
	var opened []*packetConn
	defer func() {
		if err != nil {
			for _, c := range opened {
				_ = c.Close()
			}
			err = fmt.Errorf("resolver: it cannot listen on %s: %w", a, err)
		}
	}()
	for range r.c.Sockets {
		c, err := lc.ListenPacket(ctx, "udp", a.String())
		if err != nil {
			return err
		}
		udp := c.(*net.UDPConn) //nolint:forcetypeassert // what it gives for udp
		p, err := newPacketConn(udp)
		if err != nil {
			_ = c.Close()
			return err
		}
		opened = append(opened, p)
		a = netip.AddrPortFrom(a.Addr(), uint16(udp.LocalAddr().(*net.UDPAddr).Port)) //nolint:gosec,forcetypeassert // a port
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.String())
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.packets = append(r.packets, opened...)
	r.mu.Unlock()
	r.listeners = append(r.listeners, l.(*net.TCPListener)) //nolint:forcetypeassert // what it gives for tcp
	r.addrs = append(r.addrs, a)
	return nil
}

// servePackets answers what comes over UDP.
func (r *Resolver) servePackets(c *packetConn, end context.CancelCauseFunc) {
	w := r.newWorker(r.c.Batch)
	in := newBatch(r.c.Batch, 1500)
	for failures := 0; ; {
		n, err := in.receive(c)
		w.now = r.now()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// A socket that is bound tells now and then of what became of a packet it sent.
			if failures++; failures > 100 {
				end(fmt.Errorf("resolver: receive on %s: %w", c.LocalAddr(), err))
				return
			}
			continue
		}
		failures = 0
		for i := range n {
			w.packet(c, &in.packets[i])
		}
		w.flush()
	}
}

// client is a TCP connection of a client. Its answers go out in the order they are ready
// in (RFC 7766 6.2.1.1).
type client struct {
	conn net.Conn
	peer netip.AddrPort
	out  chan []byte
	once sync.Once
	done chan struct{}
}

// send queues an answer. A client that takes none is not waited for.
func (c *client) send(reply []byte) bool {
	m := append16(make([]byte, 0, 2+len(reply)), len(reply))
	select {
	case c.out <- append(m, reply...):
		return true
	case <-c.done:
		return false
	default:
		c.close()
		return false
	}
}

func (c *client) close() {
	c.once.Do(func() {
		close(c.done)
		_ = c.conn.Close()
	})
}

// serveConns accepts TCP connections.
func (r *Resolver) serveConns(l *net.TCPListener, end context.CancelCauseFunc) {
	for failures := 0; ; {
		conn, err := l.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if failures++; failures > 100 {
				end(fmt.Errorf("resolver: accept on %s: %w", l.Addr(), err))
				return
			}
			// Mostly there are no descriptors left; some may come back.
			select {
			case <-r.ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		failures = 0
		if r.conns.Add(1) > int64(r.c.MaxConns) {
			r.conns.Add(-1)
			r.counts[nConnsRefused].Add(1)
			_ = conn.Close()
			continue
		}
		c := &client{conn: conn, out: make(chan []byte, tcpWaiting), done: make(chan struct{})}
		c.peer = conn.RemoteAddr().(*net.TCPAddr).AddrPort() //nolint:forcetypeassert // of a TCPConn
		c.peer = netip.AddrPortFrom(c.peer.Addr().Unmap(), c.peer.Port())
		started := r.spawn(func() {
			defer r.conns.Add(-1)
			defer c.close()
			stop := context.AfterFunc(r.ctx, c.close)
			defer stop()
			r.readConn(c)
		})
		if !started || !r.spawn(c.write) {
			c.close()
			return
		}
	}
}

// readConn answers what comes over one connection.
func (r *Resolver) readConn(c *client) {
	w := r.newWorker(1)
	in := bufio.NewReaderSize(c.conn, 4096)
	var length [2]byte
	var room [4096]byte
	for {
		if in.Buffered() == 0 {
			_ = c.conn.SetReadDeadline(time.Now().Add(tcpIdle))
		}
		if _, err := io.ReadFull(in, length[:]); err != nil {
			return
		}
		n := get16(length[:], 0)
		if n < headerLen || n > len(room) {
			r.counts[nMalformed].Add(1)
			return // no question is as long as that
		}
		if _, err := io.ReadFull(in, room[:n]); err != nil {
			return
		}
		w.now = r.now()
		w.message(c, room[:n])
		w.flush()
	}
}

// write sends what is answered.
func (c *client) write() {
	defer c.close()
	out := bufio.NewWriter(c.conn)
	for {
		select {
		case <-c.done:
			return
		case m := <-c.out:
			_ = c.conn.SetWriteDeadline(time.Now().Add(tcpIdle))
			_, err := out.Write(m)
			if err == nil && len(c.out) == 0 {
				err = out.Flush()
			}
			if err != nil {
				return
			}
		}
	}
}
