// Package policygen makes random policies and requests for tests: all fields, small
// vocabularies so that rules overlap, and requests near the edges of the rules. The
// same source of randomness gives the same output.
package policygen

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

var (
	segments  = []string{"a", "b", "c", "ab", "api", "v1", "users", "caf%C3%A9", "x.y", "~z", "A"}
	hosts     = []string{"a.test", "b.a.test", "c.b.a.test", "d.test", "127.0.0.1", "xn--bcher-kva.test", "under_score.test"}
	wildcards = []string{"*.a.test", "*.b.a.test", "*.test"}
	methods   = []string{"GET", "POST", "PUT", "DELETE", "OPTIONS"}
	headers   = []string{"x-role", "x-team", "accept"}
	values    = []string{"ok", "ok1", "evil", "admin", "a,b", "a b", "o.k"}
	regexes   = []string{"ok.*", "[a-z]+", "admin|root", "o.k", "(?i)EVIL", "[^x]*", "a,b"}
	params    = []string{"q", "role", "a b"}
	cidrs     = []string{"127.0.0.0/8", "127.0.0.1", "127.0.1.0/24", "127.0.0.0/30", "10.0.0.0/8", "::1", "2001:db8::/32", "::ffff:127.0.0.2", "0.0.0.0/0"}
	// Sources are the addresses that requests come from; all can be used on Linux
	// without set-up, the IPv6 ones apart.
	sources = []string{"127.0.0.1", "127.0.0.2", "127.0.0.5", "127.0.1.7", "127.9.9.9"}
)

// Gen makes policies and requests.
type Gen struct{ *rand.Rand }

// New returns a generator with a seed.
func New(seed uint64) Gen { return Gen{rand.New(rand.NewPCG(seed, 0x9a15e))} } //nolint:gosec // tests want a seed

func pick[T any](g Gen, from []T) T { return from[g.IntN(len(from))] }

func some[T any](g Gen, most int, one func() T) []T {
	out := make([]T, g.IntN(most+1))
	for i := range out {
		out[i] = one()
	}
	return out
}

// Port is the inbound port of the workload that sets are about.
const Port = 8080

// Set makes a set of objects around one workload, default/app, with an HTTP listener, a
// TCP listener at Port+1 and a proxy, and about the given number of rules.
func (g Gen) Set(rules int) *api.Set {
	objects := []api.Object{
		&api.Workload{
			ObjectMeta: meta("app", "default"),
			Spec: api.WorkloadSpec{
				Addresses: []string{"127.0.0.1"}, ServiceAccount: "app",
				Inbound: []api.Inbound{
					{Name: "http", Port: Port, Upstream: "127.0.0.1:1"},
					{Name: "tcp", Port: Port + 1, Protocol: api.TrafficTCP, Upstream: "127.0.0.1:1"},
				},
				Outbound: []api.Outbound{{Name: "proxy", Port: 15001}},
			},
		},
		&api.Workload{ObjectMeta: meta("peer", "other"), Spec: api.WorkloadSpec{Addresses: []string{"127.0.0.2", "127.0.1.7"}, ServiceAccount: "peer"}},
		&api.NetworkSet{ObjectMeta: meta("set", "default"), Spec: api.NetworkSetSpec{CIDRs: []string{"127.0.0.4/30", "10.0.0.0/8"}, Except: []string{"127.0.0.6"}, Domains: []string{"d.test", "*.b.a.test"}}},
	}
	n := 1 + g.IntN(5)
	for i := range n {
		spec := api.AccessPolicySpec{}
		order := g.Int32N(3)
		spec.Order = &order
		if g.IntN(4) == 0 {
			spec.Mode = api.ModeAudit
		}
		for range max(rules/n, 1) {
			spec.Ingress = append(spec.Ingress, api.IngressRule{Action: g.action(), From: some(g, 2, g.peer), RuleMatch: g.match()})
			e := api.EgressRule{Action: g.action(), RuleMatch: g.match()}
			for _, p := range some(g, 2, g.peer) {
				ep := api.EgressPeer{Peer: p}
				if g.IntN(3) == 0 {
					ep = api.EgressPeer{Domains: append(some(g, 2, g.host), g.host())}
				}
				e.To = append(e.To, ep)
			}
			spec.Egress = append(spec.Egress, e)
		}
		name := fmt.Sprintf("p%d", i)
		switch g.IntN(4) {
		case 0:
			objects = append(objects, &api.ClusterAccessPolicy{ObjectMeta: meta(name, ""), Spec: api.ClusterAccessPolicySpec{Tier: api.TierAdmin, AccessPolicySpec: spec}})
		case 1:
			objects = append(objects, &api.ClusterAccessPolicy{ObjectMeta: meta(name, ""), Spec: api.ClusterAccessPolicySpec{Tier: api.TierBaseline, AccessPolicySpec: spec}})
		default:
			objects = append(objects, &api.AccessPolicy{ObjectMeta: meta(name, "default"), Spec: spec})
		}
	}
	set, _ := api.NewSet(objects...)
	return set
}

func meta(name, namespace string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: namespace}
}

func (g Gen) action() api.Action {
	switch g.IntN(9) {
	case 0:
		return api.ActionPass
	case 1, 2, 3, 4:
		return api.ActionDeny
	}
	return api.ActionAllow
}

func (g Gen) peer() api.Peer {
	switch g.IntN(6) {
	case 0:
		return api.Peer{NetworkSets: []string{"default/set"}}
	case 1:
		return api.Peer{NamespaceSelector: &metav1.LabelSelector{}, PodSelector: &metav1.LabelSelector{}}
	case 2:
		return api.Peer{ServiceAccounts: []string{"other/peer"}}
	case 3:
		return api.Peer{CIDRs: []string{"127.0.0.0/8"}, Except: []string{pick(g, []string{"127.0.0.1", "127.0.1.0/24"})}}
	}
	return api.Peer{CIDRs: append(some(g, 2, func() string { return pick(g, cidrs) }), pick(g, cidrs))}
}

func (g Gen) match() api.RuleMatch {
	var m api.RuleMatch
	if g.IntN(5) == 0 {
		m.Ports = some(g, 2, func() api.Port {
			p := pick(g, []int32{80, Port - 1, Port, Port + 1, 443})
			return api.Port{Port: p, EndPort: p + g.Int32N(3)}
		})
	}
	if g.IntN(8) != 0 {
		m.HTTP = append(some(g, 1, g.http), g.http())
	}
	return m
}

func (g Gen) http() api.HTTPMatch {
	var h api.HTTPMatch
	if g.IntN(3) == 0 {
		h.Methods = some(g, 2, func() string { return pick(g, methods) })
	}
	if g.IntN(4) != 0 {
		h.Paths = some(g, 3, g.pattern)
	}
	if g.IntN(4) == 0 {
		h.Hosts = some(g, 2, g.host)
	}
	if g.IntN(6) == 0 {
		h.Headers = some(g, 2, func() api.ValueMatch { return g.value(headers) })
	}
	if g.IntN(8) == 0 {
		h.Query = some(g, 2, func() api.ValueMatch { return g.value(params) })
	}
	return h
}

func (g Gen) host() string {
	if g.IntN(3) == 0 {
		return pick(g, wildcards)
	}
	return pick(g, hosts)
}

func (g Gen) value(names []string) api.ValueMatch {
	v := api.ValueMatch{Name: pick(g, names)}
	switch g.IntN(5) {
	case 0:
		v.Exact = pick(g, values)
	case 1:
		v.Prefix = pick(g, values)
	case 2:
		v.Regex = pick(g, regexes)
	case 3:
		present := g.IntN(2) == 0
		v.Present = &present
	}
	return v
}

func (g Gen) pattern() api.PathMatch {
	p := "/" + strings.Join(some(g, 3, func() string { return pick(g, segments) }), "/")
	switch g.IntN(6) {
	case 0, 1:
		return api.PathMatch{Exact: p}
	case 2, 3:
		return api.PathMatch{Prefix: p}
	case 4:
		t := strings.TrimSuffix(p, "/") + "/{id}"
		if g.IntN(2) == 0 {
			t += "/" + pick(g, segments)
		}
		if g.IntN(3) == 0 {
			t += "/{rest=**}"
		}
		return api.PathMatch{Template: t}
	}
	return api.PathMatch{Regex: strings.TrimSuffix(p, "/") + pick(g, []string{"/[a-z]+", "(/.*)?", "/v[0-9]", "|/b/.*", ".*a"})}
}

// HTTPRequest makes a request to the HTTP listener, or with proxy to the proxy.
func (g Gen) HTTPRequest(proxy bool) *policy.Request {
	r := &policy.Request{
		Source: netip.MustParseAddr(pick(g, sources)),
		HTTP:   &policy.HTTPRequest{Method: pick(g, methods), Authority: g.authority(proxy), Path: g.path()},
	}
	for range g.IntN(3) {
		r.HTTP.Headers = append(r.HTTP.Headers, policy.HeaderField{Name: pick(g, headers), Value: g.headerValue()})
	}
	if proxy {
		r.Destination = netip.MustParseAddr(pick(g, sources))
		if g.IntN(4) == 0 {
			r.HTTP.Method = "CONNECT"
			r.HTTP.Path = ""
			r.HTTP.Headers = nil
		}
	}
	return r
}

func (g Gen) headerValue() string {
	v := pick(g, values)
	switch g.IntN(5) {
	case 0:
		return v + "," + pick(g, values)
	case 1:
		return v + " ,\t" + pick(g, values)
	case 2:
		return v + "abc"[g.IntN(3):][:1]
	}
	return v
}

func (g Gen) authority(proxy bool) string {
	h := pick(g, hosts)
	switch g.IntN(12) {
	case 0:
		h = strings.ToUpper(h)
	case 1:
		if !strings.HasPrefix(h, "1") {
			h += "."
		}
	case 2:
		h = "z." + h
	case 3:
		h = pick(g, []string{"127.1", "0x7f.1", "017.0.0.1", "a..test", "a.test:x", "a.test:", "u@a.test", "a.1", "[::1]", "[::1]:80"})
	}
	if proxy && g.IntN(2) == 0 || g.IntN(8) == 0 {
		h += pick(g, []string{":80", ":8080", ":443", ":8081"})
	}
	return h
}

var odd = []string{
	"%2e", "%2E%2e", "..", ".", "", "%2f", "%5C", "%00", "%25", "%252f", "%", "%4", "%zz", "%61", "a;x", ";", "..;", ".;v=1",
	"caf%c3%a9", "%c0%af", "%7f", "%1F", "a%20", "a.", "%3b", "%3Bx", "|", "\"", "<", "^", "`", "{", "}", "[", "'", "(", "*", "+", ",", "=", "@", ":", "!", "$", "&",
	"%7E", "%7c", "\\", "a\\b", "%E2%82%AC", "%e2%82", "caf\u00e9",
}

func (g Gen) path() string {
	n := 1 + g.IntN(4)
	segs := make([]string, n)
	for i := range segs {
		segs[i] = pick(g, segments)
		if g.IntN(9) == 0 {
			segs[i] = pick(g, odd)
		}
	}
	p := "/" + strings.Join(segs, "/")
	if g.IntN(6) == 0 {
		p += "/"
	}
	if g.IntN(3) == 0 {
		p += "?" + g.query()
	}
	return p
}

func (g Gen) query() string {
	n := 1 + g.IntN(3)
	ps := make([]string, n)
	for i := range ps {
		name := strings.ReplaceAll(pick(g, params), " ", pick(g, []string{"+", "%20"}))
		if g.IntN(6) == 0 {
			name = strings.ReplaceAll(name, "r", "%72")
		}
		v := strings.ReplaceAll(pick(g, values), " ", pick(g, []string{"+", "%20"}))
		if g.IntN(6) == 0 {
			v = strings.ReplaceAll(v, "o", "%6F")
		}
		ps[i] = name + "=" + v
		if g.IntN(8) == 0 {
			ps[i] = name
		}
	}
	return strings.Join(ps, pick(g, []string{"&", "&", "&", ";"}))
}
