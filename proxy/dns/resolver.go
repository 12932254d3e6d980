package dns

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Resolver answers a workload. Make one with New, then call Listen and Run once each.
type Resolver struct {
	c          Config
	lives      lifetimes
	soa        []byte
	cache      *cache
	limit      *limiter
	flights    flights
	flying     atomic.Int64
	conns      atomic.Int64
	wake       chan struct{} // there is a flight whose time may run out
	sessions   tls.ClientSessionCache
	start      time.Time
	counts     [counters]atomic.Uint64
	complained atomic.Int64

	own   atomic.Pointer[zones]
	group atomic.Pointer[group]
	era   eraPointer

	addrs     []netip.AddrPort
	packets   []*packetConn
	listeners []*net.TCPListener
	lastConf  []byte

	// ctx is that of Run: of every goroutine and dial.
	ctx   context.Context //nolint:containedctx // goroutines begin when a question needs them
	mu    sync.Mutex      // of ended and packets
	ended bool
	wg    sync.WaitGroup
}

// New checks a configuration.
func New(c Config) (*Resolver, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	r := &Resolver{
		c:     c,
		lives: lifetimes{c.MinTTL, c.MaxTTL, c.MaxNegative},
		soa:   makeSOA(c.BlockedTTL),
		cache: newCache(max(c.CacheOctets, 0), max(c.CacheEntries, 0), max(c.Stale, 0)),
		limit: newLimiter(c.PerClient, c.Burst),
		wake:  make(chan struct{}, 1),
		start: time.Now().Add(-time.Second), // so that no time on the clock is 0

		sessions: tls.NewLRUClientSessionCache(maxUpstreams),
	}
	for i := range r.flights.shard {
		r.flights.shard[i].m = map[uint64]*flight{}
	}
	return r, nil
}

// now is the clock of the resolver, which nobody sets.
func (r *Resolver) now() time.Duration { return time.Since(r.start) }

// Listen opens the sockets, so that an address that is taken is known at once, and reads
// which upstreams there are. It returns the addresses, each for UDP and TCP.
func (r *Resolver) Listen(ctx context.Context) ([]netip.AddrPort, error) {
	var errs []error
	for _, a := range r.c.Listen {
		err := r.listen(ctx, a)
		missing := errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
		if missing && !r.c.explicit && a.Addr().Is6() {
			r.c.Logger.Info("there is no IPv6 here; the resolver does without", "address", a)
			continue
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		r.closeSockets()
		return nil, err
	}
	raw, err := r.configure()
	if r.group.Load() == nil {
		r.closeSockets()
		return nil, fmt.Errorf("resolver: %w", err)
	}
	if err != nil {
		r.c.Logger.Warn("not all of resolv.conf can be used", "error", err)
	}
	r.lastConf = raw
	return r.addrs, nil
}

// Run answers until the context ends, and returns when everything it started has. An error
// is one of a socket that cannot be used any more.
func (r *Resolver) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.mu.Lock()
	r.ctx = ctx
	r.mu.Unlock()
	for _, c := range r.packets {
		r.spawn(func() { r.servePackets(c, cancel) })
	}
	for _, l := range r.listeners {
		r.spawn(func() { r.serveConns(l, cancel) })
	}
	r.spawn(func() { r.expire(ctx) })
	r.spawn(func() { r.follow(ctx, r.lastConf) })
	<-ctx.Done()
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.closeSockets()
	for _, u := range r.group.Load().all() {
		u.close()
	}
	r.wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// complain logs what a client or an upstream can make happen as often as it likes: once
// a second at the most. All of it is counted.
func (r *Resolver) complain(now time.Duration, text string, args ...any) {
	last := r.complained.Load()
	if now-time.Duration(last) >= time.Second && r.complained.CompareAndSwap(last, int64(now)) {
		r.c.Logger.Warn(text, args...)
	}
}

// spawn starts a goroutine that Run waits for; not once Run ends.
func (r *Resolver) spawn(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return false
	}
	r.wg.Go(f)
	return true
}

func (r *Resolver) closeSockets() {
	for _, c := range r.packets {
		_ = c.Close()
	}
	for _, l := range r.listeners {
		_ = l.Close()
	}
}

// expire ends what waits too long, and sleeps while nothing waits.
func (r *Resolver) expire(ctx context.Context) {
	w := r.newWorker(askBatch)
	every := min(max(r.c.Attempt/20, 2*time.Millisecond), 50*time.Millisecond)
	tick := time.NewTimer(every)
	defer tick.Stop()
	var sockets []*udpSocket
	var late []attempt
	for {
		if r.flying.Load() == 0 {
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
			}
		}
		tick.Reset(every)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.now = r.now()
		for _, u := range r.group.Load().all() {
			late = u.stream.expire(late[:0], w.now)
			sockets = u.pool.sockets(sockets[:0])
			for _, s := range sockets {
				late = s.expire(late, w.now, false)
			}
			for _, a := range late {
				u.fail(a.at, w.now, "no answer in time")
				w.again = append(w.again, a.f)
			}
			clear(late)
			clear(sockets)
		}
		w.flush()
	}
}
