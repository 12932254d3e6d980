package dns

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// limitSlots is how many buckets there are. Clients that meet in one share it; which ones
// do is as good as random, and other in every process.
const limitSlots = 4096

// limiter holds a token bucket for each client address, in a table that never grows.
// A bucket is one number, the time at which it will be full again (GCRA), so that asking
// it takes no lock.
type limiter struct {
	seed  maphash.Seed
	each  time.Duration // what one question costs
	burst time.Duration
	slots [limitSlots]atomic.Int64
}

// newLimiter makes one for so many questions a second, and burst at once; nil, which lets
// all by, for 0.
func newLimiter(perSecond, burst int) *limiter {
	if perSecond <= 0 {
		return nil
	}
	each := time.Second / time.Duration(perSecond)
	return &limiter{seed: maphash.MakeSeed(), each: each, burst: each * time.Duration(burst)}
}

func (l *limiter) allow(client netip.Addr, now time.Duration) bool {
	if l == nil {
		return true
	}
	slot := &l.slots[maphash.Comparable(l.seed, client)%limitSlots]
	for {
		was := slot.Load()
		full := max(was, int64(now)) + int64(l.each)
		if full-int64(now) > int64(l.burst) {
			return false
		}
		if slot.CompareAndSwap(was, full) {
			return true
		}
	}
}
