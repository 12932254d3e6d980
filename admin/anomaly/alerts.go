package anomaly

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"pavise.dev/pavise/internal/decisions"
)

const (
	// mostAlerts bounds what is held in all, mostOfOne of one workload, so that one that is
	// noisy does not take the place of all others.
	mostAlerts = 4096
	mostOfOne  = 256
	// sameFor is how long an alert is the same one after it was last met.
	sameFor = 24 * time.Hour
	// MostPage is the largest page of alerts.
	MostPage = 1000
	// mostFollowers bounds those who follow, and backlog what waits for each.
	mostFollowers = 64
	backlog       = 256
)

// Filter selects alerts. Every condition that is not zero has to hold.
type Filter struct {
	Namespace string
	Workload  string
	Kind      Kind
	// Severity is the least.
	Severity Severity
	Since    time.Time // last met at or after it
}

func (f *Filter) check() error {
	if f.Kind != "" && !f.Kind.known() {
		return fmt.Errorf("anomaly: kind is %q; it is one of %v", f.Kind, Kinds)
	}
	if f.Severity != "" && f.Severity.rank() < 0 {
		return fmt.Errorf("anomaly: severity is %q; it is one of %v", f.Severity, Severities)
	}
	return nil
}

func (f *Filter) matches(a *Alert) bool {
	return (f.Workload == "" || f.Workload == a.Workload) &&
		(f.Namespace == "" || len(a.Workload) > len(f.Namespace) && a.Workload[:len(f.Namespace)] == f.Namespace &&
			a.Workload[len(f.Namespace)] == '/') &&
		(f.Kind == "" || f.Kind == a.Kind) &&
		(f.Severity == "" || a.Severity.rank() >= f.Severity.rank()) &&
		(f.Since.IsZero() || !a.Last.Before(f.Since))
}

// Page is some alerts, the one that was raised last first.
type Page struct {
	Alerts []Alert `json:"alerts"`
	// Next is the cursor of the next page; empty at the end.
	Next string `json:"next,omitempty"`
}

// Event is what a follower is told: an alert that is new or has become more severe.
type Event struct {
	Alert Alert `json:"alert"`
	// Lost is how many events before this one the follower was too slow for.
	Lost uint64 `json:"lost,omitempty"`
}

type held struct {
	Alert
	seq   uint64
	bytes int
}

type follower struct {
	events chan Event
	lost   uint64
}

// alerts holds what was raised. It is safe for concurrent use.
type alerts struct {
	mostBytes int

	mu        sync.Mutex
	seq       uint64
	bytes     int
	list      []*held // ascending by seq
	by        map[subject]*held
	of        map[string]int
	followers map[*follower]struct{}
	raised    map[Kind]uint64
	evicted   uint64
	muted     uint64
	lost      uint64
	mutes     []Mute
}

// raise takes an alert in: as a new one, or as one more of one that is there.
func (s *alerts) raise(a Alert, r *decisions.Record, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.mutes {
		if s.mutes[i].mutes(&a, now) {
			s.muted++
			return
		}
	}
	key := a.subject()
	h := s.by[key]
	if h != nil && a.First.Sub(h.Last) > sameFor {
		h = nil // the old one stays in the list
	}
	tell := h == nil
	if h == nil {
		s.seq++
		a.ID = "a" + strconv.FormatUint(s.seq, 16)
		a.Count = 1
		h = &held{Alert: a, seq: s.seq}
		s.by[key] = h
		s.of[a.Workload]++
		s.list = append(s.list, h)
		s.raised[a.Kind]++
	} else {
		s.bytes -= h.bytes
		h.Count++
		if h.Last.Before(a.Last) {
			h.Last = a.Last
		}
		h.Why, h.Evidence = a.Why, a.Evidence
		if a.Severity.rank() > h.Severity.rank() {
			h.Severity, tell = a.Severity, true
		}
	}
	if r != nil && len(h.Examples) < mostExamples {
		example := *r
		example.Bound()
		h.Examples = append(h.Examples, example)
	}
	h.bytes = h.Alert.bytes()
	s.bytes += h.bytes
	if s.of[a.Workload] > mostOfOne {
		s.evict(a.Workload, h)
	}
	for len(s.list) > 1 && (len(s.list) > mostAlerts || s.bytes > s.mostBytes) {
		s.evict("", h)
	}
	if tell {
		s.tell(h)
	}
}

// evict drops the oldest of the least severe alerts, of a workload or of all, but not keep.
func (s *alerts) evict(workload string, keep *held) {
	worst := -1
	for i, h := range s.list {
		if h == keep || workload != "" && h.Workload != workload {
			continue
		}
		if worst < 0 || h.Severity.rank() < s.list[worst].Severity.rank() {
			worst = i
		}
	}
	if worst < 0 {
		return
	}
	h := s.list[worst]
	s.list = append(s.list[:worst], s.list[worst+1:]...)
	if key := h.subject(); s.by[key] == h {
		delete(s.by, key)
	}
	if s.of[h.Workload]--; s.of[h.Workload] == 0 {
		delete(s.of, h.Workload)
	}
	s.bytes -= h.bytes
	s.evicted++
}

func (s *alerts) tell(h *held) {
	for f := range s.followers {
		select {
		case f.events <- Event{Alert: h.copyOut(), Lost: f.lost}:
			f.lost = 0
		default:
			f.lost++
			s.lost++
		}
	}
}

// Alerts returns a page: those that match and were raised before the cursor, which is that of
// the page before or empty. limit is from 1 to MostPage. Paging is stable while alerts are
// raised.
func (d *Detector) Alerts(f Filter, cursor string, limit int) (Page, error) {
	if err := f.check(); err != nil {
		return Page{}, err
	}
	if limit < 1 || limit > MostPage {
		return Page{}, fmt.Errorf("anomaly: limit is %d; it is from 1 to %d", limit, MostPage)
	}
	before := ^uint64(0)
	if cursor != "" {
		var err error
		if before, err = strconv.ParseUint(cursor, 16, 64); err != nil || len(cursor) > 16 {
			return Page{}, fmt.Errorf("anomaly: cursor is no cursor of a page; it is what a page has as next")
		}
	}
	s := &d.alerts
	s.mu.Lock()
	defer s.mu.Unlock()
	page := Page{Alerts: []Alert{}}
	for i := len(s.list) - 1; i >= 0; i-- {
		h := s.list[i]
		if h.seq >= before || !f.matches(&h.Alert) {
			continue
		}
		if len(page.Alerts) == limit {
			page.Next = strconv.FormatUint(before, 16)
			break
		}
		page.Alerts = append(page.Alerts, h.copyOut())
		if len(page.Alerts) == limit {
			before = h.seq
		}
	}
	return page, nil
}

// Alert returns one by its id.
func (d *Detector) Alert(id string) (Alert, bool) {
	s := &d.alerts
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.list {
		if h.ID == id {
			return h.copyOut(), true
		}
	}
	return Alert{}, false
}

// Follow returns a channel of what is raised from now on. It is closed when ctx ends. A slow
// reader loses events, and is told how many; it keeps nobody waiting. At most 64 can follow.
func (d *Detector) Follow(ctx context.Context) (<-chan Event, error) {
	s := &d.alerts
	f := &follower{events: make(chan Event, backlog)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.followers) >= mostFollowers {
		return nil, fmt.Errorf("anomaly: %d follow already; at most %d can", len(s.followers), mostFollowers)
	}
	s.followers[f] = struct{}{}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.followers, f)
		close(f.events)
	})
	return f.events, nil
}

// SetMutes replaces the mutes. Alerts that are there stay.
func (d *Detector) SetMutes(mutes []Mute) error {
	if err := checkMutes(mutes); err != nil {
		return err
	}
	d.alerts.mu.Lock()
	defer d.alerts.mu.Unlock()
	d.alerts.mutes = append([]Mute(nil), mutes...)
	return nil
}

// Mutes returns the mutes that hold.
func (d *Detector) Mutes() []Mute {
	d.alerts.mu.Lock()
	defer d.alerts.mu.Unlock()
	return append([]Mute(nil), d.alerts.mutes...)
}
