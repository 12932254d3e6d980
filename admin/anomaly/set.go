package anomaly

// entry is a value that was met.
type entry struct {
	value string
	// windows in which it was met, and the first and the last of them.
	windows     uint32
	first, last int32
}

// usual says that a value was met in two windows: one visit teaches nothing.
func (e *entry) usual() bool { return e.windows >= 2 }

// mostHold is for how many windows (30 days) a value may keep its place unseen.
const mostHold = 30 * 24 * windowsPerHour

// hold is for how many windows the place of a value is kept after it was last met: an hour
// for each window in which it was met, and nothing for one that was met in a single one.
func (e *entry) hold() int32 {
	if !e.usual() {
		return 0
	}
	return int32(min(e.windows, mostHold/windowsPerHour)) * windowsPerHour // #nosec G115 -- at most mostHold
}

// set holds the values of one dimension of one side. Its size is bounded, and a flood of
// other values takes no place of one that has earned it: see hold. It is not safe for
// concurrent use.
type set struct {
	most  int
	index map[string]int32
	list  []entry
	hand  int
	// late counts the windows with something new in the second half of the learning time,
	// and later those of the day; lateWindow is the last of them.
	late       int
	lateWindow int32
	// open says that something new is nothing special, see openMost.
	open bool
	// overflow counts values for which there was no place.
	overflow uint64
}

const (
	entryBytes = 96 // an entry, its place in the index and what the map adds
	// openMost is in how many windows of half a learning time, or of a day later, something
	// new may be met in a set that can be learned.
	openMost = 12
	// handSteps bounds the search for a place.
	handSteps = 16
)

// find returns the entry of a value, nil for none.
func (s *set) find(v string) *entry {
	if i, ok := s.index[v]; ok {
		return &s.list[i]
	}
	return nil
}

// met notes a value that the set has in a window.
func (e *entry) met(window int32) {
	if e.last < window {
		e.last = window
		if e.windows < mostHold {
			e.windows++
		}
	}
}

// add takes a value in that find did not find. It returns by how many octets the set has
// grown, and whether there was a place. room is how many octets it may grow by.
func (s *set) add(v string, window int32, room int) (grown int, ok bool) {
	if s.lateWindow != window {
		s.lateWindow = window
		s.late++
	}
	size := entryBytes + len(v)
	if len(s.list) < s.most {
		if size > room {
			s.overflow++
			return 0, false
		}
		if s.index == nil {
			s.index = map[string]int32{}
		}
		s.index[v] = int32(len(s.list)) // #nosec G115 -- at most most
		s.list = append(s.list, entry{v, 1, window, window})
		return size, true
	}
	for range min(handSteps, len(s.list)) {
		s.hand = (s.hand + 1) % len(s.list)
		e := &s.list[s.hand]
		if window-e.last <= e.hold() {
			continue
		}
		if size-entryBytes-len(e.value) > room {
			break
		}
		grown = len(v) - len(e.value)
		delete(s.index, e.value)
		s.index[v] = int32(s.hand) // #nosec G115 -- below most
		*e = entry{v, 1, window, window}
		return grown, true
	}
	s.overflow++
	return 0, false
}

// judge decides whether the set can be learned, at the end of the learning time and of each
// day after it. Only the end of the learning time opens a set: who would be met with an
// alert later cannot first make a noise for a day so that there is none.
func (s *set) judge(learned bool) {
	if learned {
		s.open = s.late > openMost
	} else if s.open && s.late <= openMost/2 {
		s.open = false
	}
	s.late, s.lateWindow = 0, 0
}

func (s *set) bytes() int {
	n := 0
	for i := range s.list {
		n += entryBytes + len(s.list[i].value)
	}
	return n
}
