package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Verdict is the outcome for a connection or request.
type Verdict string

const (
	Allowed Verdict = "allow"
	Denied  Verdict = "deny"
)

// Request is what is asked about: an HTTP request as it is on the wire, or, with a
// nil HTTP, a connection.
type Request struct {
	// Source is the address of the other end of the connection.
	Source netip.Addr
	// Destination is the address connected to; for egress by name, one that the
	// name resolves to. Zero where it is not known, which no address matches.
	Destination netip.Addr
	// Port is the destination port. For a Proxy it is taken from the authority.
	Port uint16
	// ServerName is the SNI of a TLS connection; empty if there is none.
	ServerName string
	// Names are those that the sidecar's resolver gave the destination for, for what is
	// transparent. A client can claim any name; these it did not choose.
	Names []string
	// HTTP is the request; for a proxy, a CONNECT too is one.
	HTTP *HTTPRequest
}

// HTTPRequest is the head of a request.
type HTTPRequest struct {
	Method string
	// Authority is the Host header, :authority, or that of an absolute-form target.
	Authority string
	// Path is the request target in origin form: path and query.
	Path    string
	Headers []HeaderField
}

// HeaderField is one header line.
type HeaderField struct{ Name, Value string }

// Decision is a verdict, its reason, and how it came about.
type Decision struct {
	Verdict Verdict `json:"verdict"`
	Reason  Reason  `json:"reason"`
	// Audit is the decision if the audited policies were enforced; nil where no
	// audited policy selects the workload, and where it depends on an address that
	// was not looked up.
	Audit *Decision `json:"audit,omitempty"`
	// Trace lists the rules that were asked, in order.
	Trace []Step `json:"trace,omitempty"`
}

// Step is one rule that was asked and why it did or did not match.
type Step struct {
	Reason  Reason `json:"rule"`
	Action  Action `json:"action"`
	Audit   bool   `json:"audit,omitempty"`
	Matched bool   `json:"matched"`
	Why     string `json:"why"`
	// Field is where the rule stands in its policy.
	Field string `json:"field,omitempty"`
}

// Evaluate decides one request at this listener, as Envoy does.
func (l *Listener) Evaluate(req *Request) Decision {
	facts, kind := l.Facts(req)
	if kind != "" {
		d := Decision{Verdict: Denied, Reason: Reason{Kind: kind}}
		if l.Program.HasAudit() {
			d.Audit = &Decision{Verdict: Denied, Reason: Reason{Kind: kind}}
		}
		return d
	}
	program := l.Program
	if l.Traffic == Proxy && !IsAddress(facts.Host) {
		// As Envoy does, a proxy asks twice when it is asked for a name: what is denied
		// whatever the address of the name, is denied before the name is looked up.
		program = l.Program.Preliminary()
	}
	d := program.decide(facts, Enforced)
	if program != l.Program && d.Verdict == Allowed {
		program = l.Program
		d = program.decide(facts, Enforced)
	}
	if l.Program.HasAudit() {
		// Where no address was looked up, only a denial holds.
		if a := program.decide(facts, Audited); program == l.Program || a.Verdict == Denied {
			d.Audit = &a
		}
	}
	return d
}

// Facts is a request in canonical form: what rules are compared with.
type Facts struct {
	Source, Destination netip.Addr
	Port                uint16
	ServerName          string
	// Names that the destination was resolved from, canonical; Resolved says that rules by
	// domain ask for them.
	Names    []string
	Resolved bool
	// Host is canonical, without port. It is set for HTTP and for tunnels.
	Host string
	// IsHTTP is false for connections and for tunnels.
	IsHTTP bool
	Method string
	// Path is canonical, without query; Target has the query.
	Path, Target string
	headers      map[string]string
}

// Header returns the values of a header joined with commas, and whether there is
// one.
func (f *Facts) Header(name string) (string, bool) {
	v, ok := f.headers[name]
	return v, ok
}

// Facts makes a request canonical. The kind of reason is set where the request is
// refused whatever the policies say.
func (l *Listener) Facts(req *Request) (*Facts, ReasonKind) {
	f := &Facts{
		Source: req.Source.Unmap(), Destination: req.Destination.Unmap(), Port: req.Port,
	}
	h := req.HTTP
	if l.Traffic == Transparent {
		if f.Port == l.Address.Port() {
			return f, NotRedirected
		}
		f.Names, f.Resolved = req.Names, l.Direction == Egress
		if slices.Contains(l.Opaque, f.Port) {
			return f, "" // neither HTTP nor TLS is recognised
		}
	} else if l.Direction == Ingress {
		f.Port = l.Address.Port()
	}
	if l.Traffic == TLS || l.Traffic == Transparent && h == nil {
		f.ServerName = strings.ToLower(req.ServerName)
		if f.ServerName != "" && !HostForm.MatchString(f.ServerName) {
			return f, MalformedHost // evil.example. is evil.example to many servers
		}
	}
	if h == nil || l.Traffic == TCP || l.Traffic == TLS {
		return f, ""
	}
	f.Method = h.Method
	if strings.ContainsFunc(h.Method, func(r rune) bool { return 'a' <= r && r <= 'z' }) {
		return f, MalformedRequest // delete is DELETE to some servers, and not to a rule
	}
	tunnel := h.Method == "CONNECT"
	var query string
	if !tunnel {
		var kind ReasonKind
		if f.Path, query, kind = normalisePath(h.Path, l.Paths); kind != "" {
			return f, kind
		}
	}
	host, port, ok := CanonicalHost(h.Authority)
	if l.Traffic == Proxy {
		if port == NoPort && !tunnel {
			port = 80
		}
		ok = ok && port > 0
		f.Port = uint16(max(port, 0))
	}
	if !ok {
		return f, MalformedHost
	}
	f.Host = host
	switch {
	case tunnel && l.Traffic != Proxy:
		return f, ConnectRefused
	case tunnel:
		return f, "" // nothing of HTTP is seen of what is in it
	case ambiguous(f.Path, l.Paths):
		return f, AmbiguousPath
	}
	f.IsHTTP, f.Target = true, f.Path
	if strings.Contains(h.Path, "?") {
		f.Target += "?" + query
	}
	f.headers = make(map[string]string, len(h.Headers))
	gone := hopByHop(h.Headers)
	for _, kv := range h.Headers {
		name := strings.ToLower(kv.Name)
		if untrusted(name) || gone[name] {
			continue
		}
		kv.Value = strings.Trim(kv.Value, " \t")
		if old, dup := f.headers[name]; dup {
			f.headers[name] = old + "," + kv.Value
		} else {
			f.headers[name] = kv.Value
		}
	}
	return f, ""
}

// UntrustedHeaders are taken off every request before anything reads them: they would
// make a server see another method or path than the policy did, or speak in Envoy's
// name or ours. The other x-envoy-… that mean anything Envoy takes off by itself; rules
// may name none of them (package api).
var UntrustedHeaders = []string{
	"x-envoy-attempt-count", "x-envoy-is-timeout-retry", "x-pavise-reason",
	"x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url",
}

// hopByHop are the headers that Connection names, which go no further (RFC 9110, 7.6.1).
func hopByHop(headers []HeaderField) map[string]bool {
	var gone map[string]bool
	for _, kv := range headers {
		if !strings.EqualFold(kv.Name, "connection") {
			continue
		}
		for name := range strings.SplitSeq(kv.Value, ",") {
			if gone == nil {
				gone = map[string]bool{}
			}
			gone[strings.ToLower(strings.Trim(name, " \t"))] = true
		}
	}
	return gone
}

func untrusted(name string) bool {
	return slices.Contains(UntrustedHeaders, name)
}

// decide asks the stages in order.
func (p *Program) decide(f *Facts, v View) Decision {
	var d Decision
	for _, s := range p.Stages(v) {
		passed := false
		for _, r := range s.Rules {
			ok, why := r.match(f)
			d.Trace = append(d.Trace, Step{Reason: r.Reason(), Action: r.Action, Audit: r.Audit, Matched: ok, Why: why, Field: r.Field})
			if !ok {
				continue
			}
			if r.Action == Pass {
				passed = true
				break
			}
			d.Verdict, d.Reason = Denied, r.Reason()
			if r.Action == Allow || r.Action == Undecided {
				d.Verdict = Allowed
			}
			return d
		}
		if !passed && s.Default != nil {
			d.Verdict, d.Reason = Denied, *s.Default
			return d
		}
	}
	d.Verdict, d.Reason = Allowed, Reason{Kind: DefaultAllow}
	return d
}

// match reports whether the rule matches, and why in words.
func (r *Rule) match(f *Facts) (bool, string) {
	why := "it stands for nothing at present"
	for _, t := range r.Terms {
		if !f.IsHTTP {
			if t = t.WithoutHTTP(r.Action, f.Host != ""); t == nil {
				why = "it asks for HTTP, and the traffic is not"
				continue
			}
		}
		miss := t.miss(f, r.Action)
		if miss == "" {
			return true, "every condition holds"
		}
		why = miss
	}
	return false, why
}

// miss is the first condition that does not hold, in words; empty if all do.
func (t *Term) miss(f *Facts, a Action) string {
	switch {
	case t.Sources != nil && !t.Sources.Contains(f.Source):
		if !f.Source.IsValid() {
			return "the source address is not known"
		}
		return fmt.Sprintf("source %s is not in its addresses", f.Source)
	case t.Destinations != nil && (!f.Destination.IsValid() || !t.Destinations.Contains(f.Destination)):
		if !f.Destination.IsValid() {
			return "the destination address is not known"
		}
		return fmt.Sprintf("destination %s is not in its addresses", f.Destination)
	case len(t.Domains) > 0 && f.Resolved:
		if miss := resolvedMiss(t.Domains, f, a); miss != "" {
			return miss
		}
	case len(t.Domains) > 0 && !matchDomains(t.Domains, f.Host):
		return fmt.Sprintf("name %q is not among its domains", f.Host)
	}
	switch {
	case len(t.ServerNames) > 0 && !matchDomains(t.ServerNames, f.ServerName):
		return fmt.Sprintf("server name %q is not among its names", f.ServerName)
	case len(t.Ports) > 0 && !containsPort(t.Ports, f.Port):
		return fmt.Sprintf("port %d is not among its ports", f.Port)
	case t.HTTP != nil:
		return t.HTTP.miss(f)
	}
	return ""
}

// resolvedMiss compares domains with the name that a client claims, by a Host or a server
// name, and with those that its destination was resolved from: a Deny rule matches when any
// of them does; an Allow or Pass rule asks that the address was given for one of its
// domains, and that the claim, if there is one, is one of them too. So nobody is let
// through to an address of their choice by claiming a name.
func resolvedMiss(ds []Domain, f *Facts, a Action) string {
	claim := f.ServerName
	if f.IsHTTP {
		claim = f.Host
	}
	claimed := claim != "" && matchDomains(ds, claim)
	resolved := slices.ContainsFunc(f.Names, func(n string) bool { return matchDomains(ds, n) })
	switch {
	case a == Deny && !claimed && !resolved:
		return fmt.Sprintf("neither %q nor what %s was resolved from is among its domains", claim, f.Destination)
	case a == Deny:
		return ""
	case !resolved:
		return fmt.Sprintf("%s was not resolved from any of its domains", f.Destination)
	case claim != "" && !claimed:
		return fmt.Sprintf("name %q is not among its domains", claim)
	}
	return ""
}

func (h *HTTPTerm) miss(f *Facts) string {
	if len(h.Methods) > 0 && !slices.Contains(h.Methods, f.Method) {
		return fmt.Sprintf("method %s is not among its methods", f.Method)
	}
	if len(h.Paths) > 0 && !matchPaths(h.Paths, f.Path) {
		return fmt.Sprintf("path %s does not match its paths", f.Path)
	}
	if len(h.Hosts) > 0 && !matchDomains(h.Hosts, f.Host) {
		return fmt.Sprintf("host %q is not among its hosts", f.Host)
	}
	for i := range h.Values {
		v := &h.Values[i]
		subject, present := f.Target, true
		if v.Place == Header {
			subject, present = f.Header(v.Name)
		}
		if !v.Match(subject, present) {
			return fmt.Sprintf("%s does not hold", v.Label)
		}
	}
	return ""
}

func containsPort(rs []PortRange, p uint16) bool {
	return slices.ContainsFunc(rs, func(r PortRange) bool { return r.Contains(p) })
}

func matchPaths(ps []PathPattern, path string) bool {
	return slices.ContainsFunc(ps, func(p PathPattern) bool { return p.Match(path) })
}
