package netpol

import (
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
)

// cidr reads a range. Host bits are no mistake in these objects, and have no meaning.
func (r *reporter) cidr(field, s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil && !p.Addr().Is4In6() {
		return p.Masked(), true
	}
	p, err := api.ParseCIDR(s)
	if err != nil {
		r.fail(CodeAddress, field, "write a range such as 10.0.0.0/8", "%.63q is no range of addresses: the peer is left out", s)
		return netip.Prefix{}, false
	}
	return p, true
}

// port is a number, or a range of them.
func (r *reporter) port(field string, first int32, last *int32) (api.Port, bool) {
	p := api.Port{Port: first, Protocol: api.ProtocolTCP}
	if last != nil {
		p.EndPort = *last
	}
	if first < 1 || first > 65535 || last != nil && (*last < first || *last > 65535) {
		r.fail(CodePort, field, "write 1 to 65535, and an end that is not below", "%d to %d are no ports", first, p.EndPort)
		return api.Port{}, false
	}
	return p, true
}

func (r *reporter) selector(field string, s *metav1.LabelSelector) bool {
	if s == nil {
		return true
	}
	if _, err := metav1.LabelSelectorAsSelector(s); err != nil {
		r.fail(CodeSelector, field, "", "is no label selector: %.200q", err.Error())
		return false
	}
	return true
}
