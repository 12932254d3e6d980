package xds

import (
	"net/netip"
	"path"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/matcher"
)

// notResolved is Envoy's detail for a name that has no address.
const notResolved = "dns_resolution_failure"

func httpDecision(of logOf, e *accesslogv3.HTTPAccessLogEntry) decisions.Record {
	d := common(of, httpRBAC, e.GetCommonProperties())
	d.Method = e.GetRequest().GetRequestHeaders()[":method"]
	d.Host = e.GetRequest().GetAuthority()
	var query string
	d.Path, query, _ = strings.Cut(e.GetRequest().GetPath(), "?")
	d.Headers, d.Query = of.recorded.lines(e.GetRequest().GetRequestHeaders()), of.recorded.parameters(query)
	if d.Direction == policy.Egress && d.Destination == "" {
		d.Destination = proxied(d.Host, e.GetCommonProperties())
	}
	d.RequestID = e.GetRequest().GetRequestId()
	d.Status = e.GetResponse().GetResponseCode().GetValue()
	d.Detail = e.GetResponse().GetResponseCodeDetails()
	if strings.HasPrefix(d.Detail, notResolved) {
		// The preliminary program let it on, and there it ended.
		d.Verdict = policy.Denied
		because(&d, string(policy.NotResolved))
		d.AuditVerdict, d.AuditReason = "", ""
	}
	if d.Verdict != "" {
		return d
	}
	// No policy was asked: Envoy refused the request itself.
	d.Verdict = policy.Denied
	d.Reason = string(policy.MalformedRequest)
	if d.Detail == decisions.PathRefused {
		d.Reason = string(policy.AmbiguousPath)
	}
	return d
}

// proxied is what is known of the address for which a proxy denied what it did not connect to:
// the address that was asked for; or, as Envoy tells nobody that of a name, the closest prefix
// around it that any rule names. It is empty where there is none, and where what is denied was
// denied by its name.
func proxied(authority string, p *accesslogv3.AccessLogCommon) string {
	host, port, ok := policy.CanonicalHost(authority)
	if !ok {
		return ""
	}
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		if port <= 0 {
			return a.String()
		}
		return netip.AddrPortFrom(a, uint16(port)).String() //nolint:gosec // a port
	}
	class := p.GetMetadata().GetFilterMetadata()[httpRBAC].GetFields()[destinationStat+shadowID].GetStringValue()
	return matcher.PrefixOf(class)
}

// tcpDecision takes the verdict from where Envoy sent the connection, and the reason
// from the same rules: Envoy has no place to leave one when it chooses a filter chain.
func tcpDecision(of logOf, e *accesslogv3.TCPAccessLogEntry) decisions.Record {
	p := e.GetCommonProperties()
	d := common(of, "", p)
	d.Detail = p.GetConnectionTerminationDetails()
	if d.Verdict != "" {
		return d // the feeds denied it, before the chain could
	}
	d.Verdict = policy.Allowed
	if of.denied {
		d.Verdict = policy.Denied
	}
	source, err := netip.ParseAddrPort(d.Source)
	if err != nil {
		return d
	}
	req := &policy.Request{Source: source.Addr(), ServerName: d.ServerName, Names: d.Names.List()}
	if to, err := netip.ParseAddrPort(address(p.GetDownstreamLocalAddress())); err == nil {
		req.Destination, req.Port = to.Addr(), to.Port()
	}
	if of.rules == nil {
		if k := of.reasons.listener(of.listener); k != nil {
			because(&d, k.reason(req))
		}
		return d
	}
	x := of.rules.Evaluate(req)
	because(&d, x.Reason.String())
	if x.Verdict != d.Verdict {
		because(&d, string(policy.PolicyUpdating)) // the rules have changed since
	}
	if x.Audit != nil {
		d.AuditVerdict, d.AuditReason = x.Audit.Verdict, x.Audit.Reason.String()
	}
	return d
}

// common reads what the module and the RBAC filter left in the metadata.
func common(of logOf, filter string, p *accesslogv3.AccessLogCommon) decisions.Record {
	d := decisions.Record{
		Time:        p.GetStartTime().AsTime(),
		From:        decisions.Envoy,
		Workload:    path.Dir(of.listener),
		Listener:    of.listener,
		Source:      address(p.GetDownstreamDirectRemoteAddress()),
		Destination: address(p.GetUpstreamRemoteAddress()),
		ServerName:  p.GetTlsProperties().GetTlsSniHostname(),
		Names:       decisions.JoinLines(names(p)),
	}
	transparent := false
	if l := of.rules; l != nil {
		d.Direction, transparent = l.Direction, l.Traffic == policy.Transparent
	} else if k := of.reasons.listener(of.listener); k != nil {
		d.Direction, transparent = k.direction, k.transparent
	}
	if transparent {
		d.Destination = address(p.GetDownstreamLocalAddress())
	}
	fields := p.GetMetadata().GetFilterMetadata()[filter].GetFields()
	str := func(key string) string { return fields[key].GetStringValue() }
	d.Verdict = verdict(str(enforcedResult))
	because(&d, str(enforcedID))
	d.AuditVerdict, d.AuditReason = verdict(str(shadowResult)), str(shadowID)
	if d.AuditVerdict == "" && str(preliminaryStat+shadowResult) == resultDenied {
		// It ended before the name was looked up: only a denial holds whatever the address.
		d.AuditVerdict, d.AuditReason = policy.Denied, str(preliminaryStat+shadowID)
	}
	feeds(&d, p)
	return d
}

// because gives a decision its reason, and the rule where one decided.
func because(d *decisions.Record, reason string) {
	d.Reason, d.Policy, d.Rule = reason, "", ""
	if r := policy.ParseReason(reason); r.Kind == policy.ByRule {
		d.Policy, d.Rule = r.Policy.String(), r.Rule
	}
}

// feeds reads what the module found. What it denied met no policy.
func feeds(d *decisions.Record, p *accesslogv3.AccessLogCommon) {
	fields := p.GetMetadata().GetFilterMetadata()[feedsFilter].GetFields()
	if len(fields) == 0 {
		return
	}
	str := func(key string) string { return fields[key].GetStringValue() }
	line, _ := strconv.ParseUint(str("line"), 10, 32) // 0 where no entry decided
	hit := decisions.Hit{Name: str("feed"), Line: uint32(line), Entry: str("entry"), Asked: str("asked")}
	if str("action") != "deny" {
		d.Alert = hit
		return
	}
	d.Verdict, d.Feed = policy.Denied, hit
	because(d, str("reason"))
}

// names are those that the destination was resolved from, see [matcher.NamesKey].
func names(p *accesslogv3.AccessLogCommon) []string {
	var s wrapperspb.StringValue
	if a := p.GetFilterStateObjects()[matcher.NamesKey]; a == nil || a.UnmarshalTo(&s) != nil {
		return nil
	}
	return strings.FieldsFunc(s.GetValue(), func(r rune) bool { return r == ',' })
}

func verdict(result string) policy.Verdict {
	switch result {
	case "allowed":
		return policy.Allowed
	case resultDenied:
		return policy.Denied
	}
	return ""
}

func address(a *corev3.Address) string {
	s := a.GetSocketAddress()
	if s == nil {
		return ""
	}
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil {
		return s.GetAddress()
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(s.GetPortValue())).String() //nolint:gosec // a port
}
