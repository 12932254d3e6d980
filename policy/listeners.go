package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"pavise.dev/pavise/api"
)

const loopback = "127.0.0.1"

func inbound(in *api.Inbound, p *Program) *Listener {
	traffic := Traffic(strings.ToLower(string(cmp.Or(in.Protocol, api.TrafficHTTP))))
	upstream, _ := netip.ParseAddrPort(in.Upstream)
	return &Listener{
		Name: cmp.Or(in.Name, defaultListenerName("inbound", in.Port)), Direction: Ingress, Traffic: traffic,
		Address: addrPort(in.Address, in.Port), Upstream: upstream, Paths: pathOptions(in.HTTP), Program: p,
	}
}

func outbound(out *api.Outbound, p *Program) *Listener {
	return &Listener{
		Name: cmp.Or(out.Name, defaultListenerName("outbound", out.Port)), Direction: Egress, Traffic: Proxy,
		Address: addrPort(out.Address, out.Port), Paths: pathOptions(out.HTTP), Program: p,
	}
}

// transparent listens on every address, since a redirected connection keeps its own.
func transparent(t *api.Transparent, d Direction, p *Program) *Listener {
	port := cmp.Or(t.InboundPort, api.TransparentInboundPort)
	if d == Egress {
		port = cmp.Or(t.OutboundPort, api.TransparentOutboundPort)
	}
	l := &Listener{
		Name: map[Direction]string{Ingress: "inbound", Egress: "outbound"}[d], Direction: d, Traffic: Transparent,
		Address: netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)), Paths: pathOptions(t.HTTP), Program: p, //nolint:gosec // validated to 1..65535
	}
	opaque := t.OpaquePorts
	if opaque == nil {
		opaque = api.DefaultOpaquePorts
	}
	for _, o := range opaque {
		l.Opaque = append(l.Opaque, uint16(o)) //nolint:gosec // validated to 1..65535
	}
	slices.Sort(l.Opaque)
	l.Opaque = slices.Compact(l.Opaque)
	return l
}

func addrPort(address string, port int32) netip.AddrPort {
	a, _ := netip.ParseAddr(cmp.Or(address, loopback))
	return netip.AddrPortFrom(a, uint16(port)) //nolint:gosec // validated to 1..65535
}

func pathOptions(o *api.HTTPOptions) PathOptions {
	if o == nil {
		return PathOptions{}
	}
	return PathOptions{
		UnescapeSlashes:   o.EscapedSlashes == api.EscapedSlashesUnescape,
		LiteralParameters: o.PathParameters == api.PathParametersLiteral,
	}
}
