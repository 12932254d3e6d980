// Package guard holds the checks that a feed has to pass before it is believed. A feed
// is written by somebody else, who can make a mistake, be broken into or sell the
// domain, and what it lists is denied everywhere within minutes.
//
// There are two kinds. Guard.Entry leaves single entries out: ranges that take in half
// the world, the cluster's own networks, com. Guard.Whole refuses a feed as it came,
// and the last good stands: empty, a tenth of what it was, mostly unreadable. Those that
// look at the body itself (html, not-text, truncated) are raised by who reads it, with
// Refused, after asking Guard.On.
//
// What a guard cannot know is whether an entry is right: one wrong address passes.
package guard

import (
	"net/netip"
	"slices"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/parse"
)

// Config says what to guard against. The limits have no defaults here; api.FeedGuards
// has them, and For fills them in.
type Config struct {
	api.FeedLimits
	// Content that the feed lists; Mixed or "" takes both.
	Content api.FeedContent
	// Off are the names of guards to switch off. A name that is unknown, or of a guard
	// that is fixed, changes nothing.
	Off []string
	// Protected is what this feed must not list.
	Protected []api.Protected
	// Own is what no feed may block; it is shared by all feeds. Loopback and link-local
	// are in it without being named. Nil is nothing else.
	Own *Places
}

// Guard checks the entries of one feed. It is safe for concurrent use.
type Guard struct {
	limits        api.FeedLimits
	off           map[string]bool
	minV4, minV6  int       // 0 where short-prefix is off
	specials      []special // those that are on, in order
	specialRanges *Places   // the same, to say no fast
	own           *Places
	protected     *Places

	singleLabel, publicSuffix, wrongAddress, wrongName bool
}

// New compiles the checks.
func New(c Config) *Guard {
	g := &Guard{limits: c.FeedLimits, off: map[string]bool{}, own: c.Own}
	for _, info := range api.Guards() {
		if !info.Fixed && slices.Contains(c.Off, info.Name) {
			g.off[info.Name] = true
		}
	}
	places := make([]Place, len(c.Protected))
	for i, p := range c.Protected {
		places[i] = Place{Prefix: p.Prefix, Domain: p.Domain, Below: true, Why: "guards.protected"}
	}
	g.protected = NewPlaces(places...)
	if g.own == nil {
		g.own = NewPlaces()
	}
	if g.On(api.GuardShortPrefix) {
		g.minV4, g.minV6 = c.MinPrefixV4, c.MinPrefixV6
	}
	places = nil
	for _, s := range specials {
		if g.On(s.guard) {
			g.specials = append(g.specials, s)
			places = append(places, Place{Prefix: s.prefix})
		}
	}
	g.specialRanges = NewPlaces(places...)
	g.singleLabel, g.publicSuffix = g.On(api.GuardSingleLabel), g.On(api.GuardPublicSuffix)
	g.wrongAddress = c.Content == api.FeedDomains && g.On(api.GuardWrongContent)
	g.wrongName = c.Content == api.FeedAddresses && g.On(api.GuardWrongContent)
	return g
}

// For makes the guard of a feed with the places that no feed may block. The error is
// about an item of guards.protected, which api.Validate would have found.
func For(spec *api.ThreatFeedSpec, own *Places) (*Guard, error) {
	c := Config{FeedLimits: spec.Guards.Limits(), Content: spec.Content, Off: spec.Guards.Off, Own: own}
	for _, s := range spec.Guards.Protected {
		p, err := api.ParseProtected(s)
		if err != nil {
			return nil, err
		}
		c.Protected = append(c.Protected, p)
	}
	return New(c), nil
}

// On reports whether a guard is on.
func (g *Guard) On(name string) bool { return !g.off[name] }

// Entry returns the name of the guard that leaves the entry out and the reason, or ""
// for an entry to take. What the feed itself takes out (Except) is always taken. It
// allocates for what it takes only where an entry is for the names below one, and does
// not keep the entry.
func (g *Guard) Entry(e *parse.Entry) (name, reason string) {
	switch {
	case e.Except:
		return "", ""
	case !e.Prefix.IsValid():
		return g.domain(e.Domain, e.Match)
	case g.wrongAddress:
		return api.GuardWrongContent, e.Prefix.String() + " is an address in a feed of names"
	}
	return g.prefix(e.Prefix)
}

// Hosts are the places that feeds are fetched from. A feed that blocks one of them,
// its own or another's, could not be mended by the next fetch.
func Hosts(feeds ...*api.ThreatFeed) []Place {
	var places []Place
	for _, f := range feeds {
		host := f.Spec.Host()
		if host == "" {
			continue
		}
		p := Place{Why: "where feed " + f.Name + " comes from"}
		if addr, err := netip.ParseAddr(trimBrackets(host)); err == nil {
			p.Prefix = netip.PrefixFrom(addr, addr.BitLen())
		} else {
			p.Domain = host
		}
		places = append(places, p)
	}
	return places
}

func trimBrackets(s string) string {
	if len(s) > 2 && s[0] == '[' {
		return s[1 : len(s)-1]
	}
	return s
}
