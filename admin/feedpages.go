package admin

import (
	"net/http"
	"slices"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/feeds"
)

// HasFeeds is a Source that fetches threat feeds itself.
type HasFeeds interface {
	// FeedList is the state of each feed, in a stable order.
	FeedList() []feeds.Status
	// FeedDir is the folder with what is known of their past; empty for none.
	FeedDir() string
}

// Feeds is a page of them.
type Feeds struct {
	Feeds []feeds.Status `json:"feeds"`
	// Next is the cursor of the next page; empty on the last.
	Next string `json:"next,omitempty"`
}

// Feed is one threat feed with its past.
type Feed struct {
	feeds.Status
	// Changes are what refreshes changed, the oldest first, without their entries; at most 64 are kept.
	Changes []feeds.Change `json:"changes,omitempty"`
	// Trouble says that some of the past cannot be read; empty if all can.
	Trouble string `json:"trouble,omitempty"`
	// Last is what the last refresh that changed anything changed; left out where nothing is known.
	Last *feeds.Change `json:"last,omitempty"`
	// Plus and Minus are entries that it added and removed, at most 100 each.
	Plus  []string `json:"plus,omitempty"`
	Minus []string `json:"minus,omitempty"`
}

// mostEntries of a change are shown.
const mostEntries = 100

func noFeeds(s Source) string {
	if s.Feeds() == nil {
		return "this process has no threat feeds"
	}
	return ""
}

func noFeedList(s Source) string {
	if _, ok := s.(HasFeeds); !ok {
		return "this process fetches no threat feeds itself: ask the control plane, or `pavise run`"
	}
	return ""
}

func feedDir(s Source) string {
	if h, ok := s.(HasFeeds); ok {
		return h.FeedDir()
	}
	return ""
}

func serveFeeds(e *endpoint, w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	most, err := limit(v)
	if err != nil {
		parameter400(w, err)
		return
	}
	list := e.source.(HasFeeds).FeedList()
	if c := v.Get("cursor"); c != "" {
		i := slices.IndexFunc(list, func(s feeds.Status) bool { return s.Name == c })
		if i < 0 {
			parameter400(w, &flows.FieldError{Field: "cursor", Message: "the feed that it names is not there any more; begin without a cursor"})
			return
		}
		list = list[i+1:]
	}
	page := Feeds{Feeds: append([]feeds.Status{}, list[:min(most, len(list))]...)}
	if len(list) > most {
		page.Next = list[most-1].Name
	}
	reply(w, page)
}

func serveFeed(e *endpoint, w http.ResponseWriter, r *http.Request) {
	list := e.source.(HasFeeds).FeedList()
	i := slices.IndexFunc(list, func(s feeds.Status) bool { return s.Name == r.PathValue("name") })
	if i < 0 {
		fail(w, http.StatusNotFound, "there is no feed of that name; /api/v1/feeds lists them")
		return
	}
	f := Feed{Status: list[i]}
	if dir := feedDir(e.source); dir != "" {
		changes, err := feeds.Changes(dir, f.Name)
		// The errors name files, which are nothing to who asks over HTTP.
		switch {
		case err != nil && changes == nil:
			fail(w, http.StatusInternalServerError, "what changed last cannot be read; `pavise feeds history` says why")
			return
		case err != nil:
			f.Trouble = "some earlier changes cannot be read; `pavise feeds history` says which"
		}
		f.Changes = changes
		if n := len(changes); n > 0 {
			c := &changes[n-1]
			f.Last, f.Plus, f.Minus = c, c.AddedEntries[:min(len(c.AddedEntries), mostEntries)], c.RemovedEntries[:min(len(c.RemovedEntries), mostEntries)]
		}
	}
	reply(w, f)
}

func serveLookup(e *endpoint, w http.ResponseWriter, r *http.Request) {
	s := e.source.Feeds().Snapshot()
	if s == nil {
		fail(w, http.StatusServiceUnavailable, "no snapshot of the feeds is loaded yet")
		return
	}
	a, err := feeds.Lookup(s, feedDir(e.source), r.URL.Query().Get("q"))
	if err != nil {
		parameter400(w, &flows.FieldError{Field: "q", Message: clip(err.Error())})
		return
	}
	reply(w, a)
}
