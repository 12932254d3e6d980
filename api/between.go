package api

import (
	"cmp"
	"fmt"
	"net/netip"
)

// owner is who has an address, and as what.
type owner struct {
	workload *Workload
	what     string
}

// checkWorkloads finds what only shows when all workloads are seen together: two
// listeners in one place, and two workloads that come from one address.
func checkWorkloads(s *Set) {
	listeners := map[netip.AddrPort]owner{}
	addresses := map[netip.Addr]owner{}
	for _, w := range s.Workloads {
		for i := range w.Spec.Inbound {
			l := &w.Spec.Inbound[i]
			claimListener(s, listeners, w, fmt.Sprintf("spec.inbound[%d]", i), inboundName(l), l.Address, l.Port)
		}
		for i := range w.Spec.Outbound {
			l := &w.Spec.Outbound[i]
			claimListener(s, listeners, w, fmt.Sprintf("spec.outbound[%d]", i), outboundName(l), l.Address, l.Port)
		}
		if t := w.Spec.Transparent; t != nil {
			// Only of its own: each transparent workload has a network namespace to itself.
			own := map[netip.AddrPort]owner{}
			for on, o := range listeners {
				if o.workload == w {
					own[netip.AddrPortFrom(netip.IPv6Unspecified(), on.Port())] = o
				}
			}
			out, in := cmp.Or(t.OutboundPort, TransparentOutboundPort), cmp.Or(t.InboundPort, TransparentInboundPort)
			claimListener(s, own, w, "spec.transparent", "outbound", anywhere, out)
			if in != out {
				claimListener(s, own, w, "spec.transparent", "inbound", anywhere, in)
			}
		}
		for i, text := range w.Spec.Addresses {
			addr, f := parseAddr(text, text)
			if f != nil {
				continue
			}
			addr = addr.Unmap()
			if first, taken := addresses[addr]; !taken {
				addresses[addr] = owner{w, "an address"}
			} else if first.workload != w {
				s.shared(w, fmt.Sprintf("spec.addresses[%d]", i), CodeAddressShared, addr, first, "policies could not tell the two apart")
			}
		}
	}
}

// anywhere is the address of transparent listeners.
const anywhere = "::"

func claimListener(s *Set, listeners map[netip.AddrPort]owner, w *Workload, field, name, address string, port int32) {
	on, ok := listenOn(address, port)
	if !ok {
		return
	}
	if first, taken := listeners[on]; taken {
		s.shared(w, field, CodeListenerShared, on, first, "one of them could not listen")
		return
	}
	listeners[on] = owner{w, "listener " + quote(name)}
}

// shared reports a field whose value somebody else has already.
func (s *Set) shared(w *Workload, field, code string, value fmt.Stringer, first owner, why string) {
	r := &s.between
	file, line := s.Position(KindWorkload, w.Namespace, w.Name, field)
	r.file, r.object, r.path = file, ObjectName(KindWorkload, w.Namespace, w.Name), parseFieldPath(field)
	r.reportLine(line, code, "", "%s is also %s of %s%s: %s", value, first.what,
		ObjectName(KindWorkload, first.workload.Namespace, first.workload.Name), s.places[keyOf(first.workload)], why)
	r.path = nil
}
