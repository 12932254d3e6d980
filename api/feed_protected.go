package api

import (
	"net/netip"
	"strings"
)

// Protected is what a feed must not list: a range, or a name with all names below it.
//
// +kubebuilder:object:generate=false
type Protected struct {
	// Prefix is invalid where it is a name.
	Prefix netip.Prefix
	// Domain is canonical, and "" where it is a range.
	Domain string
}

// ParseProtected reads an item of guards.protected: an address, a CIDR or a name. The
// error says what to write instead, where that is known.
func ParseProtected(s string) (Protected, error) {
	p, f := parseProtected(s)
	return p, f.asError()
}

func parseProtected(s string) (Protected, *fault) {
	// What has a slash can only be meant as a range, and what canonicalHost would take
	// for an address is one.
	if strings.Contains(s, "/") && !strings.Contains(s, "://") || isAddress(s) && !strings.HasPrefix(s, "[") {
		prefix, f := parseCIDR(s)
		return Protected{Prefix: prefix}, f
	}
	if f := checkFeedDomain(s); f != nil {
		if f.code == CodeDomainAddress {
			f.fix = "write it without brackets"
		}
		return Protected{}, f
	}
	name, f := canonicalHost(s)
	return Protected{Domain: name}, f
}
