package main

import (
	"net/netip"
	"sync/atomic"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// directory knows the workloads of a folder, by name and by the addresses that their
// connections come from.
type directory struct {
	known atomic.Pointer[directoryOf]
}

type directoryOf struct {
	names    map[netip.Addr]string
	contexts map[string]*flows.Context
}

// set takes over a model and the set that it was compiled from.
func (d *directory) set(m *policy.Model, set *api.Set) {
	next := &directoryOf{map[netip.Addr]string{}, map[string]*flows.Context{}}
	for _, w := range m.Workloads {
		for _, a := range w.Addresses {
			next.names[a] = w.Key()
		}
	}
	for _, w := range set.Workloads {
		c := &flows.Context{Owner: api.KindWorkload + "/" + w.Name, ServiceAccount: w.Spec.ServiceAccount, Labels: w.Labels}
		next.contexts[w.Namespace+"/"+w.Name] = c
	}
	d.known.Store(next)
}

// workload implements flows.Config.Resolve.
func (d *directory) workload(a netip.Addr) (string, bool) {
	known := d.known.Load()
	if known == nil {
		return "", false
	}
	name, ok := known.names[a]
	return name, ok
}

// describe implements flows.Config.Describe.
func (d *directory) describe(name string) *flows.Context {
	if known := d.known.Load(); known != nil {
		return known.contexts[name]
	}
	return nil
}
