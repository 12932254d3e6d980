package anomaly

import "strings"

// dim is what a source can try one after the other.
type dim int

const (
	dimPorts dim = iota
	dimPaths
	dimNames
	dimPeers
	dims
)

var dimWord = [dims]string{"ports", "paths", "names", "peers"}

// scanLeast is how many unusual ones within a window make a scan, before what is usual for
// the side is asked.
var scanLeast = [dims]float64{dimPorts: 10, dimPaths: 25, dimNames: 20, dimPeers: 20}

const (
	// scanTimes is how often the usual peak a scan has at least.
	scanTimes = 4
	// mostScanners bounds the sources of a window that are told apart. Those beyond are
	// counted together, for which four times as many make a scan.
	mostScanners = 256
	// mostTried is how many different ones of a source are counted.
	mostTried    = 256
	scannerBytes = 160
	triedBytes   = 24
	// others is the name of sources that are counted together.
	others = "*"
)

// scanner is what a source tried in this window that is not usual.
type scanner struct {
	source string
	tried  [dims]map[uint64]struct{}
	over   [dims]bool // a scan
}

// scanners of one window of one side.
type scanners struct {
	of map[string]*scanner
	// peak is how many unusual ones a source usually has in a window at most: raised in the
	// second half of the learning time, and an average that moves slowly after it.
	peak  [dims]float32
	bytes int
}

// limit is how many unusual ones make a scan.
func (s *scanners) limit(source string, k dim, factor float64) float64 {
	n := max(scanLeast[k]*factor, scanTimes*float64(s.peak[k])*max(1, factor))
	if source == others {
		n *= 4
	}
	return min(n, mostTried)
}

// get returns the scanner that a source is counted with, nil for none yet.
func (s *scanners) get(source string) *scanner {
	if c := s.of[source]; c != nil || len(s.of) < mostScanners {
		return c
	}
	return s.of[others]
}

// try notes something unusual. It returns the scanner that it was counted with and how many
// different ones that has tried; 0 where this one is not new or there is no room for it.
func (s *scanners) try(source string, k dim, hash uint64, room int) (c *scanner, n int) {
	c = s.get(source)
	if c == nil {
		if len(s.of) >= mostScanners {
			source = others
		}
		if room < scannerBytes+len(source) {
			return nil, 0
		}
		if s.of == nil {
			s.of = map[string]*scanner{}
		}
		c = &scanner{source: strings.Clone(source)}
		s.of[c.source] = c
		s.bytes += scannerBytes + len(source)
	}
	m := c.tried[k]
	if _, ok := m[hash]; ok || len(m) >= mostTried || room < triedBytes {
		return c, 0
	}
	if m == nil {
		m = map[uint64]struct{}{}
		c.tried[k] = m
	}
	m[hash] = struct{}{}
	s.bytes += triedBytes
	return c, len(m)
}

// end ends a window and returns how many octets that sets free.
func (s *scanners) end(learning, second bool, factor float64) (freed int) {
	var peak [dims]float64
	for name, c := range s.of {
		if name == others {
			continue
		}
		for k := range dims {
			peak[k] = max(peak[k], float64(len(c.tried[k])))
		}
	}
	for k := range dims {
		switch {
		case learning && second:
			s.peak[k] = max(s.peak[k], float32(peak[k]))
		case !learning:
			// What was a scan teaches no more than what was just none.
			s.peak[k] += 0.05 * (float32(min(peak[k], s.limit("", k, factor))) - s.peak[k])
		}
	}
	freed = s.bytes
	s.of, s.bytes = nil, 0
	return freed
}
