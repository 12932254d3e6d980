package api

import (
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// hostProfile maps names as browsers do before they look them up.
var hostProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false))

// domains checks domains and server names, which are hosts but no addresses.
func domains(r *reporter, field string, list []string) {
	r.in(field)
	for i, s := range list {
		r.at(i)
		name, f := canonicalHost(s)
		switch {
		case f != nil:
			f.code = CodeDomain
			r.reportFault(f)
		case isAddress(name) && field == "serverNames":
			r.report(CodeDomainAddress, "", "%s is an address, and a TLS server name never is", quote(s))
		case isAddress(name):
			r.report(CodeDomainAddress, "use cidrs", "%s is an address and not a name", quote(s))
		}
		r.out()
	}
	r.out()
}

func isAddress(host string) bool {
	_, ok := parseHostAddr(host)
	return ok
}

// CanonicalHost returns the form in which hosts, domains and server names are
// compared: lower-case, in punycode, an IPv6 address in brackets, an IPv4 address
// mapped into IPv6 as IPv4. A first label * is kept. The error says what is wrong
// with what can't be a host, and what to write instead where that is known.
func CanonicalHost(s string) (string, error) {
	host, f := canonicalHost(s)
	return host, f.asError()
}

func canonicalHost(s string) (string, *fault) {
	if f := misfits(s); f != nil {
		return "", f
	}
	name, wildcard := strings.CutPrefix(s, "*.")
	if !wildcard {
		if addr, ok := parseHostAddr(name); ok {
			if addr = addr.Unmap(); addr.Is6() {
				return "[" + addr.String() + "]", nil
			}
			return addr.String(), nil
		}
	}
	ascii, f := toASCII(name)
	if f != nil {
		return "", f
	}
	if f := checkLabels(ascii, s); f != nil {
		return "", f
	}
	if wildcard {
		return "*." + ascii, nil
	}
	return ascii, nil
}

// parseHostAddr reads an address as a host: IPv6 with brackets, as it is in a URL, or
// without.
func parseHostAddr(s string) (netip.Addr, bool) {
	inner, bracket := strings.CutPrefix(s, "[")
	if bracket {
		var closed bool
		if inner, closed = strings.CutSuffix(inner, "]"); !closed {
			return netip.Addr{}, false
		}
	}
	addr, err := netip.ParseAddr(inner)
	return addr, err == nil && addr.Zone() == "" && (addr.Is6() || !bracket)
}

// misfits finds what people write around a host, and says what to leave off.
func misfits(s string) *fault {
	bad := func(fix, format string, args ...any) *fault { return faultf(CodeHost, fix, format, args...) }
	if _, rest, ok := strings.Cut(s, "://"); ok {
		host, _, _ := strings.Cut(rest, "/")
		return bad("write "+quote(host), "%s has a scheme", quote(s))
	}
	host, port, hasPort := strings.Cut(s, ":")
	switch {
	case s == "":
		return bad("", "the name is empty")
	case len(s) > 1024:
		// Four times what is allowed leaves room for scripts that shrink in punycode,
		// and keeps the mapping, which is not linear, away from megabytes.
		return bad("", "the name is longer than 253 bytes")
	case s == "*" || s == "*.":
		return bad("for any name leave the whole field out", "%s alone is not a name", s)
	case strings.Contains(s, "/"):
		host, _, _ := strings.Cut(s, "/")
		return bad("write "+quote(host), "%s has a path", quote(s))
	case hasPort && port != "" && strings.Trim(port, "0123456789") == "" && host != "":
		return bad("write "+quote(host)+" and use ports", "%s has a port", quote(s))
	case strings.Contains(s, "]:"):
		return bad("use ports", "%s has a port", quote(s))
	case strings.HasSuffix(s, ".") && strings.Trim(s, ".") != "":
		return bad("write "+quote(strings.TrimRight(s, ".")), "%s ends with a dot", quote(s))
	case strings.Contains(strings.TrimPrefix(s, "*."), "*"):
		return bad("write *.NAME for every name below NAME", "in %s the * is not the whole first label", quote(s))
	}
	return nil
}

// toASCII lower-cases a name and turns other scripts into punycode.
func toASCII(name string) (string, *fault) {
	plain := true
	for i := range len(name) {
		if name[i] >= 0x80 {
			plain = false
			break
		}
	}
	lower := strings.ToLower(name)
	if plain && !strings.Contains(lower, "xn--") {
		return lower, nil
	}
	ascii, err := hostProfile.ToASCII(lower)
	if err != nil {
		return "", faultf(CodeHost, "", "%s is not a name in any script: %s", quote(name), printable(err.Error()))
	}
	return ascii, nil
}

func checkLabels(name, shown string) *fault {
	if len(name) > 253 {
		return faultf(CodeHost, "", "the name is longer than 253 bytes")
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return faultf(CodeHost, "", "%s has an empty label", quote(shown))
		case len(label) > 63:
			return faultf(CodeHost, "", "%s has a label longer than 63 bytes", quote(shown))
		case label[0] == '-' || label[len(label)-1] == '-':
			return faultf(CodeHost, "", "a label of %s begins or ends with -", quote(shown))
		}
		for i := range len(label) {
			// An underscore is no letter of a host name, and is in use all the same.
			if c := label[i]; !isLowerAlnum(c) && c != '-' && c != '_' {
				return faultf(CodeHost, "", "%s is not a name: it has %s", quote(shown), quote(string(rune(c))))
			}
		}
		last = label
	}
	// Clients take such a name for an address: 10.1 and 0x0a.1 are 10.0.0.1 to some.
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return faultf(CodeHost, "", "%s ends in a number and is not an address", quote(shown))
	}
	return nil
}
