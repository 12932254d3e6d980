package redirect

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go4.org/netipx"
)

const (
	// maxCIDRs and maxPortRanges bound each list of a Config. The rules are sent to the
	// kernel in one message of a few megabytes at most.
	maxCIDRs      = 10_000
	maxPortRanges = 1_000

	dnsPort = 53
)

// UDPMode is what becomes of UDP, and of everything else that is neither TCP nor ICMP.
type UDPMode uint8

const (
	// Drop lets nothing but DNS, answers and what is excluded pass, in either direction.
	Drop UDPMode = iota
	// Allow leaves it alone, but for DNS.
	Allow
)

func (m UDPMode) String() string {
	switch m {
	case Drop:
		return "Drop"
	case Allow:
		return "Allow"
	}
	return fmt.Sprintf("UDPMode(%d)", uint8(m))
}

// ParseUDPMode reads what String writes.
func ParseUDPMode(s string) (UDPMode, error) {
	switch s {
	case "Drop":
		return Drop, nil
	case "Allow":
		return Allow, nil
	}
	return 0, fmt.Errorf("%q is no way to treat UDP; write Drop or Allow", s)
}

// Config is what the rules are made from. Start with [Default]: a port that is zero is an
// error.
type Config struct {
	// OutboundPort is where Envoy accepts what the workload opens. Default 15001.
	OutboundPort uint16
	// InboundPort is where Envoy accepts what comes from outside. Default 15006.
	InboundPort uint16
	// DNSPort is where the agent answers DNS, on 127.0.0.1 and ::1. Default 15053.
	DNSPort uint16
	// AgentPorts are the agent's ports that anybody may reach without Envoy, because the
	// kubelet and scrapers have to. Default 15020 (health and metrics) and 15021 (readiness).
	AgentPorts []uint16

	// UID and GID are whom the agent and its Envoy run as; a socket of both is exempt.
	// Default 1337 for both. The user must not be root: any container that is would be exempt.
	UID, GID uint32
	// Mark is the socket mark that the agent's sockets must have in addition. Default 0: none.
	Mark uint32

	// IncludeOutboundPorts are the TCP ports that are redirected, if not all are to be; the
	// others pass by Envoy. Default none: all ports.
	IncludeOutboundPorts []PortRange
	// ExcludeOutboundPorts are TCP ports that pass by Envoy.
	ExcludeOutboundPorts []PortRange
	// ExcludeOutboundCIDRs are destinations that pass by Envoy, TCP and anything else, but
	// for DNS. At most 10,000; overlaps are merged.
	ExcludeOutboundCIDRs []netip.Prefix
	// IncludeInboundPorts are the TCP ports that are redirected, if not all are to be.
	// Default none: all ports.
	IncludeInboundPorts []PortRange
	// ExcludeInboundPorts are TCP ports of the workload that anybody may reach without Envoy.
	ExcludeInboundPorts []PortRange

	// UDP is what becomes of UDP. Default Drop.
	UDP UDPMode
	// ExcludeUDPPorts are passed though UDP is Drop: to such a port outside, and to such
	// a port of the workload.
	ExcludeUDPPorts []PortRange
}

// Default returns the configuration that documentation and charts assume.
func Default() Config {
	return Config{
		OutboundPort: 15001,
		InboundPort:  15006,
		DNSPort:      15053,
		AgentPorts:   []uint16{15020, 15021},
		UID:          1337,
		GID:          1337,
	}
}

// PortRange is from First to Last, both included.
type PortRange struct{ First, Last uint16 }

func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

func (r PortRange) has(port uint16) bool { return r.First <= port && port <= r.Last }

// ParsePorts reads ports and ranges with commas between, as in "22,8000-8999". The empty
// string is no ports.
func ParsePorts(s string) ([]PortRange, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var list []PortRange
	for part := range strings.SplitSeq(s, ",") {
		if len(list) == maxPortRanges {
			return nil, fmt.Errorf("there are more than %d ports and ranges; join neighbours into ranges", maxPortRanges)
		}
		part = strings.TrimSpace(part)
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || a == 0 || b < a {
			return nil, fmt.Errorf("%.40q is no port or range of ports; write 1 to 65535, or a range as 8000-8999", part)
		}
		list = append(list, PortRange{uint16(a), uint16(b)})
	}
	return list, nil
}

// ParseCIDRs reads ranges of addresses with commas between. A single address is a range of
// one. The empty string is none.
func ParseCIDRs(s string) ([]netip.Prefix, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var list []netip.Prefix
	for part := range strings.SplitSeq(s, ",") {
		if len(list) == maxCIDRs {
			return nil, fmt.Errorf("there are more than %d ranges; exclude larger ones, or decide by a policy instead", maxCIDRs)
		}
		part = strings.TrimSpace(part)
		p, err := netip.ParsePrefix(part)
		if a, errA := netip.ParseAddr(part); errA == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%.60q is no range of addresses; write it as 10.0.0.0/8 or 2001:db8::/32", part)
		}
		list = append(list, p)
	}
	return list, nil
}

// mergeCIDRs joins what overlaps or touches. The prefixes are valid.
func mergeCIDRs(cidrs []netip.Prefix) *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, c := range cidrs {
		b.AddPrefix(c)
	}
	set, err := b.IPSet()
	if err != nil { // only for prefixes that are not valid
		return &netipx.IPSet{}
	}
	return set
}

// mergePorts joins what overlaps or touches. The ranges are valid.
func mergePorts(list []PortRange) []PortRange {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b PortRange) int { return int(a.First) - int(b.First) })
	merged := list[:0]
	for _, r := range list {
		if n := len(merged); n > 0 && int(r.First) <= int(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

func covers(list []PortRange, port uint16) bool {
	return slices.ContainsFunc(list, func(r PortRange) bool { return r.has(port) })
}
