package policygen

import (
	"net/netip"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// OpaquePort is one at which the transparent listeners of [Gen.TransparentSet] recognise
// nothing.
const OpaquePort = Port + 1

// TransparentSet is Set with the two transparent listeners in place of the others, and with
// rules that ask for server names.
func (g Gen) TransparentSet(rules int) *api.Set {
	set := g.Set(rules)
	for _, w := range set.Workloads {
		if w.Name == "app" {
			w.Spec.Inbound, w.Spec.Outbound = nil, nil
			w.Spec.Transparent = &api.Transparent{OpaquePorts: []int32{OpaquePort}}
		}
	}
	ask := func(m *api.RuleMatch) {
		if g.IntN(4) == 0 {
			m.HTTP, m.TLS = nil, &api.TLSMatch{ServerNames: append(some(g, 2, g.host), g.host())}
		}
	}
	policies := func(s *api.AccessPolicySpec) {
		for i := range s.Ingress {
			ask(&s.Ingress[i].RuleMatch)
		}
		for i := range s.Egress {
			ask(&s.Egress[i].RuleMatch)
		}
	}
	for _, p := range set.AccessPolicies {
		policies(&p.Spec)
	}
	for _, p := range set.ClusterAccessPolicies {
		policies(&p.Spec.AccessPolicySpec)
	}
	return set
}

// Redirected makes a request or a connection to a transparent listener.
func (g Gen) Redirected(d policy.Direction) *policy.Request {
	r := &policy.Request{Source: netip.MustParseAddr(pick(g, sources))}
	if g.IntN(2) == 0 {
		r = g.HTTPRequest(false)
		if g.IntN(20) == 0 {
			r.HTTP.Method = "CONNECT"
		}
	} else if g.IntN(3) != 0 {
		r.ServerName = pick(g, append(hosts, "z.a.test", "A.Test", "a.test.", "a..test"))
	}
	r.Port = pick(g, []uint16{80, 443, Port - 1, Port, OpaquePort, 15001, 15006})
	r.Destination = netip.MustParseAddr(pick(g, append(sources, "10.1.2.3", "2001:db8::7")))
	if d == policy.Egress {
		r.Names = some(g, 3, func() string { return pick(g, append(hosts, "z.a.test")) })
	}
	return r
}
