package page

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/proxy/filter"
)

// feedRow is a feed with its times as they are shown.
type feedRow struct {
	feeds.Status
	Fetched, Changed, Tried, Next time.Time
	// Left is how many entries were left out.
	LeftOut int64
	// Well says that nothing is wrong with it.
	Well bool
	// Hits since the process began; nil where they are not counted.
	Hits *filter.Hits
	// Last is what changed last; nil if it is not known.
	Last *feeds.Change
	// Spark of the entries, from what is known of changes; nil if too little is.
	Spark *spark
}

// feedList is a part of all feeds.
type feedList struct {
	Form  *form
	Rows  []feedRow
	Pages pager
}

// feedPage is one feed.
type feedPage struct {
	feedRow
	// Trouble is why changes cannot be read.
	Trouble string
	// Changes are those that are kept, the newest first.
	Changes        []feeds.Change
	ChangePages    pager
	Added, Removed []string
	AddedPages     pager
	RemovedPages   pager
	Left           []api.FeedLeftOut
}

const hasNoFeeds = "This process does not know the state of feeds. The control plane does."

func (s *site) feeds(w http.ResponseWriter, r *http.Request) {
	l, ok := s.src.(admin.HasFeeds)
	if !ok {
		s.nothing(w, r, http.StatusNotFound, "Feeds", hasNoFeeds)
		return
	}
	f := &form{Path: "/feeds", Button: "Search", Fields: []*field{
		{Kind: text, Name: "text", Label: "Name", Hint: "a part of it"}, {Kind: parameter, Name: "from"},
	}}
	f.read(r)
	all := slices.Clone(l.FeedList())
	all = slices.DeleteFunc(all, func(x feeds.Status) bool { return !strings.Contains(x.Name, f.value("text")) })
	slices.SortFunc(all, func(a, b feeds.Status) int { return cmp.Compare(a.Name, b.Name) })
	from, to, pages := window(f, "from", f.Path, "feeds", len(all), pageSize)
	list := feedList{Form: f, Pages: pages}
	s.heavy(r.Context(), w, f, func(ctx context.Context) error { // the past is read from files
		for _, x := range all[from:to] {
			row, _, _ := s.feedRow(x) // the page of the feed says what cannot be read
			list.Rows = append(list.Rows, row)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		return nil
	})
	s.show(w, "feeds", "/feeds", "Threat feeds", f, list)
}

func (s *site) feed(w http.ResponseWriter, r *http.Request) {
	l, ok := s.src.(admin.HasFeeds)
	if !ok {
		s.nothing(w, r, http.StatusNotFound, "Feeds", hasNoFeeds)
		return
	}
	f := &form{Path: "/feed", Fields: []*field{
		{Kind: text, Name: "name", Label: "Feed"}, {Kind: parameter, Name: "added"}, {Kind: parameter, Name: "removed"}, {Kind: parameter, Name: "change"},
	}}
	f.read(r)
	list := l.FeedList()
	i := slices.IndexFunc(list, func(x feeds.Status) bool { return x.Name == f.value("name") })
	if i < 0 {
		s.write(w, http.StatusNotFound, "nothing", frame{
			Title: "There is no such feed", Menu: s.menu("/feeds"), Problems: f.unplaced(), Body: "The list of feeds has all that there are.",
		})
		return
	}
	var row feedRow
	var changes []feeds.Change
	var err error
	s.heavy(r.Context(), w, f, func(context.Context) error {
		row, changes, err = s.feedRow(list[i])
		return nil
	})
	if f.Status != 0 { // there was no place
		s.write(w, f.Status, "nothing", frame{Title: "Feed " + visible(list[i].Name), Menu: s.menu("/feeds"), Problems: f.Problems, Body: "Load the page again."})
		return
	}
	p := feedPage{feedRow: row, Left: list[i].Left}
	// The error names files, which are nothing to who reads pages.
	switch {
	case err != nil && len(changes) == 0:
		p.Trouble = "What changed cannot be read."
	case err != nil:
		p.Trouble = "Some of the changes cannot be read."
	}
	if len(changes) > 0 {
		newest := slices.Clone(changes)
		slices.Reverse(newest)
		from, to, pages := window(f, "change", f.Path, "changes", len(newest), shortList)
		p.Changes, p.ChangePages = newest[from:to], pages
		from, to, pages = window(f, "added", f.Path, "entries that were added", len(p.Last.AddedEntries), pageSize)
		p.Added, p.AddedPages = p.Last.AddedEntries[from:to], pages
		from, to, pages = window(f, "removed", f.Path, "entries that were removed", len(p.Last.RemovedEntries), pageSize)
		p.Removed, p.RemovedPages = p.Last.RemovedEntries[from:to], pages
	}
	s.show(w, "feed", "/feeds", "Feed "+visible(row.Name), f, p)
}

// feedRow fills in what is known of a feed beside its status.
func (s *site) feedRow(x feeds.Status) (feedRow, []feeds.Change, error) {
	row := feedRow{
		Status: x, Fetched: timeOf(x.LastSuccess), Changed: timeOf(x.LastChange), Tried: timeOf(x.LastAttempt), Next: timeOf(x.NextAttempt),
		LeftOut: x.Unreadable + x.Unsupported + x.Guarded, Well: x.State == api.FeedCurrent && x.Error == "",
	}
	if e := s.src.Feeds(); e != nil {
		hits := e.Hits()
		if i := slices.IndexFunc(hits, func(h filter.Hits) bool { return h.Feed == x.Name }); i >= 0 {
			row.Hits = &hits[i]
		}
	}
	changes, err := s.changes(x.Name)
	if len(changes) > 0 {
		row.Last = &changes[len(changes)-1]
	}
	row.Spark = sparkline("entries before and after each change that is kept", sizesOf(x.Entries, changes))
	return row, changes, err
}

// changes are what is known of the past of a feed, the oldest first; with an error, those that can be read.
func (s *site) changes(name string) ([]feeds.Change, error) {
	if h, ok := s.src.(FeedHistorian); ok {
		return h.FeedChanges(name)
	}
	l, ok := s.src.(admin.HasFeeds)
	if !ok || l.FeedDir() == "" {
		return nil, nil
	}
	return feeds.Changes(l.FeedDir(), name)
}

// sizesOf are the entries before the first change and after each. Where a change does not say
// them they are reckoned back from those after it, or those of now.
func sizesOf(now int64, changes []feeds.Change) []float64 {
	var sizes []float64
	size := now
	for _, c := range slices.Backward(changes) {
		if c.Entries > 0 {
			size = c.Entries
		}
		sizes = append(sizes, float64(size))
		size = max(0, size-c.Added+c.Removed)
	}
	sizes = append(sizes, float64(size))
	slices.Reverse(sizes)
	return sizes
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}
