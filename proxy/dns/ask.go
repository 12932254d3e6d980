package dns

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// maxQuestion bounds what is sent to an upstream.
const maxQuestion = headerLen + maxName + 4 + optLen + maxSubnet

// ask writes what is sent to the upstream. The case of the name is random where the
// upstream keeps it: whoever wants to forge an answer has to guess it with id and port.
func (f *flight) ask(out []byte, d *dice, now time.Duration) []byte {
	flags := flagRD | flagAD // RFC 6840 5.7: tell whether it is authentic
	if f.bits()&keyCD != 0 {
		flags |= flagCD
	}
	out = append(out[:0], 0, 0)
	out = append16(out, flags)
	out = append(out, 0, 1, 0, 0, 0, 0, 0, 0)
	f.question = append(f.question[:0], f.key[:len(f.key)-1]...)
	if int64(now) >= f.up.caseLost.Load() {
		d.shuffle(f.question[:len(f.question)-4])
	}
	out = append(out, f.question...)
	if f.plain {
		return out
	}
	out[11] = 1
	out = append(out, 0, 0, typeOPT)
	out = append16(out, f.up.r.c.MaxUDP)
	out = append(out, 0, 0)
	do := 0
	if f.bits()&keyDO != 0 {
		do = flagDO
	}
	out = append16(out, do)
	out = append16(out, len(f.subnet))
	return append(out, f.subnet...)
}

// dice are random octets that nobody can foresee.
type dice struct {
	room [512]byte
	left int
}

func (d *dice) octet() byte {
	if d.left == 0 {
		_, _ = rand.Read(d.room[:]) // never fails, says crypto/rand
		d.left = len(d.room)
	}
	d.left--
	return d.room[d.left]
}

func (d *dice) id() uint16 { return uint16(d.octet())<<8 | uint16(d.octet()) }

// shuffle sets the case of every letter at random.
func (d *dice) shuffle(name []byte) {
	var bits byte
	for i, c := range name {
		if i&7 == 0 {
			bits = d.octet()
		}
		// The length of a label is below the letters.
		if bits&1 == 1 && 'a' <= c && c <= 'z' {
			name[i] = c - ('a' - 'A')
		}
		bits >>= 1
	}
}

// match says how an answer fits a question that was sent.
type match uint8

const (
	stray match = iota
	// otherCase is right but for the case of the name.
	otherCase
	right
)

// fits compares a message with the flight whose id it has.
func (f *flight) fits(p []byte) match {
	n := headerLen + len(f.question)
	if len(p) < n || get16(p, 2)&(flagQR|opcodeMask) != flagQR || get16(p, 4) != 1 {
		return stray
	}
	return sameQuestion(p[headerLen:n], f.question)
}

func sameQuestion(got, want []byte) match {
	m := right
	name := len(want) - 4
	for i, c := range want {
		switch {
		case got[i] == c:
		case i < name && lower[got[i]] == lower[c]:
			m = otherCase
		default:
			return stray
		}
	}
	return m
}

// sendUDP adds a flight to what is sent to its upstream next.
func (w *worker) sendUDP(f *flight) {
	if w.via != nil && (w.via.u != f.up || w.asks.full()) {
		w.flushAsks()
	}
	for tries := 0; ; tries++ {
		var err error
		if w.via == nil {
			w.via, err = f.up.pool.pick(w)
		}
		if err == nil {
			q := f.ask(w.asks.room(), &w.dice, w.now)
			id, ok := w.via.register(f, &w.dice, w.now, min(w.now+w.r.c.Attempt, max(f.until, w.now)))
			if ok {
				put16(q, 0, int(id))
				w.asks.add(q, netip.AddrPort{})
				w.sent = append(w.sent, id)
				return
			}
			err = fmt.Errorf("a socket to %s has no free id", f.up.name)
		}
		w.flushAsks()
		if tries == 2 || errors.Is(err, errEnded) {
			f.up.fail(w.now, w.now, err.Error())
			w.again = append(w.again, f)
			return
		}
	}
}

// flushAsks sends the questions to an upstream.
func (w *worker) flushAsks() {
	s := w.via
	if s == nil {
		return
	}
	w.asks.send(s.conn, func(i int, err error) {
		if a, ok := s.drop(w.sent[i]); ok {
			s.u.fail(a.at, w.now, err.Error())
			w.again = append(w.again, a.f)
		}
	})
	w.sent = w.sent[:0]
	w.via = nil
}
