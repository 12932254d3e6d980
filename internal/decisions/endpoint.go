package decisions

import "net/netip"

// Endpoint reads a Record's Source or Destination: ADDRESS:PORT, or ADDRESS with port 0. The
// address is not valid for anything else.
func Endpoint(s string) (netip.Addr, uint16) {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr().Unmap().WithZone(""), a.Port()
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone(""), 0
	}
	return netip.Addr{}, 0
}
