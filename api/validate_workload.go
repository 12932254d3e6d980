package api

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

func validateWorkload(r *reporter, spec *WorkloadSpec) {
	if sa := spec.ServiceAccount; sa != "" && len(validation.IsDNS1123Subdomain(sa)) > 0 {
		r.reportIn("serviceAccount", CodeReference, "", "%s is not the name of a service account", quote(sa))
	}
	workloadAddresses(r, "addresses", spec.Addresses, "no connection comes from")
	workloadAddresses(r, "serviceAddresses", spec.ServiceAddresses, "no connection is made to")
	names := map[string]string{}
	r.in("inbound")
	for i := range spec.Inbound {
		r.at(i)
		validateInbound(r, &spec.Inbound[i])
		listenerName(r, names, spec.Inbound[i].Name, inboundName(&spec.Inbound[i]), "inbound["+strconv.Itoa(i)+"]")
		r.out()
	}
	r.out()
	r.in("outbound")
	for i := range spec.Outbound {
		o := &spec.Outbound[i]
		r.at(i)
		listenAddress(r, o.Address)
		port(r, "port", o.Port)
		validateHTTPOptions(r, o.HTTP)
		listenerName(r, names, o.Name, outboundName(o), "outbound["+strconv.Itoa(i)+"]")
		r.out()
	}
	r.out()
	if spec.Transparent != nil {
		validateTransparent(r, names, spec.Transparent)
	}
	r.in("feeds")
	enum(r, "onFailure", spec.Feeds.OnFailure, false, FailOpen, FailClosed)
	r.out()
}

func workloadAddresses(r *reporter, field string, list []string, useless string) {
	r.in(field)
	defer r.out()
	for i, s := range list {
		r.at(i)
		if addr, f := parseAddr(s, s); f != nil {
			f.code = CodeWorkloadAddress
			if strings.Contains(s, "/") {
				f.message, f.fix = quote(s)+" is a range", "list single addresses"
			}
			r.reportFault(f)
		} else if addr.Unmap().IsUnspecified() || addr.Unmap().IsMulticast() {
			r.report(CodeWorkloadAddress, "", useless+" %s", addr)
		}
		r.out()
	}
}

func validateTransparent(r *reporter, names map[string]string, t *Transparent) {
	r.in("transparent")
	defer r.out()
	for _, name := range []string{"outbound", "inbound"} {
		if other, taken := names[name]; taken {
			r.report(CodeListenerTwice, "rename "+other, "%s is called %s, as the listener that transparent makes is", other, quote(name))
		}
	}
	if t.OutboundPort != 0 {
		port(r, "outboundPort", t.OutboundPort)
	}
	if t.InboundPort != 0 {
		port(r, "inboundPort", t.InboundPort)
	}
	if cmp.Or(t.OutboundPort, TransparentOutboundPort) == cmp.Or(t.InboundPort, TransparentInboundPort) {
		r.reportIn("inboundPort", CodeTransparent, "", "the two directions need a port each")
	}
	if len(t.OpaquePorts) > maxOpaquePorts {
		r.reportIn("opaquePorts", CodeTransparent, "", "%d ports; at most %d", len(t.OpaquePorts), maxOpaquePorts)
		return
	}
	r.in("opaquePorts")
	for i, p := range t.OpaquePorts {
		if r.at(i); p < 1 || p > 65535 {
			r.report(CodePort, "write 1 to 65535", "%d is not a port", p)
		}
		r.out()
	}
	r.out()
	validateHTTPOptions(r, t.HTTP)
}

// maxOpaquePorts bounds the tests that each connection meets.
const maxOpaquePorts = 64

func inboundName(l *Inbound) string {
	if l.Name != "" {
		return l.Name
	}
	return "inbound-" + strconv.Itoa(int(l.Port))
}

func outboundName(l *Outbound) string {
	if l.Name != "" {
		return l.Name
	}
	return "outbound-" + strconv.Itoa(int(l.Port))
}

func listenerName(r *reporter, names map[string]string, written, effective, place string) {
	if written != "" && (len(written) > 40 || len(validation.IsDNS1123Label(written)) > 0) {
		r.reportIn("name", CodeListenerName, "", "%s is not a name: up to 40 of a-z, 0-9 and -, a letter or digit first and last", quote(written))
	}
	if other, taken := names[effective]; taken {
		r.reportIn("name", CodeListenerTwice, "rename one of them", "%s is also called %s", other, quote(effective))
		return
	}
	names[effective] = place
}

func validateInbound(r *reporter, l *Inbound) {
	listenAddress(r, l.Address)
	port(r, "port", l.Port)
	enum(r, "protocol", l.Protocol, false, TrafficHTTP, TrafficTCP, TrafficTLS)
	if l.HTTP != nil && (l.Protocol == TrafficTCP || l.Protocol == TrafficTLS) {
		r.reportIn("http", CodeHTTPOptions, "remove it, or write protocol: HTTP", "http means nothing with protocol %s", l.Protocol)
	}
	validateHTTPOptions(r, l.HTTP)
	if !required(r, "upstream", l.Upstream) {
		return
	}
	r.in("upstream")
	upstream, f := parseUpstream(l.Upstream)
	r.reportFault(f)
	if own, ok := listenOn(l.Address, l.Port); ok && f == nil && own == upstream {
		r.report(CodeUpstreamLoop, "", "%s is where this listener listens, so it would hand connections to itself", upstream)
	}
	r.out()
}

func validateHTTPOptions(r *reporter, o *HTTPOptions) {
	if o == nil {
		return
	}
	r.in("http")
	enum(r, "escapedSlashes", o.EscapedSlashes, false, EscapedSlashesDeny, EscapedSlashesUnescape)
	enum(r, "pathParameters", o.PathParameters, false, PathParametersDeny, PathParametersLiteral)
	r.out()
}

func listenAddress(r *reporter, s string) {
	if s == "" {
		return
	}
	r.in("address")
	if _, f := parseAddr(s, s); f != nil {
		f.code = CodeListenerAddress
		r.reportFault(f)
	}
	r.out()
}

// listenOn is where a listener listens, with its default filled in.
func listenOn(address string, port int32) (netip.AddrPort, bool) {
	if port < 1 || port > 65535 {
		return netip.AddrPort{}, false
	}
	if address == "" {
		address = "127.0.0.1"
	}
	addr, f := parseAddr(address, address)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), f == nil
}

// ParseUpstream reads ADDRESS:PORT. The address is never a name, so that nothing
// outside the object decides where traffic goes.
func ParseUpstream(s string) (netip.AddrPort, error) {
	a, f := parseUpstream(s)
	return a, f.asError()
}

func parseUpstream(s string) (netip.AddrPort, *fault) {
	a, err := netip.ParseAddrPort(s)
	switch {
	case err == nil && a.Port() == 0:
		return netip.AddrPort{}, faultf(CodeUpstream, "", "%s has no port that could be connected to", quote(s))
	case err == nil && a.Addr().Zone() == "":
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
	}
	fix := "write ADDRESS:PORT"
	if port, ok := strings.CutPrefix(s, "localhost:"); ok {
		fix = "write 127.0.0.1:" + printable(shorten(port))
	}
	return netip.AddrPort{}, faultf(CodeUpstream, fix, "%s is not an IP address and a port", quote(s))
}
