package extauthz

import (
	"net/netip"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

// record says what was decided of what, as it was asked: whoever keeps it bounds it.
func record(a *authv3.AttributeContext, d filter.Direction, o *outcome) decisions.Record {
	h := a.GetRequest().GetHttp()
	path, _, _ := strings.Cut(h.GetPath(), "?")
	r := decisions.Record{
		From:        decisions.ExtAuthz,
		Direction:   policy.Ingress,
		Verdict:     policy.Allowed,
		Source:      peer(a.GetSource()),
		Destination: peer(a.GetDestination()),
		ServerName:  a.GetTlsSession().GetSni(),
		Method:      h.GetMethod(),
		Host:        h.GetHost(),
		Path:        path,
		RequestID:   h.GetHeaders()["x-request-id"],
	}
	if t := a.GetRequest().GetTime(); t != nil {
		r.Time = t.AsTime()
	}
	if d == filter.Egress {
		r.Direction = policy.Egress
	}
	hit := decisions.Hit{Name: o.feed, Line: o.line, Entry: o.entry, Asked: o.about}
	if o.action == filter.Alert {
		r.Alert = hit
		return r
	}
	r.Verdict, r.Reason, r.Feed = policy.Denied, o.reason, hit
	if h != nil {
		r.Status = 403
	}
	return r
}

// peer is ADDRESS:PORT, or empty for what has none.
func peer(p *authv3.AttributeContext_Peer) string {
	ip, err := address(p)
	if err != nil || !ip.IsValid() {
		return ""
	}
	return netip.AddrPortFrom(ip, uint16(p.GetAddress().GetSocketAddress().GetPortValue())).String() //nolint:gosec // a port
}
