package guard

import (
	"fmt"

	"pavise.dev/pavise/api"
)

// Refused is the error of a guard that refuses a feed as it came.
type Refused struct {
	// Guard is its name, such as api.GuardShrink.
	Guard string
	// Reason says what it found, and where there is one the way out.
	Reason string
}

// Error begins with the name of the guard.
func (r *Refused) Error() string { return r.Guard + ": " + r.Reason }

// Counts are what reading a feed came to.
type Counts struct {
	// Entries were taken.
	Entries int64
	// Unreadable, Unsupported and Guarded ones were not.
	Unreadable, Unsupported, Guarded int64
}

// smallFeed is the size below which a feed may shrink and grow as it likes: of ten
// entries six are gone soon.
const smallFeed = 100

// Whole compares what came with what is in force, which is the zero Counts where
// nothing is. The error is a *Refused.
func (g *Guard) Whole(prev, next Counts) error {
	all := next.Entries + next.Unreadable + next.Unsupported + next.Guarded
	switch {
	case next.Unreadable*100 > int64(g.limits.MaxUnreadable)*all && g.On(api.GuardUnreadable):
		return refuse(api.GuardUnreadable, "%d of %d entries can't be read, which is more than %d percent; is the format right? Or raise guards.maxUnreadable",
			next.Unreadable, all, g.limits.MaxUnreadable)
	case next.Entries <= 0 && g.On(api.GuardEmpty):
		if all == 0 {
			return refuse(api.GuardEmpty, "there is nothing in it")
		}
		return refuse(api.GuardEmpty, "nothing of it could be taken: %d entries can't be read, %d are of a kind that is not supported, guards left %d out",
			next.Unreadable, next.Unsupported, next.Guarded)
	case prev.Entries < smallFeed:
		return nil
	}
	if gone := prev.Entries - next.Entries; gone*100 > int64(g.limits.MaxShrink)*prev.Entries && g.On(api.GuardShrink) {
		return refuse(api.GuardShrink, "it has %d entries and had %d, which is a loss of more than %d percent; if that is right, raise guards.maxShrink",
			next.Entries, prev.Entries, g.limits.MaxShrink)
	}
	if most := int64(g.limits.MaxGrowth) * prev.Entries; next.Entries > most && g.On(api.GuardGrowth) {
		return refuse(api.GuardGrowth, "it has %d entries and had %d, which is more than %d times as many; if that is right, raise guards.maxGrowth",
			next.Entries, prev.Entries, g.limits.MaxGrowth)
	}
	return nil
}

func refuse(guard, format string, args ...any) error {
	return &Refused{Guard: guard, Reason: fmt.Sprintf(format, args...)}
}
