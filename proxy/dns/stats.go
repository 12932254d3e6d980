package dns

import (
	"sync/atomic"
	"time"
)

// What is counted. Workers count by themselves and add up once for each batch.
const (
	nUDP = iota
	nTCP
	nMalformed
	nUnsupported
	nBlocked
	nAlerted
	nRebind
	nUpgrade
	nCached
	nStale
	nForwarded
	nMerged
	nLimited
	nOverload
	nFailed
	nTruncated
	nUnsent
	nDropped
	nStray
	nCaseChanged
	nHostile
	nConnsRefused
	counters
)

type tally [counters]uint64

// Stats are counts since the Resolver was made, but for those that say now.
type Stats struct {
	// UDP and TCP are packets and messages that came.
	UDP, TCP uint64
	// Malformed were no questions or malformed ones, Unsupported had another opcode, class or
	// kind of type.
	Malformed, Unsupported uint64
	// Blocked were denied by feeds, Rebind because of a private address, Upgrade since the
	// client looked for another resolver. Alerted were reported and answered.
	Blocked, Rebind, Upgrade, Alerted uint64
	// Cached were found in the cache, where what is denied counts too; Stale were answered by
	// an answer behind its time.
	Cached, Stale uint64
	// Forwarded were sent to an upstream, Merged waited for the answer to another's.
	Forwarded, Merged uint64
	// Limited were more than a client may ask, Overload more than may wait.
	Limited, Overload uint64
	// Failed were answered with a failure since no upstream gave a usable answer.
	Failed uint64
	// Truncated answers were too long for UDP. Unsent ones could not be sent.
	Truncated, Unsent uint64
	// Dropped packets, questions or answers of upstreams, found the buffer of a socket full and
	// were thrown away by the system. Where net.core.rmem_max is low, raising it helps.
	Dropped uint64
	// Stray packets came from an upstream and answer nothing that waits for one: late ones,
	// and forged ones. CaseChanged had the question in another case and were asked again
	// over TCP. Hostile answers could not be read whole.
	Stray, CaseChanged, Hostile uint64
	// ConnsRefused are TCP connections beyond the most there may be.
	ConnsRefused uint64

	// Flights, Conns, Entries and Octets are now: questions under way, TCP connections, and
	// what is in the cache. Evicted left it before their time.
	Flights, Conns, Entries, Octets int
	Evicted                         uint64

	Upstreams []UpstreamStats
}

// UpstreamStats are those of one upstream.
type UpstreamStats struct {
	Name string
	// Down: it did not answer of late, and is asked after the others.
	Down bool
	// Asked counts attempts, Failures those without an answer. Answers are by the time they
	// took: Latency[i] took at most LatencyBounds[i] and more than the one before; the last
	// took longer than all. Total is the time all together took.
	Asked, Failures uint64
	Latency         [len(LatencyBounds) + 1]uint64
	Total           time.Duration
}

// LatencyBounds are the bounds of UpstreamStats.Latency.
var LatencyBounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second,
}

// latency counts answers by the time they took.
type latency struct {
	buckets [len(LatencyBounds) + 1]atomic.Uint64
	total   atomic.Int64
}

func (l *latency) add(d time.Duration) {
	i := 0
	for i < len(LatencyBounds) && d > LatencyBounds[i] {
		i++
	}
	l.buckets[i].Add(1)
	l.total.Add(int64(d))
}

// Stats counts what was done. It may be called at any time.
func (r *Resolver) Stats() Stats {
	var n tally
	for i := range n {
		n[i] = r.counts[i].Load()
	}
	s := Stats{
		UDP: n[nUDP], TCP: n[nTCP], Malformed: n[nMalformed], Unsupported: n[nUnsupported],
		Blocked: n[nBlocked], Rebind: n[nRebind], Upgrade: n[nUpgrade], Alerted: n[nAlerted],
		Cached: n[nCached], Stale: n[nStale], Forwarded: n[nForwarded], Merged: n[nMerged],
		Limited: n[nLimited], Overload: n[nOverload], Failed: n[nFailed],
		Truncated: n[nTruncated], Unsent: n[nUnsent], Dropped: n[nDropped],
		Stray: n[nStray], CaseChanged: n[nCaseChanged], Hostile: n[nHostile], ConnsRefused: n[nConnsRefused],
		Flights: int(r.flying.Load()), Conns: int(r.conns.Load()),
	}
	s.Entries, s.Octets, s.Evicted = r.cache.size()
	r.mu.Lock()
	packets := r.packets
	r.mu.Unlock()
	for _, c := range packets {
		s.Dropped += c.dropped()
	}
	if g := r.group.Load(); g != nil {
		for _, u := range g.all() {
			for _, c := range u.pool.sockets(nil) {
				s.Dropped += c.dropped()
			}
		}
		now := r.now()
		for _, u := range g.list {
			us := UpstreamStats{
				Name: u.String(), Down: u.down(now), Asked: u.asked.Load(), Failures: u.failures.Load(),
				Total: time.Duration(u.latency.total.Load()),
			}
			for i := range us.Latency {
				us.Latency[i] = u.latency.buckets[i].Load()
			}
			s.Upstreams = append(s.Upstreams, us)
		}
	}
	return s
}

// flush adds what a worker counted.
func (t *tally) flush(to *[counters]atomic.Uint64) {
	for i, n := range t {
		if n != 0 {
			to[i].Add(n)
			t[i] = 0
		}
	}
}
