package admin

import (
	"cmp"
	"strings"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

// resolve fills in what a transparent listener knows of a connection and a query leaves
// out: the port that the URL implies, and that the name was resolved.
func resolve(l *policy.Listener, req *policy.Request, q Query) {
	if l.Traffic != policy.Transparent {
		return
	}
	if req.HTTP == nil {
		req.Port = cmp.Or(req.Port, 443)
	} else if host, port, ok := policy.CanonicalHost(req.HTTP.Authority); ok {
		if port == policy.NoPort {
			port = 80
		}
		req.Port = cmp.Or(req.Port, uint16(port))
		req.Names = []string{host}
	}
	if strings.HasPrefix(q.URL, "https://") && req.HTTP != nil {
		// Of TLS the server name is seen, and nothing of HTTP.
		host, port, _ := policy.CanonicalHost(req.HTTP.Authority)
		if port == policy.NoPort {
			req.Port = 443
		}
		req.ServerName, req.HTTP = cmp.Or(req.ServerName, host), nil
	}
	if req.ServerName != "" {
		req.Names = []string{strings.ToLower(req.ServerName)}
	}
	if q.Names != nil {
		req.Names = q.Names
	}
}

// askFeeds asks what the module in Envoy asks, in the same place: before every rule. What
// has no canonical form is not asked about; it is denied by its form.
func (e *Explanation) askFeeds(feeds *filter.Engine, l *policy.Listener, req *policy.Request) {
	facts, _ := l.Facts(req)
	if l.Traffic == policy.Proxy {
		e.askProxy(feeds, facts)
		return
	}
	direction := filter.Ingress
	if l.Direction == policy.Egress {
		direction = filter.Egress
	}
	v := feeds.Check(&filter.Facts{
		Direction: direction, Source: facts.Source, Destination: facts.Destination,
		ServerName: facts.ServerName, Host: facts.Host,
	})
	e.take(&v, policy.ParseReason(v.Reason()))
}

// askProxy asks as an explicit proxy is asked about: by the host; and what the rules let it
// resolve, by the address, which the resolver then does not give.
func (e *Explanation) askProxy(feeds *filter.Engine, facts *policy.Facts) {
	v := feeds.Check(&filter.Facts{Direction: filter.Egress, Host: facts.Host})
	if e.take(&v, policy.ParseReason(v.Reason())); e.Verdict == policy.Denied || policy.IsAddress(facts.Host) {
		return
	}
	v = feeds.CheckAddr(filter.Egress, filter.Answer, facts.Destination)
	e.take(&v, policy.Reason{Kind: policy.NotResolved})
}

// take takes over what the feeds say.
func (e *Explanation) take(v *filter.Verdict, because policy.Reason) {
	if v.Action == filter.Pass {
		return
	}
	hit := &FeedHit{Name: v.Feed, Line: v.Line, Entry: v.Entry()}
	if v.Cause == filter.Listed {
		hit.Asked = v.Asked.String()
	}
	if v.Action == filter.Alert {
		e.Alert = hit
		return
	}
	e.Decision = policy.Decision{Verdict: policy.Denied, Reason: because}
	if v.Feed != "" {
		e.Feed = hit
	}
}
