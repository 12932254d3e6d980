package api

import (
	"slices"
	"strings"
)

// validateMatch checks what both directions can ask of a connection or request.
func validateMatch(r *reporter, m *RuleMatch) {
	ports(r, m.Ports)
	if (m.HTTP != nil || m.TLS != nil) && onlyUDP(m.Ports) {
		r.reportIn("ports", CodeUDPWithHTTP, "", "the ports are all UDP, where neither http nor tls is read")
	}
	r.in("http")
	bound(r, m.HTTP, 1024)
	for i := range m.HTTP {
		r.at(i)
		validateHTTP(r, &m.HTTP[i])
		r.out()
	}
	r.out()
	if m.TLS != nil {
		r.in("tls")
		if len(m.TLS.ServerNames) == 0 {
			r.reportIn("serverNames", CodeServerNames, "list names, or leave tls out", "tls needs at least one server name")
		}
		r.in("serverNames")
		atMost(r, len(m.TLS.ServerNames), 1024)
		r.out()
		domains(r, "serverNames", m.TLS.ServerNames)
		r.out()
	}
}

func ports(r *reporter, list []Port) {
	r.in("ports")
	bound(r, list, 256)
	seen := make(map[Port]int, len(list))
	for i, p := range list {
		r.at(i)
		valid := port(r, "port", p.Port)
		if p.EndPort != 0 {
			if port(r, "endPort", p.EndPort) && p.EndPort < p.Port {
				r.reportIn("endPort", CodePortRange, "", "%d is below port %d", p.EndPort, p.Port)
			}
		}
		enum(r, "protocol", p.Protocol, false, ProtocolTCP, ProtocolUDP)
		// Written with and without their defaults they are still the same ports.
		if p.Protocol == "" {
			p.Protocol = ProtocolTCP
		}
		if p.EndPort == 0 {
			p.EndPort = p.Port
		}
		if first, twice := seen[p]; twice && valid {
			r.report(CodePortTwice, "remove one of them", "the same as ports[%d]", first)
		} else {
			seen[p] = i
		}
		r.out()
	}
	r.out()
}

func onlyUDP(list []Port) bool {
	for _, p := range list {
		if p.Protocol != ProtocolUDP {
			return false
		}
	}
	return len(list) > 0
}

func validateHTTP(r *reporter, m *HTTPMatch) {
	r.in("methods")
	bound(r, m.Methods, 64)
	for i, method := range m.Methods {
		r.at(i)
		r.reportFault(checkMethod(method))
		r.out()
	}
	r.out()

	r.in("paths")
	bound(r, m.Paths, 1024)
	for i := range m.Paths {
		r.at(i)
		validatePath(r, &m.Paths[i])
		r.out()
	}
	r.out()

	r.in("hosts")
	bound(r, m.Hosts, 1024)
	for i, host := range m.Hosts {
		r.at(i)
		_, f := canonicalHost(host)
		r.reportFault(f)
		r.out()
	}
	r.out()

	r.in("headers")
	bound(r, m.Headers, 32)
	for i := range m.Headers {
		r.at(i)
		validateHeader(r, &m.Headers[i])
		r.out()
	}
	r.out()

	r.in("query")
	bound(r, m.Query, 32)
	for i := range m.Query {
		r.at(i)
		validateQuery(r, &m.Query[i])
		r.out()
	}
	r.out()
}

func checkMethod(m string) *fault {
	upper := strings.ToUpper(m)
	switch {
	case !isToken(m):
		return faultf(CodeMethod, "", "%s is not an HTTP method", quote(m))
	case len(m) > 64:
		return faultf(CodeMethod, "", "the method is longer than 64 bytes")
	case upper == "CONNECT":
		return faultf(CodeConnect, "use ports, domains or tls.serverNames for tunnels", "CONNECT opens a tunnel, and what is in it is not seen as HTTP")
	}
	switch upper {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH":
		if m != upper {
			return faultf(CodeMethodCase, "write "+upper, "%s never matches, because methods are compared exactly", m)
		}
	}
	return nil
}

// isToken reports a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isAlnum(c) && !strings.Contains("!#$%&'*+-.^_`|~", string(rune(c))) {
			return false
		}
	}
	return s != ""
}

func validateHeader(r *reporter, m *ValueMatch) {
	if required(r, "name", m.Name) {
		r.in("name")
		r.reportFault(checkHeaderName(m.Name))
		r.out()
	}
	validateValue(r, m)
	// A server strips the space around a value before it looks at it.
	if m.Exact != strings.Trim(m.Exact, " ") {
		r.reportIn("exact", CodeValue, "remove the space", "the value of a header neither begins nor ends with a space")
	}
	if m.Prefix != strings.TrimLeft(m.Prefix, " ") {
		r.reportIn("prefix", CodeValue, "remove the space", "the value of a header does not begin with a space")
	}
}

// rewritten are the headers that are not what the client sent by the time a rule is
// asked.
var rewritten = []string{
	"x-forwarded-for", "x-forwarded-proto", "x-request-id",
	"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade",
}

func checkHeaderName(name string) *fault {
	lower := strings.ToLower(name)
	switch lower {
	case ":path":
		return faultf(CodeHeaderName, "use paths", "%s is not a header", quote(name))
	case ":method":
		return faultf(CodeHeaderName, "use methods", "%s is not a header", quote(name))
	case ":authority", "host":
		return faultf(CodeHeaderName, "use hosts", "%s has a field of its own", quote(name))
	}
	switch {
	case strings.HasPrefix(name, ":"):
		return faultf(CodeHeaderName, "", "%s is not a header a client sends", quote(name))
	case strings.HasPrefix(lower, "x-envoy-"), slices.Contains(rewritten, lower):
		return faultf(CodeHeaderName, "", "Envoy writes or removes %s itself, so a rule would not see what the client sent", quote(name))
	case strings.Contains(name, "_"):
		return faultf(CodeHeaderName, "write "+quote(strings.ReplaceAll(name, "_", "-"))+" if that is meant",
			"requests with a _ in the name of a header are refused, so %s never matches", quote(name))
	case !isToken(name):
		return faultf(CodeHeaderName, "", "%s is not the name of a header", quote(name))
	case len(name) > 256:
		return faultf(CodeHeaderName, "", "the name is longer than 256 bytes")
	}
	return nil
}

func validateQuery(r *reporter, m *ValueMatch) {
	if required(r, "name", m.Name) {
		r.in("name")
		switch {
		case strings.ContainsAny(m.Name, "&=;#") || hasControl(m.Name):
			r.report(CodeQueryName, "", "%s is not the name of a query parameter", quote(m.Name))
		case len(m.Name) > 256:
			r.report(CodeQueryName, "", "the name is longer than 256 bytes")
		}
		r.out()
	}
	validateValue(r, m)
}

// validateValue checks the tests of a value, of which there may be one.
func validateValue(r *reporter, m *ValueMatch) {
	var given []string
	for _, t := range []struct{ name, value string }{{"exact", m.Exact}, {"prefix", m.Prefix}, {"regex", m.Regex}} {
		if t.value != "" {
			given = append(given, t.name)
		}
	}
	if m.Present != nil {
		given = append(given, "present")
	}
	if len(given) > 1 {
		r.report(CodeValueKind, "keep one of them", "%s are given at once", enumerate(given))
	}
	for _, v := range []struct{ name, value string }{{"exact", m.Exact}, {"prefix", m.Prefix}} {
		if len(v.value) > maxPathBytes {
			r.reportIn(v.name, CodeValue, "", "the value has %d bytes and may have %d", len(v.value), maxPathBytes)
		}
	}
	if hasControl(m.Exact) {
		r.reportIn("exact", CodeValue, "", "%s has a control character", quote(m.Exact))
	}
	if hasControl(m.Prefix) {
		r.reportIn("prefix", CodeValue, "", "%s has a control character", quote(m.Prefix))
	}
	if m.Regex != "" {
		r.in("regex")
		r.reportFault(checkRegex(m.Regex))
		r.out()
	}
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < 0x20 || c == 0x7f })
}
