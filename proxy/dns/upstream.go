package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// maxUpstreams bounds how many there are.
	maxUpstreams = 16
	// failuresToDown in a row make an upstream the last to be asked, first for a second, then
	// for twice as long, up to longestDown.
	failuresToDown = 2
	longestDown    = 30 * time.Second
)

// upstream is a resolver that is asked, and how it does.
type upstream struct {
	Upstream
	r      *Resolver
	name   string // of it, as Upstream.String
	pool   udpPool
	stream stream

	asked, failures atomic.Uint64
	latency         latency

	fails     atomic.Int32
	failedAt  atomic.Int64
	downUntil atomic.Int64
	// caseLost is until when its answers are not expected to keep the case of a question.
	caseLost atomic.Int64
}

// group is the upstreams in force, in the order they are asked in, and those that were in
// force before and may still answer.
type group struct {
	list, leaving []*upstream
}

func (g *group) all() []*upstream {
	if g == nil {
		return nil
	}
	return slices.Concat(g.list, g.leaving)
}

func (r *Resolver) newUpstream(u Upstream) *upstream {
	n := &upstream{Upstream: u, r: r, name: u.String()}
	n.pool.u, n.stream.u = n, n
	return n
}

// use puts upstreams in force. Those that stay keep their sockets and what is known of
// them.
func (r *Resolver) use(list []Upstream) error {
	if len(list) == 0 {
		return errors.New("there is no upstream; name one, or a nameserver in resolv.conf")
	}
	if len(list) > maxUpstreams {
		return fmt.Errorf("there are %d upstreams; there can be %d", len(list), maxUpstreams)
	}
	old, next := r.group.Load(), &group{}
	for _, u := range list {
		if err := u.check(); err != nil {
			return err
		}
		if err := r.notSelf(u.Addr); err != nil {
			return err
		}
		same := func(o *upstream) bool { return o.Upstream == u }
		if slices.ContainsFunc(next.list, same) {
			continue
		}
		if i := slices.IndexFunc(old.all(), same); i >= 0 {
			next.list = append(next.list, old.all()[i])
		} else {
			next.list = append(next.list, r.newUpstream(u))
		}
	}
	for _, u := range old.all() {
		if !slices.Contains(next.list, u) {
			next.leaving = append(next.leaving, u)
		}
	}
	r.group.Store(next)
	return nil
}

// notSelf refuses an upstream that is this resolver: it would ask itself forever.
func (r *Resolver) notSelf(a netip.AddrPort) error {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	if slices.Contains(r.addrs, a) {
		return fmt.Errorf("upstream %s is this resolver itself; name the one that it is to ask", a)
	}
	return nil
}

func (u *upstream) down(now time.Duration) bool { return int64(now) < u.downUntil.Load() }

// ok notes an answer to a question of some time ago.
func (u *upstream) ok(took time.Duration) {
	u.latency.add(took)
	if u.fails.Load() != 0 {
		u.fails.Store(0)
		u.downUntil.Store(0)
		u.r.c.Logger.Info("an upstream answers again", "upstream", u.name)
	}
}

// fail notes that a question had no answer. Of all the questions that were under way at
// the time of a failure only one counts.
func (u *upstream) fail(sent, now time.Duration, why string) {
	u.failures.Add(1)
	last := u.failedAt.Load()
	if last != 0 && int64(sent) < last || !u.failedAt.CompareAndSwap(last, int64(max(now, 1))) {
		return
	}
	n := u.fails.Add(1)
	if n < failuresToDown {
		return
	}
	pause := min(time.Second<<min(n-failuresToDown, 5), longestDown)
	u.downUntil.Store(int64(now + pause))
	if n == failuresToDown {
		u.r.c.Logger.Warn("an upstream does not answer; it is asked last for a while", "upstream", u.name, "error", why)
	}
}

// choose finds the upstream to ask next: the first that is not down and was not asked in
// this round, else the one that is down for the shortest, of which there is little hope.
// One that was down is tried with one question.
func (w *worker) choose(f *flight, list []*upstream) (u *upstream, hope bool) {
	if f.tried == 1<<len(list)-1 || f.tried>>len(list) != 0 {
		f.tried = 0
	}
	best := -1
	for i, u := range list {
		if f.tried&(1<<i) != 0 {
			continue
		}
		until := u.downUntil.Load()
		if until == 0 || int64(w.now) >= until && u.downUntil.CompareAndSwap(until, int64(w.now+w.r.c.Attempt)) {
			best, hope = i, true
			break
		}
		if best < 0 || until < list[best].downUntil.Load() {
			best = i
		}
	}
	f.tried |= 1 << best
	return list[best], hope
}
