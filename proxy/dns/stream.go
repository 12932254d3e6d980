package dns

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// streamQueue is how many questions may wait to be written to a connection.
	streamQueue = 256
	// streamIdle is when a connection that nobody needs is closed.
	streamIdle = 10 * time.Second
)

// stream is the TCP or TLS connection to an upstream: one, opened when it is needed, on
// which questions follow each other without waiting for answers (RFC 7766 6.2.1.1).
type stream struct {
	u    *upstream
	mu   sync.Mutex
	conn *streamConn
	// closed: there is to be none any more.
	closed bool
}

type streamConn struct {
	s     *stream
	queue chan []byte // messages with their lengths
	done  chan struct{}

	// Under the lock of the stream:
	attempts map[uint16]attempt
	closed   bool
	conn     net.Conn // nil until it is open
	last     time.Duration
	answered bool
}

// send asks by the connection; what cannot be is tried again.
func (s *stream) send(w *worker, f *flight) {
	if !s.enqueue(w, f) {
		s.u.fail(w.now, w.now, "too many questions wait for the connection")
		w.again = append(w.again, f)
	}
}

func (s *stream) enqueue(w *worker, f *flight) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	c := s.conn
	if c == nil {
		c = &streamConn{s: s, queue: make(chan []byte, streamQueue), done: make(chan struct{}), attempts: map[uint16]attempt{}, last: w.now}
		if !s.u.r.spawn(c.run) {
			return false
		}
		s.conn = c
	}
	id, ok := freeID(c.attempts, &w.dice)
	if !ok {
		return false
	}
	m := make([]byte, 2, 2+maxQuestion)
	q := f.ask(m[2:2], &w.dice, w.now)
	put16(q, 0, int(id))
	m = m[:2+len(q)]
	put16(m, 0, len(q))
	select {
	case c.queue <- m:
		c.attempts[id] = attempt{f, w.now, min(w.now+2*s.u.r.c.Attempt, max(f.until, w.now))}
		return true
	default:
		return false
	}
}

// run opens the connection and writes to it until it ends.
func (c *streamConn) run() {
	u := c.s.u
	w := u.r.newWorker(1)
	conn, err := c.dial()
	if err == nil {
		if !u.r.spawn(func() { c.read(conn) }) {
			err = errEnded
		}
	}
	if err == nil {
		err = c.write(conn)
	}
	w.now = u.r.now()
	c.fail(w, err)
}

func (c *streamConn) dial() (net.Conn, error) {
	u := c.s.u
	ctx, cancel := context.WithTimeout(u.r.ctx, 2*u.r.c.Attempt)
	defer cancel()
	d := net.Dialer{Control: u.r.c.Control}
	conn, err := d.DialContext(ctx, "tcp", u.Addr.String())
	if err != nil {
		return nil, err
	}
	if u.Network == TLS {
		name := u.ServerName
		if name == "" {
			name = u.Addr.Addr().WithZone("").String()
		}
		secured := tls.Client(conn, &tls.Config{
			ServerName: name, RootCAs: u.CAs, MinVersion: tls.VersionTLS12, NextProtos: []string{"dot"},
			ClientSessionCache: u.r.sessions,
		})
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		conn = secured
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.closed || c.s.closed {
		_ = conn.Close()
		return nil, errEnded
	}
	c.conn = conn
	return conn, nil
}

// write sends what is queued. An idle connection ends without an error.
func (c *streamConn) write(conn net.Conn) error {
	r := c.s.u.r
	out := bufio.NewWriter(conn)
	idle := time.NewTicker(streamIdle)
	defer idle.Stop()
	for {
		select {
		case <-c.done:
			return nil
		case <-idle.C:
			if c.idle(r.now()) {
				return nil
			}
		case m := <-c.queue:
			_ = conn.SetWriteDeadline(time.Now().Add(2 * r.c.Attempt))
			_, err := out.Write(m)
			if err == nil && len(c.queue) == 0 {
				err = out.Flush()
			}
			if err != nil {
				return err
			}
		}
	}
}

// idle reports whether nothing waits and nothing came of late; then nothing more comes in.
func (c *streamConn) idle(now time.Duration) bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if len(c.attempts) > 0 || now-c.last < streamIdle {
		return false
	}
	c.retire()
	return true
}

// retire lets the next question open another connection. The lock is held.
func (c *streamConn) retire() {
	if !c.closed {
		c.closed = true
		close(c.done)
		if c.conn != nil {
			_ = c.conn.Close()
		}
	}
	if c.s.conn == c {
		c.s.conn = nil
	}
}

// read takes answers until the connection ends.
func (c *streamConn) read(conn net.Conn) {
	u := c.s.u
	w := u.r.newWorker(askBatch)
	in := bufio.NewReader(conn)
	var length [2]byte
	for {
		if _, err := io.ReadFull(in, length[:]); err != nil {
			w.now = u.r.now()
			c.fail(w, err)
			return
		}
		p := make([]byte, get16(length[:], 0))
		_, err := io.ReadFull(in, p)
		w.now = u.r.now()
		if err == nil && len(p) < headerLen {
			err = errCut
		}
		if err != nil {
			c.fail(w, err)
			return
		}
		c.answer(w, p)
		if in.Buffered() < 2 {
			w.flush()
		}
	}
}

func (c *streamConn) answer(w *worker, p []byte) {
	id := u16(get16(p, 0))
	c.s.mu.Lock()
	c.last, c.answered = w.now, true
	a, ok := c.attempts[id]
	m := stray
	if ok {
		if m = a.f.fits(p); m != stray {
			delete(c.attempts, id)
		}
	}
	c.s.mu.Unlock()
	u := c.s.u
	switch m {
	case stray:
		w.n[nStray]++
		return
	case otherCase:
		// Nobody guesses here: this upstream does not keep the case. For an hour no more is
		// asked for.
		w.n[nCaseChanged]++
		u.caseLost.Store(int64(w.now + time.Hour))
	}
	u.ok(w.now - a.at)
	w.received(a.f, p)
}

// fail ends the connection. What waits on one that answered before is asked once more, as
// servers close connections when they like; otherwise it is tried elsewhere.
func (c *streamConn) fail(w *worker, err error) {
	c.s.mu.Lock()
	c.retire()
	left := c.attempts
	c.attempts = nil
	answered := c.answered
	c.s.mu.Unlock()
	for _, a := range left {
		if answered && !a.f.rejoined {
			a.f.rejoined = true
			w.dispatch(a.f)
			continue
		}
		if err == nil {
			err = errors.New("the connection ended")
		}
		c.s.u.fail(a.at, w.now, err.Error())
		w.again = append(w.again, a.f)
	}
	w.flush()
}

// expire moves what ended before now into out. A connection that gave nothing since it was
// asked is taken for dead.
func (s *stream) expire(out []attempt, now time.Duration) []attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conn
	if c == nil {
		return out
	}
	dead := false
	for id, a := range c.attempts {
		if now >= a.ends {
			delete(c.attempts, id)
			out = append(out, a)
			dead = dead || c.last <= a.at
		}
	}
	if dead {
		for _, a := range c.attempts {
			out = append(out, a)
		}
		clear(c.attempts)
		c.retire()
	}
	return out
}

// close ends the connection for good.
func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.conn != nil {
		s.conn.retire()
	}
}
