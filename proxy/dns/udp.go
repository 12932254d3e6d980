package dns

import (
	"context"
	"errors"
	"math/bits"
	"net"
	"sync"
	"time"
)

const (
	// poolSize is how many sockets, each with a random port, an upstream is asked from. Each
	// batch takes one of them at random, and none lives long: so an answer cannot be forged
	// by who knows what was asked from where before.
	poolSize = 8
	// socketUses and socketAge are after how many questions and how long a socket is
	// replaced.
	socketUses = 4096
	socketAge  = 30 * time.Second
	// askBatch is how many packets are received from an upstream at once.
	askBatch = 16
)

// attempt is a question that was sent.
type attempt struct {
	f        *flight
	at, ends time.Duration
}

// udpPool are the sockets to one upstream.
type udpPool struct {
	u      *upstream
	mu     sync.Mutex
	socket [poolSize]*udpSocket
	// leaving are no longer asked from and close when nothing waits for them.
	leaving []*udpSocket
	closed  bool
}

// udpSocket is connected, so that the system drops what comes from elsewhere.
type udpSocket struct {
	u    *upstream
	conn *packetConn
	born time.Duration

	mu       sync.Mutex
	attempts map[uint16]attempt
	uses     int
	closed   bool
}

var errEnded = errors.New("the resolver has ended")

// pick returns a socket to ask from, opening one if need be.
func (p *udpPool) pick(w *worker) (*udpSocket, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errEnded
	}
	at := &p.socket[w.dice.octet()%poolSize]
	if s := *at; s != nil {
		if !s.spent(w.now) {
			return s, nil
		}
		*at = nil
		p.leaving = append(p.leaving, s)
		p.sweep()
	}
	s, err := p.u.open(w.now)
	if err != nil {
		return nil, err
	}
	*at = s
	return s, nil
}

// sweep closes the sockets that nothing waits for any more.
func (p *udpPool) sweep() {
	kept := p.leaving[:0]
	for _, s := range p.leaving {
		if !s.closeIfIdle() {
			kept = append(kept, s)
		}
	}
	clear(p.leaving[len(kept):])
	p.leaving = kept
}

func (s *udpSocket) spent(now time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed || s.uses >= socketUses || now-s.born > socketAge
}

func (s *udpSocket) closeIfIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.attempts) > 0 && !s.closed {
		return false
	}
	s.shut()
	return true
}

// shut closes a socket and keeps what it dropped. Its lock is held.
func (s *udpSocket) shut() {
	if s.closed {
		return
	}
	s.closed = true
	_ = s.conn.Close()
	s.u.r.counts[nDropped].Add(s.conn.dropped())
}

// dropped is what a socket that is not shut has dropped; what others did is counted.
func (s *udpSocket) dropped() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0
	}
	return s.conn.dropped()
}

// open connects a socket; its port is one that the system takes at random.
func (u *upstream) open(now time.Duration) (*udpSocket, error) {
	d := net.Dialer{Control: u.r.c.Control}
	c, err := d.DialContext(context.Background(), "udp", u.Addr.String()) // connecting UDP does not wait
	if err != nil {
		return nil, err
	}
	conn, err := newPacketConn(c.(*net.UDPConn)) //nolint:forcetypeassert // what Dial gives for udp
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	s := &udpSocket{u: u, conn: conn, born: now, attempts: map[uint16]attempt{}}
	if !u.r.spawn(func() { s.read(u.r.newWorker(askBatch)) }) {
		_ = c.Close()
		return nil, errEnded
	}
	return s, nil
}

// register gives a flight an id of its own.
func (s *udpSocket) register(f *flight, d *dice, now, ends time.Duration) (uint16, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, false
	}
	id, ok := freeID(s.attempts, d)
	if ok {
		s.uses++
		s.attempts[id] = attempt{f, now, ends}
	}
	return id, ok
}

// freeID finds an id that nothing waits for. There may be 65,536 at the most, and there are
// far fewer; so it looks only a few times.
func freeID(used map[uint16]attempt, d *dice) (uint16, bool) {
	for range bits.UintSize {
		id := d.id()
		if _, taken := used[id]; !taken {
			return id, true
		}
	}
	return 0, false
}

// take removes the attempt that a message answers; whoever takes it owns the flight.
func (s *udpSocket) take(p []byte) (attempt, match) {
	if len(p) < headerLen {
		return attempt{}, stray
	}
	id := u16(get16(p, 0))
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.attempts[id]
	if !ok {
		return attempt{}, stray
	}
	m := a.f.fits(p)
	if m != stray {
		delete(s.attempts, id)
	}
	return a, m
}

// drop removes an attempt that was not sent.
func (s *udpSocket) drop(id uint16) (attempt, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.attempts[id]
	delete(s.attempts, id)
	return a, ok
}

// expire moves what ended before now, or all, into out.
func (s *udpSocket) expire(out []attempt, now time.Duration, all bool) []attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, a := range s.attempts {
		if all || now >= a.ends {
			delete(s.attempts, id)
			out = append(out, a)
		}
	}
	return out
}

// read takes answers until the socket is closed.
func (s *udpSocket) read(w *worker) {
	in := newBatch(askBatch, w.r.c.MaxUDP+1)
	for {
		n, err := in.receive(s.conn)
		w.now = w.r.now()
		if err != nil {
			s.broken(w, err)
			return
		}
		for i := range n {
			s.answer(w, &in.packets[i])
		}
		w.flush()
	}
}

// answer looks at a packet from the upstream.
func (s *udpSocket) answer(w *worker, p *packet) {
	a, m := s.take(p.data)
	switch {
	case m == stray:
		w.n[nStray]++
		return
	case m == otherCase:
		// Either the upstream does not keep the case or somebody guesses; over TCP it can be
		// known.
		w.n[nCaseChanged]++
		a.f.viaTCP = true
		w.dispatch(a.f)
		return
	}
	s.u.ok(w.now - a.at)
	if p.cut {
		a.f.viaTCP = true
		w.dispatch(a.f)
		return
	}
	w.received(a.f, append([]byte(nil), p.data...))
}

// broken ends a socket: it was closed, or nobody listens at the other end. What waits is
// tried elsewhere at once.
func (s *udpSocket) broken(w *worker, err error) {
	s.mu.Lock()
	s.shut()
	s.mu.Unlock()
	for _, a := range s.expire(nil, w.now, true) {
		s.u.fail(a.at, w.now, err.Error())
		w.again = append(w.again, a.f)
	}
	w.flush()
}

// close ends all sockets.
func (p *udpPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, s := range append(p.leaving, p.socket[:]...) {
		if s != nil {
			s.mu.Lock()
			s.shut()
			s.mu.Unlock()
		}
	}
}

// sockets lists all there are.
func (p *udpPool) sockets(out []*udpSocket) []*udpSocket {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweep()
	for _, s := range p.socket {
		if s != nil {
			out = append(out, s)
		}
	}
	return append(out, p.leaving...)
}
