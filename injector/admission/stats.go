package admission

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// Count of an outcome.
type Count struct {
	// Path is inject or validate. Outcome is injected, skipped, refused, update, allowed or
	// error. Reason is the injector's, or the text of an HTTP status; there are a few dozen.
	Path, Outcome, Reason string
	N                     uint64
}

// Stats counts what was answered. The zero value is ready. It is safe for concurrent use.
type Stats struct {
	mu     sync.Mutex
	counts map[Count]uint64 // by keys whose N is 0
}

func (s *Stats) count(path, outcome, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = map[Count]uint64{}
	}
	s.counts[Count{Path: path, Outcome: outcome, Reason: reason}]++
}

// Counts returns what was counted until now, in order. A refused pod counts once for each
// reason that it has.
func (s *Stats) Counts() []Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Count
	for _, c := range slices.SortedFunc(maps.Keys(s.counts), func(a, b Count) int {
		return strings.Compare(a.Path+"\x00"+a.Outcome+"\x00"+a.Reason, b.Path+"\x00"+b.Outcome+"\x00"+b.Reason)
	}) {
		n := s.counts[c]
		c.N = n
		out = append(out, c)
	}
	return out
}
