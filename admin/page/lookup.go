package page

import (
	"net/http"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/feeds"
)

// lookupPage says which feeds list something.
type lookupPage struct {
	Form *form
	// Answer is nil where nothing was asked.
	Answer *feeds.Answer
	Hits   []hit
	Pages  pager
	Digest string
}

// hit is an entry with since when it is listed, as it is shown.
type hit struct {
	feeds.Listed
	From instant
}

func (s *site) lookup(w http.ResponseWriter, r *http.Request) {
	engine := s.src.Feeds()
	if engine == nil {
		s.nothing(w, r, http.StatusNotFound, "Lookup", "This process asks no threat feeds.")
		return
	}
	f := &form{Path: "/lookup", Button: "Look up", Fields: []*field{
		{Kind: text, Name: "what", Label: "Address, name or URL", Hint: "192.0.2.1, evil.example, https://evil.example/x", Most: mostURL},
		{Kind: parameter, Name: "from"},
	}}
	f.read(r)
	p := lookupPage{Form: f}
	snap := engine.Snapshot()
	if snap != nil {
		p.Digest = snap.Digest().String()
	}
	if what := f.value("what"); what != "" && len(f.Problems) == 0 {
		if snap == nil {
			f.fail("what", "no feeds are in force yet")
		} else {
			dir := ""
			if d, ok := s.src.(admin.HasFeeds); ok {
				dir = d.FeedDir()
			}
			a, err := feeds.Lookup(snap, dir, what)
			if err != nil {
				f.fail("what", visible(err.Error()))
			} else {
				p.Answer = &a
				from, to, pages := window(f, "from", f.Path, "entries", len(a.Hits), pageSize)
				p.Pages = pages
				for _, l := range a.Hits[from:to] {
					h := hit{Listed: l}
					if l.Since != nil {
						h.From = s.when(*l.Since)
					}
					p.Hits = append(p.Hits, h)
				}
			}
		}
	}
	s.show(w, "lookup", "/lookup", "Look up in threat feeds", f, p)
}
