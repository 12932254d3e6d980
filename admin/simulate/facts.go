package simulate

import (
	"strings"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// fact is something that rules ask and that a record may not say.
type fact uint16

const (
	source fact = 1 << iota
	destination
	port
	serverName
	host
	method
	path
	names
	values // of headers and of the query
)

// words name facts as a person would.
var words = []struct {
	fact fact
	word string
}{
	{source, "the source address"},
	{destination, "the destination address"},
	{port, "the port"},
	{serverName, "the server name"},
	{host, "the host"},
	{method, "the method"},
	{path, "the path"},
	{names, "the names that the destination was resolved from"},
}

// question is a request as far as a record says, and what it does not say.
type question struct {
	req     policy.Request
	unknown fact
}

const (
	unknownHost = "unknown.invalid" // stands for a host that is not known: no rule is asked about it
)

// questions are what a flow may have been at a listener: one, where the record says enough, or
// one for each kind of traffic that it may have been.
func questions(l *policy.Listener, f *flows.Flow, presume bool) []question {
	r := &f.Example
	var q question
	lacks := func(what fact, is bool) {
		if is {
			q.unknown |= what
		}
	}
	star := func(s string) bool { return f.Merged && s == flows.Star }
	q.req.Source, _ = decisions.Endpoint(r.Source)
	q.req.Destination, q.req.Port = decisions.Endpoint(r.Destination)
	lacks(source, !q.req.Source.IsValid() || star(f.Peer) && l.Direction == policy.Ingress)
	lacks(destination, !q.req.Destination.IsValid() || star(f.Peer) && l.Direction == policy.Egress)
	// At a listener of its own port, the port of the destination is that behind it.
	lacks(port, l.Traffic == policy.Transparent && (q.req.Port == 0 || f.Merged && f.Port == 0))
	merged := r.Count > 1 // what differed among them was left out
	if l.Traffic == policy.TLS || l.Traffic == policy.Transparent {
		q.req.ServerName = r.ServerName
		lacks(serverName, merged && r.ServerName == "" || decisions.Cut(r.ServerName) || star(f.Name))
	}
	resolved := l.Traffic == policy.Transparent && l.Direction == policy.Egress
	claim := r.Host
	if claim == "" {
		claim = r.ServerName
	}
	if presume && resolved && claim != "" && !decisions.Cut(claim) && !star(f.Name) {
		if name, _, ok := policy.CanonicalHost(claim); ok && !policy.IsAddress(name) {
			q.req.Names = []string{name}
		}
	}
	lacks(names, resolved && q.req.Names == nil)

	connection := q
	looksHTTP := r.Method != "" || r.Path != "" || r.Host != "" || r.Status != 0
	if l.Traffic == policy.TCP || l.Traffic == policy.TLS || !looksHTTP && !merged && l.Traffic == policy.Transparent {
		return []question{connection}
	}
	h := &policy.HTTPRequest{Method: r.Method, Authority: r.Host, Path: r.Path}
	q.req.HTTP = h
	q.unknown = q.unknown&^serverName | values
	tunnel := h.Method == "CONNECT"
	if h.Method == "" || star(f.Method) {
		q.unknown |= method
		h.Method = "GET"
	}
	if !tunnel && (!strings.HasPrefix(h.Path, "/") || decisions.Cut(h.Path) || star(f.Path)) {
		q.unknown |= path
		h.Path = "/"
	}
	if h.Authority == "" || decisions.Cut(h.Authority) || star(f.Name) {
		q.unknown |= host
		h.Authority = unknownHost
		if l.Traffic == policy.Proxy {
			q.unknown |= port
		}
	}
	if tunnel && l.Traffic == policy.Proxy && q.unknown&(port|host) != 0 {
		h.Authority += ":443" // without a port it would be refused for its form
	}
	out := []question{q}
	if q.unknown&host != 0 && l.Traffic == policy.Proxy { // an address is asked about once, a name twice
		a := q
		a.req.HTTP = &policy.HTTPRequest{Method: h.Method, Authority: strings.Replace(h.Authority, unknownHost, "0.0.0.0", 1), Path: h.Path}
		out = append(out, a)
	}
	if q.unknown&method != 0 && l.Traffic == policy.Proxy {
		t := q
		t.req.HTTP = &policy.HTTPRequest{Method: "CONNECT", Authority: h.Authority}
		if q.unknown&host != 0 {
			t.req.HTTP.Authority += ":443"
		} else if _, p, _ := policy.CanonicalHost(h.Authority); p == policy.NoPort {
			return out // a CONNECT names its port
		}
		out = append(out, t)
	}
	if l.Traffic == policy.Transparent && !looksHTTP {
		out = append(out, connection)
	}
	return out
}

// fixed says why no policy was asked about a flow; empty where one was.
func fixed(r *decisions.Record) string {
	switch policy.ParseReason(r.Reason).Kind {
	case policy.ByFeed, policy.FeedNotLoaded, policy.FeedsUnavailable:
		return "a threat feed decided"
	case policy.AmbiguousPath, policy.MalformedHost, policy.MalformedRequest, policy.ConnectRefused, policy.NotRedirected:
		return "it was refused for its form"
	}
	switch r.From {
	case decisions.DNS:
		return "the resolver asks no policy"
	case decisions.ExtAuthz:
		return "the authorization service asks no policy"
	}
	return ""
}
