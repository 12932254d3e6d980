package page

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/policy"
)

// flowForm has the parameters of flows.Parse.
func flowForm(path, button string) *form {
	return &form{Path: path, Button: button, Fields: []*field{
		{Kind: pick, Name: "verdict", Label: "Verdict", Options: []string{"", string(policy.Allowed), string(policy.Denied)}},
		{Kind: pick, Name: "direction", Label: "Direction", Options: []string{"", string(policy.Ingress), string(policy.Egress)}},
		{Kind: text, Name: "namespace", Label: "Namespace"},
		{Kind: text, Name: "workload", Label: "Workload", Hint: "NAMESPACE/NAME, or NAME"},
		{Kind: text, Seldom: true, Name: "peer", Label: "Peer", Hint: "an address, or NAMESPACE/NAME"},
		{Kind: text, Seldom: true, Name: "name", Label: "Host name", Hint: "or *.example.com"},
		{Kind: text, Seldom: true, Name: "method", Label: "Method"},
		{Kind: text, Seldom: true, Name: "port", Label: "Port"},
		{Kind: text, Seldom: true, Name: "reason", Label: "Reason", Hint: "its beginning", Most: 4096},
		{Kind: text, Seldom: true, Name: "feed", Label: "Feed"},
		{Kind: text, Seldom: true, Name: "text", Label: "Text", Hint: "anywhere in a flow"},
		{Kind: text, Seldom: true, Name: "since", Label: "Since", Hint: "10m, or a time"},
		{Kind: text, Seldom: true, Name: "until", Label: "Until", Hint: "5m, or a time"},
		{Kind: check, Seldom: true, Name: "audit", Label: "Only what audited policies would change"},
		{Kind: parameter, Name: "cursor"},
		{Kind: parameter, Name: "limit"},
	}}
}

// flowList is a part of what happened lately.
type flowList struct {
	Form  *form
	Flows []flows.Flow
	Pages pager
	// Follow is the link to what comes, with the same filter.
	Follow string
	Stats  flows.Stats
}

const keepsNone = "This process keeps no flows. The control plane, or a sidecar, may."

func (s *site) flows(w http.ResponseWriter, r *http.Request) {
	store := s.src.Flows()
	if store == nil {
		s.nothing(w, r, http.StatusNotFound, "Flows", keepsNone)
		return
	}
	f := flowForm("/flows", "Show")
	filter, cursor, limit := f.flows(r)
	list := flowList{Form: f, Stats: store.Stats()}
	if len(f.Problems) == 0 {
		v := filter.Values()
		list.Follow = withValues("/follow", v)
		page, err := store.Query(filter, cursor, limit)
		if err != nil {
			f.wrong(err)
		}
		list.Flows, list.Pages = page.Flows, pager{Of: "flows", Text: strconv.Itoa(len(page.Flows)) + " flows, the newest first"}
		if limit != flows.DefaultLimit {
			v.Set("limit", strconv.Itoa(limit))
		}
		if !cursor.IsZero() {
			list.Pages.First = withValues("/flows", v)
		}
		if !page.Next.IsZero() {
			v.Set("cursor", page.Next.String())
			list.Pages.Next = withValues("/flows", v)
		}
	}
	s.show(w, "flows", "/flows", "Flows", f, list)
}

// flows reads a form by flows.Parse, so that it takes what the commands take.
func (f *form) flows(r *http.Request) (flows.Filter, flows.Cursor, int) {
	f.read(r)
	v, _ := url.ParseQuery(r.URL.RawQuery) // read has said what is wrong with it
	if len(f.Problems) > 0 {
		return flows.Filter{}, flows.Cursor{}, 0
	}
	filter, cursor, limit, err := flows.Parse(v)
	if err != nil {
		f.wrong(err)
	}
	return filter, cursor, limit
}

const (
	// mostFollowed is how many rows a followed page gets before it ends, so that a page that
	// is forgotten does not grow without bound.
	mostFollowed = 1000
	// followDeadline is how long a reader may take for one row.
	followDeadline = 10 * time.Second
)

// followPage is the beginning and the end of what is followed.
type followPage struct {
	Form *form
	// Again is the page itself, and Back what happened before.
	Again, Back string
	Started     bool
	// Why it ended.
	Why string
}

// followRow is one decision.
type followRow struct {
	flows.Event
}

// follow sends rows of a table as decisions come, until the client goes.
func (s *site) follow(w http.ResponseWriter, r *http.Request) {
	store := s.src.Flows()
	if store == nil {
		s.nothing(w, r, http.StatusNotFound, "Live flows", keepsNone)
		return
	}
	f := flowForm("/follow", "Follow")
	filter, _, _ := f.flows(r)
	p := followPage{Form: f, Again: withValues("/follow", filter.Values()), Back: withValues("/flows", filter.Values())}
	if len(f.Problems) > 0 || r.Method == http.MethodHead {
		s.show(w, "follow", "/follow", "Live flows", f, p)
		return
	}
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	events, err := store.Follow(ctx, filter)
	if err != nil {
		p.Why = err.Error()
		s.show(w, "follow", "/follow", "Live flows", f, p)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy in front is to send rows as they come
	p.Started = true
	out := &stream{w: w, c: http.NewResponseController(w)}
	fr := frame{Title: "Live flows", Menu: s.menu("/follow"), Body: p}
	if out.send(s, "follow", fr) != nil {
		return
	}
	rows := 0
	for e := range events {
		if out.send(s, "followed", followRow{e}) != nil {
			return
		}
		if rows++; rows == mostFollowed {
			break
		}
	}
	fr.Body = followPage{Again: p.Again, Back: p.Back, Started: true, Why: "The page is full."}
	_ = out.send(s, "followend", fr) // the client has gone
}

// stream is an answer that is sent part by part.
type stream struct {
	w http.ResponseWriter
	c *http.ResponseController
}

// send renders a part and has it go out. The server's own deadline is for answers that end.
func (o *stream) send(s *site, name string, body any) error {
	if err := o.c.SetWriteDeadline(s.now().Add(followDeadline)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if err := s.tmpl.ExecuteTemplate(o.w, name, body); err != nil {
		return err
	}
	if err := o.c.Flush(); err != nil {
		return err
	}
	if err := o.c.SetWriteDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
