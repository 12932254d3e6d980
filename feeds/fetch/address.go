package fetch

import (
	"fmt"
	"net/netip"
	"strings"
)

// reach is what kind of network an address leads to.
type reach uint8

const (
	public reach = iota
	loopback
	linkLocal
	private
	metadata // of a cloud: it gives credentials to whoever asks
	never    // no server is there
)

func (r reach) String() string {
	return [...]string{
		"a public address", "a loopback address", "a link-local address", "a private address",
		"the address of a cloud's metadata service", "an address that no server can have",
	}[r]
}

// services are the addresses at which clouds hand out credentials or configuration: AWS,
// Azure, Google and others (.169.254), ECS and EKS (.170), Scaleway, Azure's wire server,
// Alibaba, Oracle; then the IPv6 ones of AWS, EKS, Google and Scaleway.
var services = func() map[netip.Addr]bool {
	m := map[netip.Addr]bool{}
	for _, a := range []string{
		"169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.42.42", "168.63.129.16",
		"100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42",
	} {
		m[netip.MustParseAddr(a)] = true
	}
	return m
}()

// special are the ranges beside what netip itself can tell, from the registries of
// RFC 6890. The first match counts.
var special = []struct {
	prefix netip.Prefix
	is     reach
}{
	{netip.MustParsePrefix("0.0.0.0/8"), never},         // this host; Linux connects 0.0.0.0 to loopback
	{netip.MustParsePrefix("240.0.0.0/4"), never},       // reserved, and broadcast
	{netip.MustParsePrefix("100.64.0.0/10"), private},   // carrier-grade NAT, RFC 6598
	{netip.MustParsePrefix("192.0.0.0/24"), private},    // protocol assignments
	{netip.MustParsePrefix("198.18.0.0/15"), private},   // benchmarks, and many an overlay
	{netip.MustParsePrefix("192.88.99.0/24"), never},    // 6to4 relays, deprecated
	{netip.MustParsePrefix("192.0.2.0/24"), never},      // documentation, with the next two
	{netip.MustParsePrefix("198.51.100.0/24"), never},   //
	{netip.MustParsePrefix("203.0.113.0/24"), never},    //
	{netip.MustParsePrefix("2001:db8::/32"), never},     // documentation
	{netip.MustParsePrefix("64:ff9b:1::/48"), private},  // NAT64 of the network's own, RFC 8215
	{netip.MustParsePrefix("::ffff:0:0:0/96"), private}, // IPv4-translated, RFC 2765
	{netip.MustParsePrefix("::/8"), never},              // the rest of what is reserved around them
	{netip.MustParsePrefix("100::/64"), never},          // discard
	{netip.MustParsePrefix("2001::/32"), never},         // Teredo: an IPv4 address hides in it
	{netip.MustParsePrefix("2001:10::/28"), never},      // ORCHID
	{netip.MustParsePrefix("5f00::/16"), private},       // segment routing
	{netip.MustParsePrefix("fec0::/10"), private},       // site-local, deprecated
}

// classify says what kind of network an address leads to. An address that holds an IPv4
// address is what that is.
func classify(a netip.Addr) reach {
	a = embedded(a.WithZone("").Unmap())
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast():
		return never
	case services[a]:
		return metadata
	case a.IsLoopback():
		return loopback
	case a.IsLinkLocalUnicast():
		return linkLocal
	case a.IsPrivate():
		return private
	}
	for _, s := range special {
		if s.prefix.Contains(a) {
			return s.is
		}
	}
	return public
}

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	compatible = netip.MustParsePrefix("::/96")        // RFC 4291 2.5.5.1
	sixToFour  = netip.MustParsePrefix("2002::/16")    // RFC 3056
)

// embedded returns the IPv4 address inside an IPv6 one that a gateway would decode, and
// any other address as it is.
func embedded(a netip.Addr) netip.Addr {
	if !a.Is6() || a.IsUnspecified() || a.IsLoopback() {
		return a
	}
	b := a.As16()
	switch {
	case nat64.Contains(a), compatible.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return a
}

// localhost reports whether RFC 6761 gives a name to loopback.
func localhost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// refusal is why an address was not connected to.
type refusal struct {
	addr netip.Addr
	is   reach
	own  bool // it was the feed's own host
}

func (r *refusal) Error() string {
	switch {
	case r.is == metadata || r.is == never:
		return fmt.Sprintf("is at %s, %s, where no feed is fetched from", r.addr, r.is)
	case r.own:
		return fmt.Sprintf("resolves to %s, %s; if that is meant, write the address into the URL", r.addr, r.is)
	}
	return fmt.Sprintf("is at %s, %s, where a redirect of this feed must not lead", r.addr, r.is)
}
