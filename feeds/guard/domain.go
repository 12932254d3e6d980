package guard

import (
	"bytes"

	"golang.org/x/net/publicsuffix"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/parse"
)

var (
	localhost       = []byte("localhost")
	belowLocalhost  = []byte(".localhost")
	localhostDomain = []byte("localhost.localdomain")
)

func (g *Guard) domain(d []byte, match parse.Match) (name, reason string) {
	if g.wrongName {
		return api.GuardWrongContent, string(d) + " is a name in a feed of addresses"
	}
	if bytes.Equal(d, localhost) || bytes.HasSuffix(d, belowLocalhost) || bytes.Equal(d, localhostDomain) {
		return api.GuardLoopback, string(d) + " is the machine itself"
	}
	for _, s := range [...]*Places{g.own, g.protected} {
		p := s.named(d, match)
		switch {
		case p == nil:
		case p.Domain == string(d):
			return api.GuardProtected, string(d) + ": " + p.Why
		case len(p.Domain) < len(d):
			return api.GuardProtected, string(d) + " is below " + p.Domain + ": " + p.Why
		default:
			return api.GuardProtected, string(d) + " would block " + p.Domain + ": " + p.Why
		}
	}
	if g.singleLabel && indexDot(d) < 0 {
		return api.GuardSingleLabel, string(d) + " has no dot"
	}
	if g.publicSuffix && match&parse.Below != 0 && isPublicSuffix(d) {
		return api.GuardPublicSuffix, "anybody can have a name below " + string(d)
	}
	return "", ""
}

// isPublicSuffix reports a name of the public suffix list, of registries (co.uk) as well
// as of providers (github.io), and any name without a dot. It is the one check
// that allocates, twice: the list takes a string, and asks first whether that is an
// address, which is answered with an error.
func isPublicSuffix(d []byte) bool {
	s := string(d)
	suffix, _ := publicsuffix.PublicSuffix(s)
	return len(suffix) == len(s)
}
