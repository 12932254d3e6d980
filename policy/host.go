package policy

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pavise.dev/pavise/api"
)

// Domain is a canonical host or, with Wildcard, any name below it.
type Domain struct {
	Name     string
	Wildcard bool
}

// ParseDomain reads an exact name, a name with a first label *, or an address, and makes
// it canonical.
func ParseDomain(s string) (Domain, error) {
	host, err := api.CanonicalHost(s)
	name, wild := strings.CutPrefix(host, "*.")
	return Domain{Name: name, Wildcard: wild}, err
}

// String is the domain as it is written in a policy.
func (d Domain) String() string {
	if d.Wildcard {
		return "*." + d.Name
	}
	return d.Name
}

// Match reports whether a canonical host is the domain or, for a wildcard, below it.
func (d Domain) Match(host string) bool {
	if !d.Wildcard {
		return host == d.Name
	}
	rest, ok := strings.CutSuffix(host, "."+d.Name)
	return ok && rest != ""
}

func matchDomains(ds []Domain, host string) bool {
	return slices.ContainsFunc(ds, func(d Domain) bool { return d.Match(host) })
}

// HostPattern is the RE2 expression for a canonical host: a name whose last label
// is not a number, an IPv4 address in dotted decimal without leading zeros, or
// something in brackets that may be an IPv6 address. What a URL parser would read
// as an odd spelling of an address (127.1, 017.0.0.1, 0x7f.1) does not fit, since
// it would compare unequal to the address it reaches (WHATWG URL, "ends in a
// number"). A last label that begins with 0x is refused as well.
const HostPattern = `(?:(?:[a-z0-9_-]+\.)*(?:[a-z_]|[1-9][0-9]*[a-z_-]|0[0-9]+[a-z_-]|0[a-wyz_-])[a-z0-9_-]*` +
	`|` + AddressPattern + `)`

// AddressPattern is the part of HostPattern that is an address.
const AddressPattern = octet + `\.` + octet + `\.` + octet + `\.` + octet + `|\[[0-9a-f:]+\]`

// MappedPattern finds IPv4 addresses that are written as IPv6 ones (::ffff:7f00:1 and
// its longer spellings): they would compare unequal to the address that they reach, and
// are refused.
const MappedPattern = `\[[0:]*:ffff:.*`

const octet = `(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])`

// HostForm matches a whole string that fits HostPattern.
var HostForm = regexp.MustCompile(`^(?:` + HostPattern + `)$`)

var (
	addressForm = regexp.MustCompile(`^(?:` + AddressPattern + `)$`)
	mappedForm  = regexp.MustCompile(`^(?:` + MappedPattern + `)$`)
)

// IsAddress reports whether a canonical host is an address and no name.
func IsAddress(host string) bool { return addressForm.MatchString(host) }

// NoPort is the port of an authority without one.
const NoPort = -1

// CanonicalHost lower-cases the host of an authority, drops one trailing dot and
// splits off the port, which is NoPort where there is none. It reports false for what
// has no usual form.
func CanonicalHost(authority string) (host string, port int, ok bool) {
	host, port = strings.ToLower(authority), NoPort
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		p, err := strconv.ParseUint(host[i+1:], 10, 16) // digits only: no sign, no space
		if err != nil {
			return host, NoPort, false
		}
		host, port = host[:i], int(p)
	}
	host = strings.TrimSuffix(host, ".")
	return host, port, HostForm.MatchString(host) && !mappedForm.MatchString(host)
}
