package decisions

import (
	"time"

	"pavise.dev/pavise/policy"
)

// From is the host that decided.
type From string

const (
	// Envoy decided by its RBAC filter or by the module.
	Envoy From = "envoy"
	// ExtAuthz is the authorization service.
	ExtAuthz From = "ext_authz"
	// DNS is the resolver.
	DNS From = "dns"
)

// PathRefused is Envoy's Detail of a request whose path it could not bring to one form. What
// is recorded of the path is how far it came.
const PathRefused = "path_normalization_failed"

// Record is one decision, as it is printed: a JSON object on a line. Fields without a value
// are left out, but for time, listener, verdict and reason. It is a plain value.
type Record struct {
	// Time is when the request or connection began; the time of Add where it is zero.
	Time time.Time `json:"time"`
	From From      `json:"from,omitempty"`
	// Workload is NAMESPACE/NAME.
	Workload string `json:"workload,omitempty"`
	// Listener is NAMESPACE/WORKLOAD/LISTENER.
	Listener  string           `json:"listener"`
	Direction policy.Direction `json:"direction,omitempty"`
	Verdict   policy.Verdict   `json:"verdict"`
	Reason    string           `json:"reason"`
	// Policy and Rule are those of the rule that decided, where one did.
	Policy string `json:"policy,omitempty"`
	Rule   string `json:"rule,omitempty"`
	// AuditVerdict and AuditReason are what the audited policies would have made of
	// it; empty where none selects the workload.
	AuditVerdict policy.Verdict `json:"auditVerdict,omitempty"`
	AuditReason  string         `json:"auditReason,omitempty"`
	// Feed is the entry for which it was denied; Alert one of a feed that only alerts, met
	// by something that was allowed or that was denied for another reason.
	Feed  Hit `json:"feed,omitzero"`
	Alert Hit `json:"alert,omitzero"`

	// Source and Destination are ADDRESS:PORT.
	Source      string `json:"source,omitempty"`
	Destination string `json:"destination,omitempty"`
	ServerName  string `json:"serverName,omitempty"`
	Method      string `json:"method,omitempty"`
	Host        string `json:"host,omitempty"`
	// Path is as it was decided on, without the query, which may hold secrets.
	Path string `json:"path,omitempty"`
	// Names that the destination of a redirected connection was resolved from.
	Names Lines `json:"names,omitempty"`
	// Headers are those that a rule of the listener asks for, as NAME: VALUE; Query has the
	// parameters that one asks for, as they were sent. Values that no rule compares, and
	// those of names such as authorization, are [redacted].
	Headers Lines  `json:"headers,omitempty"`
	Query   string `json:"query,omitempty"`
	// Question is what DNS was asked, and Answer the response code, such as NXDOMAIN.
	Question Question `json:"question,omitzero"`
	Answer   string   `json:"answer,omitempty"`
	// Status of the response.
	Status    uint32 `json:"status,omitempty"`
	RequestID string `json:"requestID,omitempty"`
	// Detail is the host's word for how the response came about.
	Detail string `json:"detail,omitempty"`

	// Sampled is set by Add: this is one of so many allows.
	Sampled uint32 `json:"sampled,omitempty"`
	// Count is set by Add: this stands for so many decisions, which came within a second
	// of Time. Fields in which they differ are left out, and the port of the source is.
	Count uint64 `json:"count,omitempty"`
}

// Hit is an entry of a threat feed that was met.
type Hit struct {
	// Name of the feed.
	Name string `json:"name"`
	// Line of the feed, from 1, and the entry in it. 0 and empty where no entry decided but
	// that the feed was never loaded.
	Line  uint32 `json:"line,omitempty"`
	Entry string `json:"entry,omitempty"`
	// Asked is what of the request met it: source, destination, serverName, host, name
	// or answer.
	Asked string `json:"asked,omitempty"`
}

// Question is what DNS was asked.
type Question struct {
	Name string `json:"name"`
	// Type of record, such as AAAA.
	Type string `json:"type,omitempty"`
}

// plain says that it was allowed and that nobody has anything against it. Only plain
// records are sampled, and they are the first for which there is no room.
func (r *Record) plain() bool {
	return r.Verdict == policy.Allowed && r.AuditVerdict != policy.Denied && r.Feed == Hit{} && r.Alert == Hit{}
}

// weight is the number of decisions that it stands for.
func (r *Record) weight() uint64 { return max(1, r.Count) }
