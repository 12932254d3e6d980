package feeds

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/snapshot"
)

// Answer is what the feeds say of an address, a name or the host of a URL.
type Answer struct {
	// Asked is what was looked up: an address, or a name in canonical form.
	Asked string   `json:"asked"`
	Hits  []Listed `json:"hits"`
}

// Listed is one entry that is met.
type Listed struct {
	Feed      string `json:"feed"`
	Action    string `json:"action"`
	Direction string `json:"direction"`
	// Entry as changes list it: =name is the name alone, *.name what is below it.
	Entry string `json:"entry"`
	Line  uint32 `json:"line"`
	// Since is from when it is listed without a break; Exact is false where it may be
	// longer. Both are left out where nothing is known.
	Since *time.Time `json:"since,omitempty"`
	Exact bool       `json:"exact,omitempty"`
}

// Lookup says which feeds list an address, a name, or the host of a URL, and from when.
// dir is the folder of a Manager, or empty if nothing is known of the past. The error says
// why what was asked for is none of the three.
func Lookup(s *snapshot.Snapshot, dir, what string) (Answer, error) {
	var hits []snapshot.Hit
	addr, name, err := subject(what)
	if err != nil {
		return Answer{}, err
	}
	if addr.IsValid() {
		name = addr.String()
		hits = s.LookupAddr(nil, addr)
	} else {
		hits = s.LookupDomain(nil, name)
	}
	out := Answer{Asked: name, Hits: []Listed{}}
	for _, h := range hits {
		f := s.Feeds()[h.Feed]
		l := Listed{Feed: f.Name, Action: f.Action, Direction: f.Direction, Entry: entryOf(h), Line: h.Line}
		if dir != "" {
			since, exact, err := Since(dir, f.Name, l.Entry)
			if err == nil && !since.IsZero() {
				l.Since, l.Exact = &since, exact
			}
		}
		out.Hits = append(out.Hits, l)
	}
	return out, nil
}

// entryOf writes an entry as changes do.
func entryOf(h snapshot.Hit) string {
	switch {
	case h.Prefix.IsSingleIP():
		return h.Prefix.Addr().String()
	case h.Prefix.IsValid():
		return h.Prefix.String()
	case h.Match == snapshot.Self:
		return "=" + h.Domain
	case h.Match == snapshot.Below:
		return "*." + h.Domain
	}
	return h.Domain
}

// subject reads an address, with or without port and brackets, a name or a URL.
func subject(what string) (netip.Addr, string, error) {
	host := what
	if strings.Contains(what, "://") {
		u, err := url.Parse(what)
		if err != nil || u.Hostname() == "" {
			return netip.Addr{}, "", fmt.Errorf("%q is no URL with a host", what)
		}
		host = u.Hostname()
	} else if i := strings.IndexByte(host, '/'); i > 0 {
		return netip.Addr{}, "", fmt.Errorf("%q: ask for one address, or write the URL with its scheme", what)
	}
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && a.Zone() == "" {
		return a.Unmap(), "", nil
	}
	if p, err := netip.ParseAddrPort(host); err == nil && p.Addr().Zone() == "" {
		return p.Addr().Unmap(), "", nil
	}
	if before, port, ok := strings.Cut(host, ":"); ok && strings.Trim(port, "0123456789") == "" {
		host = before
	}
	name, err := api.CanonicalHost(strings.TrimSuffix(host, "."))
	if err != nil {
		return netip.Addr{}, "", fmt.Errorf("%q is no address, name or URL: %w", what, err)
	}
	if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return a.Unmap(), "", nil
	}
	return netip.Addr{}, name, nil
}
