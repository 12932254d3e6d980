package decisions

import (
	"math"
	"math/rand/v2"
	"strings"
)

// mostSampled bounds how many listeners are sampled apart; the rest share a count.
const mostSampled = 4096

// sampler picks one of every n allows of a listener: the first, so that a listener with
// little to do is seen, and then one of each further n, at a place drawn by lot. By
// blocks, because then a thousand allows make exactly as many lines as they should; by
// lot, because every n-th alone would see only the probe, or never it, where one comes as
// regularly. It is not safe for concurrent use.
type sampler struct {
	n     uint32 // 0 for none
	among map[listener]*block
}

type listener struct{ workload, listener string }

// block is where in the current n allows it is, and which of them to pick.
type block struct{ at, pick uint32 }

// newSampler takes the share of allows to pick, from 0 to 1.
func newSampler(share float64) sampler {
	s := sampler{among: map[listener]*block{}}
	if share > 0 {
		s.n = uint32(min(math.Round(1/share), math.MaxUint32))
	}
	return s
}

// picks says whether a plain record is to be kept.
func (s *sampler) picks(r *Record) bool {
	if s.n <= 1 {
		return s.n == 1
	}
	b := s.among[listener{r.Workload, r.Listener}]
	if b == nil {
		key := listener{strings.Clone(clip(r.Workload, mostNames)), strings.Clone(clip(r.Listener, mostNames))}
		if len(s.among) >= mostSampled {
			key = listener{}
		}
		if b = s.among[key]; b == nil {
			b = new(block)
			s.among[key] = b
		}
	}
	picked := b.at == b.pick
	if b.at++; b.at == s.n {
		b.at, b.pick = 0, rand.Uint32N(s.n) //nolint:gosec // no secret: which line is shown
	}
	return picked
}
