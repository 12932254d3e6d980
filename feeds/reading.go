package feeds

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"time"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/guard"
)

// reading is the part of a spec that says how a body is read and which entries of it are
// taken. It is kept with the body: a slip in the settings must not take a feed out of
// force that was read well before. There is no secret in it.
type reading struct {
	Content       api.FeedContent      `json:"content,omitempty"`
	Format        api.FeedFormat       `json:"format,omitempty"`
	CSV           *api.FeedCSVOptions  `json:"csv,omitempty"`
	JSON          *api.FeedJSONOptions `json:"json,omitempty"`
	Subdomains    api.FeedSubdomains   `json:"subdomains,omitempty"`
	URLs          api.FeedURLs         `json:"urls,omitempty"`
	MinConfidence int32                `json:"minConfidence,omitempty"`
	MaxEntries    int64                `json:"maxEntries,omitempty"`
	Guards        api.FeedGuards       `json:"guards,omitzero"`
}

func readingOf(s *api.ThreatFeedSpec) reading {
	return reading{
		Content: s.Content, Format: s.Format, CSV: s.CSV, JSON: s.JSON, Subdomains: s.Subdomains, URLs: s.URLs,
		MinConfidence: s.MinConfidence, MaxEntries: s.MaxEntries, Guards: s.Guards,
	}
}

// apply makes a spec read as r says.
func (r *reading) apply(s *api.ThreatFeedSpec) {
	s.Content, s.Format, s.CSV, s.JSON, s.Subdomains, s.URLs = r.Content, r.Format, r.CSV, r.JSON, r.Subdomains, r.URLs
	s.MinConfidence, s.MaxEntries, s.Guards = r.MinConfidence, r.MaxEntries, r.Guards
}

func (r *reading) equal(o reading) bool { return reflect.DeepEqual(*r, o) }

// readAnew reads the bodies of feeds whose settings have changed once more. One that
// cannot be read by them stands as it was read before.
func (m *Manager) readAnew(ctx context.Context, now time.Time) {
	m.mu.Lock()
	names := append([]string(nil), m.order...)
	m.mu.Unlock()
	for _, name := range names {
		if ctx.Err() != nil {
			return
		}
		m.mu.Lock()
		k := m.keepers[name]
		m.mu.Unlock()
		// One that is being fetched is looked at when that is done.
		if k == nil || !k.refreshing.TryLock() {
			continue
		}
		m.readOneAnew(name, k, now)
		k.refreshing.Unlock()
	}
}

// readOneAnew is readAnew for one feed, which is not being refreshed.
func (m *Manager) readOneAnew(name string, k *kept, now time.Time) {
	m.mu.Lock()
	keeper, st := k.keeper, k.state
	m.mu.Unlock()
	want := readingOf(&keeper.feed.Spec)
	switch {
	case st.Body == "", st.Misread != "" && st.Tried.equal(want):
		return
	case st.ReadAs.equal(want) && st.Misread == "":
		return
	}
	got, err := survey(&reader{&keeper.feed, keeper.guard, now}, filepath.Join(dirOf(m.c.Dir, name), st.Body), nil)
	if err == nil {
		err = keeper.guard.Whole(guard.Counts{}, got.Counts)
	}
	if err != nil {
		st.Tried = want
		st.Misread = fmt.Sprintf("its settings have changed, and by them the last good can't be read; it stands as it was read before: %v", err)
		m.c.Log.Error("the last good of a feed can't be read by its new settings; it stands as it was read before", "feed", name, "error", err)
	} else {
		st.Tried, st.Misread = reading{}, ""
		st.ReadAs, st.Format, st.Counts, st.Left, st.Exceptions = want, got.Format, got.Counts, got.Left, got.Exceptions
	}
	m.mu.Lock()
	k.state = st
	m.mu.Unlock()
	if err := writeState(m.c.Dir, name, st); err != nil {
		m.c.Log.Error("what is known of a feed could not be written", "feed", name, "error", err)
	}
}
