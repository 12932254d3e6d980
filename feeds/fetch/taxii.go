package fetch

import (
	"time"
)

// mostPages bounds how long a server can lead us on. Servers give 100 to 10,000 objects
// a page.
const mostPages = 10_000

// pages fetches a collection of TAXII 2.1 (5.4, 3.4). The envelopes are written one after
// the other, each followed by a line end. There are no validators: pages have none of
// their own, and AddedAfter does what they would.
func (f *fetching) pages() error {
	after, next := f.src.AddedAfter, ""
	if after != "" {
		if _, err := time.Parse(time.RFC3339, after); err != nil {
			return failed(Config, false, "the time to ask for additions after is no time of RFC 3339")
		}
	}
	seen := map[string]bool{}
	for range mostPages {
		env, last, err := f.page(after, next)
		if err != nil {
			return err
		}
		if last != "" {
			f.res.AddedLast = last
		}
		if !env.more {
			return nil
		}
		// The server says how to go on, or else time does (3.4, next).
		if next = env.next; next == "" {
			after = last
		}
		at := next + " " + after
		if at == " " || seen[at] {
			return failed(Protocol, false, "%s says that there is more, and does not say where", f.own.Host)
		}
		seen[at] = true
	}
	return failed(OverLimit, false, "%s has more than %d pages", f.own.Host, mostPages)
}

func (f *fetching) page(after, next string) (*envelope, string, error) {
	u := *f.own
	q := u.Query()
	if after != "" {
		q.Set("added_after", after)
	}
	if next != "" {
		q.Set("next", next)
	}
	if after != "" || next != "" {
		u.RawQuery = q.Encode()
	}
	a, err := f.get(&u)
	if err != nil {
		return nil, "", err
	}
	defer a.resp.Body.Close()
	f.note(a)
	env := &envelope{}
	if err := f.body(a, both{f.out, env}); err != nil {
		return nil, "", err
	}
	if !env.complete() {
		return nil, "", failed(Protocol, true, "%s did not answer with one JSON object, as TAXII has it; is url that of a collection?", a.from.Host)
	}
	if _, err := f.out.Write([]byte{'\n'}); err != nil {
		return nil, "", err
	}
	last := a.resp.Header.Get("X-TAXII-Date-Added-Last")
	if _, err := time.Parse(time.RFC3339, last); err != nil || len(last) > mostDate {
		last = ""
	}
	return env, last, nil
}

// both writes to the sink and shows the envelope what passes.
type both struct {
	out *sink
	env *envelope
}

func (b both) Write(p []byte) (int, error) {
	b.env.look(p)
	return b.out.Write(p)
}
