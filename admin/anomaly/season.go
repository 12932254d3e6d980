package anomaly

const (
	hoursPerDay  = 24
	hoursPerWeek = 7 * hoursPerDay
	// weight of the newest week in the average of an hour.
	newest = 0.3
)

// season holds how many there are in each hour of the week (UTC, from Thursday, as Unix time
// is), as an exponentially weighted average over the weeks. An hour of which no week is
// known yet is taken from the same hour of the other days.
type season struct {
	cell  [hoursPerWeek]float32
	weeks [hoursPerWeek]uint8 // known weeks, up to 255
}

// teach takes the count of an hour in. limit bounds what one hour can teach, so that a flood
// is not usual the week after.
func (s *season) teach(hour int64, count, limit float64) {
	i := cellOf(hour)
	x := float32(min(count, limit))
	if s.weeks[i] == 0 {
		s.cell[i] = x
	} else {
		s.cell[i] += newest * (x - s.cell[i])
	}
	if s.weeks[i] < 255 {
		s.weeks[i]++
	}
}

// usual returns the lowest and the highest average of an hour and its two neighbours, since a
// job that starts ten minutes late is no change. exact says that the hour of the week itself
// is known, and not just the same hour of other days.
func (s *season) usual(hour int64) (low, high float64, exact bool) {
	exact = s.weeks[cellOf(hour)] > 0
	found := false
	for h := hour - 1; h <= hour+1; h++ {
		i := cellOf(h)
		if s.weeks[i] > 0 {
			low, high, found = widen(low, high, float64(s.cell[i]), found)
			continue
		}
		for j := i % hoursPerDay; j < hoursPerWeek; j += hoursPerDay {
			if s.weeks[j] > 0 {
				low, high, found = widen(low, high, float64(s.cell[j]), found)
			}
		}
	}
	return low, high, exact
}

// known is for how many weeks an hour of the week is known.
func (s *season) known(hour int64) int { return int(s.weeks[cellOf(hour)]) }

func widen(low, high, x float64, found bool) (float64, float64, bool) {
	if !found {
		return x, x, true
	}
	return min(low, x), max(high, x), true
}

func cellOf(hour int64) int {
	return int(((hour % hoursPerWeek) + hoursPerWeek) % hoursPerWeek)
}
