package dns

import (
	"bytes"
	"sync"
	"time"

	"pavise.dev/pavise/proxy/filter"
)

// flight is a question on its way to an upstream, and all who wait for the answer. After it
// is launched, whoever takes its attempt out of a socket's table owns it; only waiters are
// shared, under the lock of the shard.
type flight struct {
	hash   uint64
	key    []byte // as query.key
	name   string
	subnet []byte
	// waiters is nil once the flight has ended.
	waiters []asked
	joined  bool // it is in the table, so that others may wait too
	stale   *entry

	until time.Duration // the end of all attempts
	tried uint64        // a bit for each upstream, in this round
	tries int
	up    *upstream
	// question as it was sent: its case is random.
	question []byte
	viaTCP   bool // the upstream's answer did not fit, or could not be trusted
	plain    bool // without EDNS
	rejoined bool // it was sent again since a connection had ended
	// rcode and why of the last answer that was of no use.
	rcode int
	why   extended
}

type flights struct {
	shard [shards]struct {
		mu sync.Mutex
		m  map[uint64]*flight
	}
}

func (f *flight) bits() byte { return f.key[len(f.key)-1] }

// keep makes a waiter of what was asked, which lies in a packet.
func (f *flight) keep(a *asked) asked {
	k := *a
	copied := *a.asker
	if copied.question = f.key[:len(f.key)-1]; !bytes.Equal(copied.question, a.question) {
		copied.question = bytes.Clone(a.question)
	}
	k.asker, k.name = &copied, f.name
	return k
}

// forward asks an upstream, unless the same is being asked already.
func (w *worker) forward(a *asked, hash uint64, stale *entry, out []byte) []byte {
	r, key := w.r, w.q.key[:w.q.keyLen]
	s := &r.flights.shard[hash%shards]
	alone := r.c.ForwardSubnet && w.q.subnet != nil
	s.mu.Lock()
	other := s.m[hash]
	if other != nil && !alone && bytes.Equal(other.key, key) {
		if len(other.waiters) < r.c.MaxWaiters {
			other.waiters = append(other.waiters, other.keep(a))
			s.mu.Unlock()
			w.n[nMerged]++
			return nil
		}
		s.mu.Unlock()
		return w.overload(a, stale, out)
	}
	if r.flying.Add(1) > int64(r.c.MaxFlights) {
		r.flying.Add(-1)
		s.mu.Unlock()
		return w.overload(a, stale, out)
	}
	f := &flight{hash: hash, key: bytes.Clone(key), stale: stale, until: w.now + r.c.Timeout, rcode: rcodeServFail, why: silent}
	f.name = string(w.q.text[:w.q.textLen])
	f.waiters = []asked{f.keep(a)}
	if alone {
		f.subnet = bytes.Clone(w.q.subnet)
	} else if other == nil {
		f.joined = true
		s.m[hash] = f
	}
	s.mu.Unlock()
	w.n[nForwarded]++
	select {
	case r.wake <- struct{}{}:
	default:
	}
	w.try(f)
	return nil
}

// overload answers what cannot be asked now.
func (w *worker) overload(a *asked, stale *entry, out []byte) []byte {
	w.n[nOverload]++
	if stale != nil {
		w.n[nStale]++
		return w.give(a, stale, staleTTL, out)
	}
	return w.r.replyPlain(out, a.asker, rcodeServFail, tooMany)
}

// land ends a flight and returns who waited for it. What it found is in the cache already,
// so that whoever comes after it finds that.
func (r *Resolver) land(f *flight) []asked {
	s := &r.flights.shard[f.hash%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.joined {
		delete(s.m, f.hash)
	}
	waiters := f.waiters
	f.waiters = nil
	r.flying.Add(-1)
	return waiters
}

// try sends a flight to the next upstream, or ends it.
func (w *worker) try(f *flight) {
	list := w.r.group.Load().list
	if f.tries > 0 && f.stale != nil {
		w.useStale(f)
		return
	}
	if w.now >= f.until || f.tries >= max(2*len(list), 2) {
		w.fail(f)
		return
	}
	up, hope := w.choose(f, list)
	if !hope && f.stale != nil {
		w.useStale(f) // waiting for who is known to be down helps nobody
		return
	}
	f.tries++
	f.up = up
	f.viaTCP, f.plain, f.rejoined = false, false, false
	w.dispatch(f)
}

// dispatch sends a flight to its upstream.
func (w *worker) dispatch(f *flight) {
	f.up.asked.Add(1)
	if f.viaTCP || f.up.Network != UDP {
		f.up.stream.send(w, f)
		return
	}
	w.sendUDP(f)
}

// received looks at an answer whose id and question are right, and which p alone holds.
func (w *worker) received(f *flight, p []byte) {
	flags := get16(p, 2)
	rcode := flags & rcodeMask
	switch {
	case flags&flagTC != 0 && f.up.Network == UDP && !f.viaTCP:
		f.viaTCP = true
		w.dispatch(f)
		return
	case (rcode == rcodeFormErr || rcode == rcodeNotImp) && !f.plain && f.bits()&keyDO == 0:
		f.plain = true // it may know no EDNS, RFC 6891 7
		w.dispatch(f)
		return
	case rcode != rcodeOK && rcode != rcodeNX:
		f.rcode, f.why = rcode, silent
		w.again = append(w.again, f)
		return
	}
	qlen := len(f.key) - 1
	read, err := readAnswer(p, qlen, w.r.lives)
	if err == nil && flags&flagTC != 0 {
		err = errCut
	}
	if err != nil {
		w.n[nHostile]++
		w.r.complain(w.now, "an answer of an upstream is malformed", "upstream", f.up.name, "name", f.name, "error", err)
		f.rcode, f.why = rcodeServFail, badAnswer
		w.again = append(w.again, f)
		return
	}
	e := &entry{answer: read, hash: f.hash, bits: f.bits(), at: w.now, upstream: f.up.name}
	if e.life > 0 && f.subnet == nil && w.r.c.CacheEntries > 0 {
		w.r.cache.add(e)
	}
	waiters := w.r.land(f)
	for i := range waiters {
		a := &waiters[i]
		w.deliver(a, w.give(a, e, 0, w.room(a)))
	}
}

// useStale ends a flight with what was known before.
func (w *worker) useStale(f *flight) {
	waiters := w.r.land(f)
	for i := range waiters {
		a := &waiters[i]
		w.n[nStale]++
		w.deliver(a, w.give(a, f.stale, staleTTL, w.room(a)))
	}
}

// fail ends a flight that found no answer.
func (w *worker) fail(f *flight) {
	why := f.why
	if why.code == edeNone && f.rcode == rcodeServFail {
		why = noAnswer
	}
	waiters := w.r.land(f)
	for i := range waiters {
		a := &waiters[i]
		w.n[nFailed]++
		if v := w.r.c.Engine.CheckName(filter.Name, f.name); v.Action == filter.Alert {
			w.n[nAlerted]++
			w.r.report(a, &ruling{action: v.Action, verdict: v}, f.rcode, "")
		}
		w.deliver(a, w.r.replyPlain(w.room(a), a.asker, f.rcode, why))
	}
}
