package page

import (
	"fmt"
	"net/url"
	"strconv"
)

// mostFrom bounds where a page begins.
const mostFrom = 1 << 30

// pager leads to the other pages of a list; nothing is shown where there is one page only.
type pager struct {
	// Of is what the list is of, for who cannot see where it stands.
	Of string
	// Text says which part this is, such as 51–100 of 213.
	Text string
	// First, Earlier and Next are links; empty for none.
	First, Earlier, Next string
}

// Shown says that there is something to show.
func (p pager) Shown() bool { return p.First != "" || p.Earlier != "" || p.Next != "" }

// window is the part of a list of n that begins at the number of a parameter.
func window(f *form, name, path, of string, n, size int) (from, to int, p pager) {
	from = min(f.number(name, mostFrom), n)
	to = min(from+size, n)
	at := func(i int) string {
		v := f.again(name)
		if i > 0 {
			v.Set(name, strconv.Itoa(i))
		}
		return withValues(path, v)
	}
	p = pager{Of: of, Text: fmt.Sprintf("%d–%d of %d", min(from+1, n), to, n)}
	if from > 0 {
		p.First, p.Earlier = at(0), at(max(0, from-size))
	}
	if to < n {
		p.Next = at(to)
	}
	return from, to, p
}

func withValues(path string, v url.Values) string {
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}
