package dns

import (
	"net/netip"
	"time"

	"pavise.dev/pavise/proxy/filter"
)

// asked is a question and who waits for its answer.
type asked struct {
	*asker
	name string // canonical
	peer netip.AddrPort
	// One of them is set.
	udp *packetConn
	tcp *client
}

// worker answers what one goroutine receives, from a socket or an upstream. It counts by
// itself and sends in batches, so that workers share little.
type worker struct {
	r   *Resolver
	now time.Duration // on the clock of the resolver, of this batch
	n   tally
	q   query
	ask asked // of q

	// replies go to clients by this socket.
	replies *batch
	to      *packetConn
	// lone is where an answer for TCP is made.
	lone []byte
	text [maxText + 32]byte

	asks  *batch     // questions to an upstream by this socket
	via   *udpSocket // nil if there are none
	sent  []uint16   // the ids of the packets in asks
	again []*flight  // what has to be tried again
	dice  dice
}

// newWorker makes one that sends so many packets at once.
func (r *Resolver) newWorker(n int) *worker {
	w := &worker{
		r: r, now: r.now(), replies: newBatch(n, max(r.c.MaxUDP, maxReply)), asks: newBatch(min(n, 16), maxQuestion),
	}
	w.ask.asker = &w.q.asker
	return w
}

// packet answers a question that came over UDP.
func (w *worker) packet(c *packetConn, p *packet) {
	w.n[nUDP]++
	if p.cut || !p.peer.IsValid() {
		w.n[nMalformed]++
		return
	}
	w.ask.peer, w.ask.udp, w.ask.tcp = p.peer, c, nil
	w.deliver(&w.ask, w.handle(p.data, w.room(&w.ask)))
}

// message answers a question that came over TCP.
func (w *worker) message(c *client, p []byte) {
	w.n[nTCP]++
	w.ask.peer, w.ask.udp, w.ask.tcp = c.peer, nil, c
	w.deliver(&w.ask, w.handle(p, w.room(&w.ask)))
}

// room is where an answer is to be made.
func (w *worker) room(a *asked) []byte {
	if a.udp == nil {
		return w.lone[:0]
	}
	if w.to != a.udp || w.replies.full() {
		w.flushReplies()
		w.to = a.udp
	}
	return w.replies.room()
}

// deliver sends an answer that was made in room, if it is one.
func (w *worker) deliver(a *asked, reply []byte) {
	switch {
	case len(reply) == 0:
	case a.udp != nil:
		w.replies.add(reply, a.peer)
	default:
		w.lone = reply[:0]
		if !a.tcp.send(reply) {
			w.n[nUnsent]++
		}
	}
}

func (w *worker) flushReplies() {
	if w.to != nil && w.replies.used > 0 {
		w.replies.send(w.to, func(int, error) { w.n[nUnsent]++ })
	}
	w.to = nil
}

// flush sends everything and adds up what was counted.
func (w *worker) flush() {
	for w.via != nil || len(w.again) > 0 {
		w.flushAsks()
		retry := w.again
		w.again = nil
		for _, f := range retry {
			w.try(f)
		}
	}
	w.n.flush(&w.r.counts) // before whoever asked can look
	w.flushReplies()
	w.n.flush(&w.r.counts)
}

// handle answers a question into out, or starts or joins what will, and returns nothing.
func (w *worker) handle(p, out []byte) []byte {
	r, q, a := w.r, &w.q, &w.ask
	size := maxTCP
	if a.udp != nil {
		size = r.c.MaxUDP
	}
	todo := q.read(p, size, a.udp != nil)
	if todo == drop {
		w.n[nMalformed]++
		return nil
	}
	if !r.limit.allow(a.peer.Addr(), w.now) {
		w.n[nLimited]++
		return r.replyPlain(out, a.asker, rcodeRefused, tooOften)
	}
	if todo != proceed {
		return w.unfit(todo, out)
	}
	a.name = q.name()
	key := q.key[:q.keyLen]
	hash := r.cache.hash(key)
	var stale *entry
	if subnet := r.c.ForwardSubnet && q.subnet != nil; !subnet {
		e, fresh := r.cache.find(hash, key, w.now)
		if fresh {
			w.n[nCached]++
			return w.give(a, e, 0, out)
		}
		stale = e
	}
	if v := r.c.Engine.CheckName(filter.Name, a.name); v.Action == filter.Deny {
		return w.deny(a, &ruling{action: v.Action, verdict: v}, "", out)
	}
	if rcode, is := r.upgrade(a.name); is {
		w.n[nUpgrade]++
		r.report(a, &ruling{action: filter.Deny, reason: ReasonUpgrade}, rcode, "")
		return r.replyNothing(out, a.asker, rcode, noUpgrade)
	}
	if q.qtype == typeANY {
		return r.replyANY(out, a.asker)
	}
	return w.forward(a, hash, stale, out)
}

// unfit answers what is no question that a resolver of this kind answers.
func (w *worker) unfit(todo outcome, out []byte) []byte {
	r, a := w.r, w.ask.asker
	w.n[nUnsupported]++
	switch todo {
	case notImp:
		return r.replyPlain(out, a, rcodeNotImp, silent)
	case badVers:
		return r.replyPlain(out, a, rcodeBadVers, silent)
	case badClass:
		return r.replyPlain(out, a, rcodeRefused, onlyIN)
	case badType:
		return r.replyPlain(out, a, rcodeNotImp, noSuchType)
	}
	w.n[nUnsupported]--
	w.n[nMalformed]++
	a.question = nil // whatever it was
	return r.replyPlain(out, a, rcodeFormErr, silent)
}

// deny answers what a ruling is against.
func (w *worker) deny(a *asked, found *ruling, upstream string, out []byte) []byte {
	if found.reason == ReasonRebind {
		w.n[nRebind]++
	} else {
		w.n[nBlocked]++
	}
	out = w.r.replyDenied(out, a.asker, found.explain(w.text[:0]))
	w.r.report(a, found, get16(out, 2)&rcodeMask, upstream)
	return out
}

// give answers with what is kept or has just come, if the feeds have nothing against it.
func (w *worker) give(a *asked, e *entry, stale time.Duration, out []byte) []byte {
	r := w.r
	if now := r.generation(); e.passed.Load() != now {
		switch found := r.judge(a.name, e.answer); found.action {
		case filter.Deny:
			return w.deny(a, &found, e.upstream, out)
		case filter.Alert:
			w.n[nAlerted]++
			r.report(a, &found, e.rcode, e.upstream)
		default:
			e.passed.Store(now)
		}
	}
	age := w.now - e.at
	if r.c.Names != nil && e.direct > 0 {
		r.learn(a.name, e, w.now, stale)
	}
	why := silent
	if stale != 0 {
		why = outdated
	}
	reply, cut := r.replyFrom(out, a.asker, e.answer, age, stale, why)
	if cut {
		w.n[nTruncated]++
	}
	return reply
}

// often is how often Names is told of the same answer.
const often = time.Second

// learn tells Names of the addresses in an answer.
func (r *Resolver) learn(name string, e *entry, now, stale time.Duration) {
	last := e.told.Load()
	if last != 0 && now-time.Duration(last) < often {
		return
	}
	ttl := max(e.life-(now-e.at), stale)
	for _, addr := range e.addrs[:e.direct] {
		addr = addr.Unmap()
		r.c.Names.Learn(addr, name, ttl)
		for _, n := range e.names {
			if n != name {
				r.c.Names.Learn(addr, n, ttl)
			}
		}
	}
	e.told.Store(int64(max(now, 1)))
}
