// Package flowgen makes random sets, requests and the flows that are recorded of them, for tests.
package flowgen

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/internal/policygen"
	"pavise.dev/pavise/policy"
)

// Noon is when every flow was seen.
var Noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// label gives the workloads of a random set labels, so that policies can select them.
func label(set *api.Set) *api.Set {
	var objects []api.Object
	for _, w := range set.Workloads {
		w = w.DeepCopy()
		w.Labels = map[string]string{"app": w.Name}
		objects = append(objects, w)
	}
	// An address among domains is refused when it is read.
	valid := func(names []string) {
		for i := range names {
			names[i] = strings.Replace(names[i], "127.0.0.1", "d.test", 1)
		}
	}
	rules := func(spec *api.AccessPolicySpec) {
		for i := range spec.Ingress {
			if m := spec.Ingress[i].TLS; m != nil {
				valid(m.ServerNames)
			}
		}
		for i := range spec.Egress {
			if m := spec.Egress[i].TLS; m != nil {
				valid(m.ServerNames)
			}
			for j := range spec.Egress[i].To {
				valid(spec.Egress[i].To[j].Domains)
			}
		}
	}
	for _, p := range set.AccessPolicies {
		rules(&p.Spec)
		objects = append(objects, p)
	}
	for _, p := range set.ClusterAccessPolicies {
		rules(&p.Spec.AccessPolicySpec)
		objects = append(objects, p)
	}
	for _, s := range set.NetworkSets {
		objects = append(objects, s)
	}
	out, _ := api.NewSet(objects...)
	return out
}

// Random makes a set around the workload default/app, of which the workloads have labels, and a function that makes
// requests to one of its listeners.
func Random(g policygen.Gen) (set *api.Set, ask func() (*policy.Listener, *policy.Request)) {
	transparent := g.IntN(2) == 0
	if transparent {
		set = label(g.TransparentSet(10))
	} else {
		set = label(g.Set(10))
	}
	m, _ := policy.Compile(set)
	w := m.Workload("default", "app")
	return set, func() (*policy.Listener, *policy.Request) {
		l := w.Listeners[g.IntN(len(w.Listeners))]
		switch l.Traffic {
		case policy.Transparent:
			r := g.Redirected(l.Direction)
			// A client that asks its resolver first: what it claims is what it was given.
			if l.Direction == policy.Egress {
				claim := r.ServerName
				if r.HTTP != nil {
					claim = r.HTTP.Authority
				}
				r.Names = nil
				if name, _, ok := policy.CanonicalHost(claim); ok && !policy.IsAddress(name) {
					r.Names = []string{name}
				}
			}
			return l, r
		case policy.TCP:
			r := g.HTTPRequest(false)
			r.HTTP = nil
			return l, r
		}
		return l, g.HTTPRequest(l.Traffic == policy.Proxy)
	}
}

// Record is the flow of a request that was decided once: what Envoy logs of it, as package flows keeps it.
func Record(l *policy.Listener, req *policy.Request, d policy.Decision) flows.Flow {
	f, _ := l.Facts(req)
	r := decisions.Record{
		From: decisions.Envoy, Workload: "default/app", Listener: "default/app/" + l.Name, Direction: l.Direction, Verdict: d.Verdict,
		Reason: d.Reason.String(), Source: netip.AddrPortFrom(f.Source, 40000).String(), Status: 200,
	}
	switch {
	case l.Direction == policy.Ingress && l.Traffic != policy.Transparent:
		r.Destination = "127.0.0.1:1"
	default:
		r.Destination = netip.AddrPortFrom(f.Destination, f.Port).String()
	}
	r.ServerName = f.ServerName
	if req.HTTP != nil && !slices.Contains(l.Opaque, f.Port) {
		r.Method, r.Host, r.Path = req.HTTP.Method, req.HTTP.Authority, f.Path
	} else {
		r.Status = 0
	}
	_, port := f.Destination, f.Port
	if l.Direction == policy.Ingress && l.Traffic != policy.Transparent {
		port = 1
	}
	k := flows.Key{
		Workload: r.Workload, Listener: r.Listener, Direction: r.Direction, From: r.From, Port: port, Method: r.Method, Path: flows.Shape(r.Path),
		Name: f.Host, Verdict: r.Verdict, Reason: r.Reason,
	}
	if k.Name == "" {
		k.Name = f.ServerName
	}
	peer := f.Source
	if l.Direction == policy.Egress {
		peer = f.Destination
	}
	k.Peer = peer.String()
	if s := peer.String(); s == "127.0.0.2" || s == "127.0.1.7" {
		k.Peer = "other/peer"
	} else if s == "127.0.0.1" {
		k.Peer = "default/app"
	}
	if r.Path == "" {
		k.Path = ""
	}
	return flows.Flow{ID: fmt.Sprintf("%+v", k), Key: k, Count: 1, First: Noon, Last: Noon, Example: r}
}
