package otlp

import (
	"net"
	"net/netip"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// eventName is what every record is an event of.
const eventName = "pavise.decision"

// emitted makes a log record of a decision:
//
//	source, destination   source.address, source.port, destination.address, destination.port
//	host                  server.address, server.port
//	method                http.request.method, with http.request.method_original for odd ones
//	path, query, status   url.path, url.query, http.response.status_code
//	question              dns.question.name, pavise.question.type
//
// All other fields are pavise.FIELD, with the name they have in JSON; of feed and alert
// pavise.feed.name and so on.
func emitted(r *decisions.Record) (out log.Record) {
	out.SetTimestamp(r.Time)
	out.SetObservedTimestamp(time.Now())
	out.SetEventName(eventName)
	out.SetSeverity(log.SeverityInfo)
	out.SetSeverityText("INFO")
	if r.Verdict == policy.Denied {
		out.SetSeverity(log.SeverityWarn)
		out.SetSeverityText("WARN")
	}
	// Some show the body as it is: nothing in it is the sender's.
	out.SetBody(attribute.StringValue(string(r.Verdict) + " " + r.Reason))

	a := attributes{make([]attribute.KeyValue, 0, 32)}
	a.text("pavise.from", string(r.From))
	a.text("pavise.workload", r.Workload)
	a.text("pavise.listener", r.Listener)
	a.text("pavise.direction", string(r.Direction))
	a.text("pavise.verdict", string(r.Verdict))
	a.text("pavise.reason", r.Reason)
	a.text("pavise.policy", r.Policy)
	a.text("pavise.rule", r.Rule)
	a.text("pavise.auditVerdict", string(r.AuditVerdict))
	a.text("pavise.auditReason", r.AuditReason)
	a.hit("pavise.feed", r.Feed)
	a.hit("pavise.alert", r.Alert)
	a.place(semconv.SourceAddressKey, semconv.SourcePortKey, r.Source)
	a.place(semconv.DestinationAddressKey, semconv.DestinationPortKey, r.Destination)
	a.text("pavise.serverName", r.ServerName)
	a.method(r.Method)
	a.place(semconv.ServerAddressKey, semconv.ServerPortKey, r.Host)
	a.text(semconv.URLPathKey, r.Path)
	a.text(semconv.URLQueryKey, r.Query)
	a.list("pavise.names", r.Names)
	a.list("pavise.headers", r.Headers)
	a.text(semconv.DNSQuestionNameKey, r.Question.Name)
	a.text("pavise.question.type", r.Question.Type)
	a.text("pavise.answer", r.Answer)
	a.number(semconv.HTTPResponseStatusCodeKey, uint64(r.Status))
	a.text("pavise.requestID", r.RequestID)
	a.text("pavise.detail", r.Detail)
	a.number("pavise.sampled", uint64(r.Sampled))
	a.number("pavise.count", r.Count)
	out.AddAttributes(a.all...)
	return out
}

type attributes struct{ all []attribute.KeyValue }

func (a *attributes) list(key attribute.Key, l decisions.Lines) {
	if l != "" {
		a.all = append(a.all, key.StringSlice(l.List()))
	}
}

func (a *attributes) text(key attribute.Key, s string) {
	if s != "" {
		a.all = append(a.all, key.String(s))
	}
}

func (a *attributes) number(key attribute.Key, n uint64) {
	if n != 0 {
		a.all = append(a.all, key.Int64(int64(min(n, 1<<63-1))))
	}
}

func (a *attributes) hit(prefix attribute.Key, h decisions.Hit) {
	a.text(prefix+".name", h.Name)
	a.number(prefix+".line", uint64(h.Line))
	a.text(prefix+".entry", h.Entry)
	a.text(prefix+".asked", h.Asked)
}

// place splits ADDRESS:PORT or HOST:PORT. What is neither is the address as it stands.
func (a *attributes) place(address, port attribute.Key, s string) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		a.text(address, ap.Addr().String())
		a.number(port, uint64(ap.Port()))
		return
	}
	if host, digits, err := net.SplitHostPort(s); err == nil {
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
			a.text(address, host)
			a.number(port, n)
			return
		}
	}
	a.text(address, s)
}

// method has a value out of a fixed set, so that nobody makes metrics explode by methods of
// their own; the others are _OTHER, as the semantic conventions want it.
func (a *attributes) method(s string) {
	switch s {
	case "":
	case "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "QUERY":
		a.text(semconv.HTTPRequestMethodKey, s)
	default:
		a.text(semconv.HTTPRequestMethodKey, "_OTHER")
		a.text(semconv.HTTPRequestMethodOriginalKey, s)
	}
}
