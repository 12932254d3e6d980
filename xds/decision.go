package xds

import (
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"

	"pavise.dev/pavise/policy"
)

// Decision is what Envoy decided on one request or connection.
type Decision struct {
	Time time.Time `json:"time"`
	// Listener is NAMESPACE/WORKLOAD/LISTENER.
	Listener string         `json:"listener"`
	Verdict  policy.Verdict `json:"verdict"`
	Reason   string         `json:"reason"`
	// AuditVerdict and AuditReason are what the audited policies would have made of
	// it; empty where none selects the workload.
	AuditVerdict policy.Verdict `json:"auditVerdict,omitempty"`
	AuditReason  string         `json:"auditReason,omitempty"`

	Source      string `json:"source,omitempty"`
	Destination string `json:"destination,omitempty"`
	ServerName  string `json:"serverName,omitempty"`
	Method      string `json:"method,omitempty"`
	Host        string `json:"host,omitempty"`
	// Path is as it was decided on, without the query, which may hold secrets.
	Path      string `json:"path,omitempty"`
	Status    uint32 `json:"status,omitempty"`
	RequestID string `json:"requestID,omitempty"`
	// Detail is Envoy's word for how the response came about.
	Detail string `json:"detail,omitempty"`
}

// pathFailed is Envoy's detail for a path that it could not normalise.
const pathFailed = "path_normalization_failed"

// notResolved is Envoy's detail for a name that has no address.
const notResolved = "dns_resolution_failure"

func httpDecision(listener string, e *accesslogv3.HTTPAccessLogEntry) Decision {
	d := common(listener, httpRBAC, e.GetCommonProperties())
	d.Method = e.GetRequest().GetRequestHeaders()[":method"]
	d.Host = e.GetRequest().GetAuthority()
	d.Path, _, _ = strings.Cut(e.GetRequest().GetPath(), "?")
	d.RequestID = e.GetRequest().GetRequestId()
	d.Status = e.GetResponse().GetResponseCode().GetValue()
	d.Detail = e.GetResponse().GetResponseCodeDetails()
	if strings.HasPrefix(d.Detail, notResolved) {
		// The preliminary program let it on, and there it ended.
		d.Verdict, d.Reason = policy.Denied, string(policy.NotResolved)
		d.AuditVerdict, d.AuditReason = "", ""
	}
	if d.Verdict != "" {
		return d
	}
	// No policy was asked: Envoy refused the request itself.
	d.Verdict = policy.Denied
	d.Reason = string(policy.MalformedRequest)
	if d.Detail == pathFailed {
		d.Reason = string(policy.AmbiguousPath)
	}
	return d
}

// tcpDecision takes the verdict from where Envoy sent the connection, and the reason
// from the same rules: Envoy has no place to leave one when it chooses a filter chain.
func tcpDecision(logName string, decider *policy.Listener, e *accesslogv3.TCPAccessLogEntry) Decision {
	p := e.GetCommonProperties()
	listener, denied := strings.CutSuffix(logName, deniedSuffix)
	d := common(listener, "", p)
	d.Detail = p.GetConnectionTerminationDetails()
	d.Verdict = policy.Allowed
	if denied {
		d.Verdict = policy.Denied
	}
	if decider == nil {
		return d
	}
	source, err := netip.ParseAddrPort(d.Source)
	if err != nil {
		return d
	}
	x := decider.Evaluate(&policy.Request{Source: source.Addr(), ServerName: d.ServerName})
	d.Reason = x.Reason.String()
	if x.Verdict != d.Verdict {
		d.Reason = string(policy.PolicyUpdating) // the rules have changed since
	}
	if x.Audit != nil {
		d.AuditVerdict, d.AuditReason = x.Audit.Verdict, x.Audit.Reason.String()
	}
	return d
}

// common reads what the RBAC filter left in the metadata.
func common(listener, filter string, p *accesslogv3.AccessLogCommon) Decision {
	d := Decision{
		Time:        p.GetStartTime().AsTime(),
		Listener:    listener,
		Source:      address(p.GetDownstreamDirectRemoteAddress()),
		Destination: address(p.GetUpstreamRemoteAddress()),
		ServerName:  p.GetTlsProperties().GetTlsSniHostname(),
	}
	fields := p.GetMetadata().GetFilterMetadata()[filter].GetFields()
	str := func(key string) string { return fields[key].GetStringValue() }
	d.Verdict, d.Reason = verdict(str(enforcedResult)), str(enforcedID)
	d.AuditVerdict, d.AuditReason = verdict(str(shadowResult)), str(shadowID)
	if d.AuditVerdict == "" && str(preliminaryStat+shadowResult) == resultDenied {
		// It ended before the name was looked up: only a denial holds whatever the address.
		d.AuditVerdict, d.AuditReason = policy.Denied, str(preliminaryStat+shadowID)
	}
	return d
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
