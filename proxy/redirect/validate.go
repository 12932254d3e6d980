package redirect

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
)

// problems collects everything that is wrong with a Config.
type problems []error

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, fmt.Errorf(field+": "+format, args...))
}

// validate returns every problem at once.
func (c *Config) validate() error {
	var p problems
	c.validatePorts(&p)
	c.validateAgent(&p)
	for _, l := range []struct {
		field string
		list  []PortRange
	}{
		{"includeOutboundPorts", c.IncludeOutboundPorts},
		{"excludeOutboundPorts", c.ExcludeOutboundPorts},
		{"includeInboundPorts", c.IncludeInboundPorts},
		{"excludeInboundPorts", c.ExcludeInboundPorts},
		{"excludeUDPPorts", c.ExcludeUDPPorts},
	} {
		validateRanges(&p, l.field, l.list)
	}
	validateDisjoint(&p, "OutboundPorts", c.IncludeOutboundPorts, c.ExcludeOutboundPorts)
	validateDisjoint(&p, "InboundPorts", c.IncludeInboundPorts, c.ExcludeInboundPorts)
	if covers(c.ExcludeOutboundPorts, dnsPort) {
		p.add("excludeOutboundPorts", "53 is DNS, which always goes to dnsPort; leave it out")
	}
	for _, port := range []uint16{c.OutboundPort, c.InboundPort, c.DNSPort} {
		if covers(c.ExcludeInboundPorts, port) {
			p.add("excludeInboundPorts", "%d is a port of the redirect itself, which nobody outside may reach; leave it out", port)
		}
	}
	if covers(c.ExcludeUDPPorts, c.DNSPort) {
		p.add("excludeUDPPorts", "%d is dnsPort, which nobody outside may reach; leave it out", c.DNSPort)
	}
	switch {
	case c.UDP > Allow:
		p.add("udp", "%s is unknown; it is Drop or Allow", c.UDP)
	case c.UDP == Allow && len(c.ExcludeUDPPorts) > 0:
		p.add("excludeUDPPorts", "with udp Allow all ports pass; leave them out, or set udp to Drop")
	}
	c.validateCIDRs(&p)
	return errors.Join(p...)
}

func (c *Config) validatePorts(p *problems) {
	type named struct {
		name string
		port uint16
	}
	ports := []named{{"outboundPort", c.OutboundPort}, {"inboundPort", c.InboundPort}, {"dnsPort", c.DNSPort}}
	if len(c.AgentPorts) > maxPortRanges {
		p.add("agentPorts", "there are %d; %d is the most", len(c.AgentPorts), maxPortRanges)
		return
	}
	for _, port := range c.AgentPorts {
		ports = append(ports, named{"agentPorts", port})
	}
	of := map[uint16]string{}
	for _, n := range ports {
		switch other, taken := of[n.port]; {
		case n.port == 0:
			p.add(n.name, "0 is no port; write 1 to 65535")
		case n.port == dnsPort && n.name != "agentPorts":
			p.add(n.name, "53 is the port that is redirected; take another")
		case taken:
			p.add(n.name, "%d is taken by %s; each needs a port of its own", n.port, other)
		default:
			of[n.port] = n.name
		}
	}
}

func (c *Config) validateAgent(p *problems) {
	switch c.UID {
	case 0:
		p.add("uid", "the agent must not be root, or every container that is would pass by Envoy; take a user that nothing else runs as")
	case math.MaxUint32:
		p.add("uid", "%d is no user", c.UID)
	}
	if c.GID == math.MaxUint32 {
		p.add("gid", "%d is no group", c.GID)
	}
}

func validateRanges(p *problems, field string, list []PortRange) {
	if len(list) > maxPortRanges {
		p.add(field, "there are %d ports and ranges; %d are the most", len(list), maxPortRanges)
		return
	}
	for _, r := range list {
		if r.First == 0 || r.Last < r.First {
			p.add(field, "%d-%d is no range of ports; write 1 to 65535, the smaller first", r.First, r.Last)
		}
	}
}

func validateDisjoint(p *problems, what string, include, exclude []PortRange) {
	if len(include) > maxPortRanges || len(exclude) > maxPortRanges {
		return // reported
	}
	for _, in := range include {
		for _, ex := range exclude {
			if in.First <= ex.Last && ex.First <= in.Last {
				p.add("exclude"+what, "%s overlaps with %s of include%s; a port is either redirected or not", ex, in, what)
				return
			}
		}
	}
}

func (c *Config) validateCIDRs(p *problems) {
	const field = "excludeOutboundCIDRs"
	if len(c.ExcludeOutboundCIDRs) > maxCIDRs {
		p.add(field, "there are %d; %d are the most: exclude larger ranges, or decide by a policy instead",
			len(c.ExcludeOutboundCIDRs), maxCIDRs)
		return
	}
	bad := len(*p)
	for _, cidr := range c.ExcludeOutboundCIDRs {
		switch {
		case !cidr.IsValid():
			p.add(field, "there is one that is no range of addresses")
		case cidr.Addr().Is4In6():
			p.add(field, "%s is IPv4 written as IPv6; write it as IPv4", cidr)
		case cidr != cidr.Masked():
			p.add(field, "%s has bits beyond its length; write %s", cidr, cidr.Masked())
		}
	}
	if len(*p) > bad {
		return
	}
	for _, set := range []struct {
		family string
		all    netip.Prefix
	}{{"IPv4", netip.MustParsePrefix("0.0.0.0/0")}, {"IPv6", netip.MustParsePrefix("::/0")}} {
		if mergeCIDRs(c.ExcludeOutboundCIDRs).ContainsPrefix(set.all) {
			p.add(field, "that is all of %s, and nothing would be redirected; exclude what is meant", set.family)
		}
	}
}
