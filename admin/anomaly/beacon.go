package anomaly

import (
	"math"
	"slices"
)

const (
	// mostCalls is how many calls to a destination are kept.
	mostCalls = 64
	// mostDests bounds the destinations of a workload that are watched.
	mostDests = 128
	// together is within which time (ms) requests are one call: a name is asked for,
	// connected to and spoken with in one go.
	together = 5_000
	// leastIntervals for which regularity is judged at all, and firmIntervals from which on
	// the laxer bound holds, since chance has less of a say.
	leastIntervals = 8
	firmIntervals  = 16
	// The most that the coefficient of variation of regular intervals is: jitter of ±30 % evenly
	// spread has 0.17, a client that waits at random between a fifth and nine fifths of a time
	// has 0.46, and random arrivals have 1. The less there are, the more chance has a say; so
	// it has where the latest of many are looked at after each call.
	mostSpread       = 0.16
	mostSpreadLatest = 0.22
	mostSpreadFirm   = 0.30
	// What follows is of the comb, see comb.
	combCalls  = 32
	combHits   = 0.60
	combSigmas = 6.0
	combWidth  = 0.05
	// Unseen destinations keep their place for three of their intervals, at least leastKeep
	// and at most mostKeep (ms).
	leastKeep = 10 * 60_000
	mostKeep  = 48 * 3_600_000
	destBytes = 200
)

// dest is an external destination that was not known when learning ended.
type dest struct {
	name  string
	calls []int64 // Unix ms, ascending, at most mostCalls
	last  int64   // of the latest request
	total uint64  // calls
}

// beacons watches the external destinations of a workload that are new. It is bounded, and
// the place of one that keeps calling is not taken: see keep.
type beacons struct {
	index map[string]int32
	list  []*dest
	hand  int
	// overflow counts requests to destinations for which there was no place.
	overflow uint64
}

// regular is what makes a beacon of a destination.
type regular struct {
	calls  uint64
	period float64 // seconds
	spread float64 // coefficient of variation of the intervals, at most limit
	limit  float64
	// comb says that it was found below other calls, of which hits (0 to 1) are the share
	// that is followed by one a period later, and chance what would be by chance.
	comb         bool
	hits, chance float64
}

// keep is for how long (ms) after its latest request a destination keeps its place.
func (d *dest) keep() int64 {
	if len(d.calls) < 2 {
		return leastKeep
	}
	mean := (d.calls[len(d.calls)-1] - d.calls[0]) / int64(len(d.calls)-1)
	return min(max(3*mean, leastKeep), mostKeep)
}

// see notes a request. It returns the destination if that was a new call, nil otherwise.
func (b *beacons) see(name string, at int64, room int) (d *dest, grown int) {
	i, ok := b.index[name]
	if !ok {
		d = &dest{name: name, calls: []int64{at}, last: at, total: 1}
		return nil, b.place(d, at, room)
	}
	d = b.list[i]
	if at-d.last < together {
		d.last = max(d.last, at)
		return nil, 0
	}
	d.last = at
	d.total++
	if len(d.calls) == mostCalls {
		copy(d.calls, d.calls[1:])
		d.calls[mostCalls-1] = at
		return d, 0
	}
	was := cap(d.calls)
	d.calls = append(d.calls, at)
	return d, 8 * (cap(d.calls) - was)
}

func (b *beacons) place(d *dest, now int64, room int) (grown int) {
	size := destSize(d)
	if len(b.list) < mostDests {
		if size > room {
			b.overflow++
			return 0
		}
		if b.index == nil {
			b.index = map[string]int32{}
		}
		b.index[d.name] = int32(len(b.list)) // #nosec G115 -- at most mostDests
		b.list = append(b.list, d)
		return size
	}
	for range handSteps {
		b.hand = (b.hand + 1) % len(b.list)
		if old := b.list[b.hand]; now-old.last > old.keep() {
			delete(b.index, old.name)
			b.index[d.name] = int32(b.hand) // #nosec G115 -- below mostDests
			b.list[b.hand] = d
			return size - destSize(old)
		}
	}
	b.overflow++
	return 0
}

func destSize(d *dest) int { return destBytes + len(d.name) + 8*cap(d.calls) }

func (b *beacons) bytes() int {
	n := 0
	for _, d := range b.list {
		n += destSize(d)
	}
	return n
}

// judge says whether the calls are regular. scale multiplies the bounds of the spread.
func (d *dest) judge(scale float64) (regular, bool) {
	n := len(d.calls) - 1
	if n < leastIntervals {
		return regular{}, false
	}
	mean, spread := spreadOf(d.calls)
	most := mostSpread
	if n >= firmIntervals {
		most = mostSpreadFirm
	}
	if spread > most*scale && n > firmIntervals {
		// A beacon that was silent for a while is one all the same.
		mean, spread = spreadOf(d.calls[len(d.calls)-1-firmIntervals:])
		most = mostSpreadLatest
	}
	if spread <= most*scale {
		return regular{calls: d.total, period: mean / 1000, spread: spread, limit: most * scale}, true
	}
	if len(d.calls) >= combCalls && d.total%8 == 0 {
		if r, ok := comb(d.calls, combSigmas/scale); ok {
			r.calls = d.total
			return r, true
		}
	}
	return regular{}, false
}

// spreadOf returns the mean of the intervals (ms) and their coefficient of variation. From 16
// intervals on, an eighth of them is left out at the long end: beats that were missed.
func spreadOf(calls []int64) (mean, spread float64) {
	var room [mostCalls]float64
	gaps := room[:0]
	for i := 1; i < len(calls); i++ {
		gaps = append(gaps, float64(calls[i]-calls[i-1]))
	}
	if len(gaps) >= firmIntervals {
		slices.Sort(gaps)
		gaps = gaps[:len(gaps)-len(gaps)/8]
	}
	for _, g := range gaps {
		mean += g
	}
	mean /= float64(len(gaps))
	if mean <= 0 {
		return 0, math.Inf(1)
	}
	var sum float64
	for _, g := range gaps {
		sum += (g - mean) * (g - mean)
	}
	return mean, math.Sqrt(sum/float64(len(gaps))) / mean
}

// comb looks for a beacon below other calls to the same destination, which spoil the spread
// of the intervals. For each distance between near calls as the period, it counts the calls
// that are followed by another a period later, ±5 %, and compares with how many would be by
// chance at that density. It takes at most some 200 × 64 steps.
func comb(calls []int64, sigmas float64) (best regular, ok bool) {
	span := float64(calls[len(calls)-1] - calls[0])
	density := float64(len(calls)) / span
	bestZ := sigmas
	for k := 1; k <= 4; k++ {
		for i := 0; i+k < len(calls); i++ {
			period := float64(calls[i+k] - calls[i])
			if period < 2*together || period*8 > span {
				continue
			}
			width := max(combWidth*period, 500)
			chance := 1 - math.Exp(-2*width*density)
			hits, of, j := 0, 0, 0
			for _, t := range calls {
				from, to := float64(t)+period-width, float64(t)+period+width
				if to > float64(calls[len(calls)-1]) {
					break
				}
				of++
				for j < len(calls) && float64(calls[j]) < from {
					j++
				}
				if j < len(calls) && float64(calls[j]) <= to {
					hits++
				}
			}
			if of < combCalls/2 {
				continue
			}
			share := float64(hits) / float64(of)
			z := (share - chance) / math.Sqrt(chance*(1-chance)/float64(of))
			if share >= combHits && z > bestZ {
				bestZ, ok = z, true
				best = regular{period: period / 1000, comb: true, hits: share, chance: chance}
			}
		}
	}
	return best, ok
}
