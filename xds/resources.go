package xds

import (
	"errors"
	"fmt"
	"net/netip"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/matcher"
)

// Resources are what one Envoy is given, by name.
type Resources struct {
	Listeners  map[string]*listenerv3.Listener
	Clusters   map[string]*clusterv3.Cluster
	Extensions map[string]*corev3.TypedExtensionConfig
	// Stats of each policy tree, by the name of its extension.
	Stats map[string]matcher.Stats
	// Digest of the model they were made from.
	Digest string

	options Options
	// feedsClosed is that of the workload that is being translated.
	feedsClosed bool
	// deciders are the policy listeners by name, to give reasons for what Envoy only
	// reports a verdict on.
	deciders map[string]*policy.Listener
}

// DefaultResolver is where an Envoy asks for names unless told otherwise. It is not where a
// workload asks: that resolver gives all the addresses of a name.
var DefaultResolver = netip.MustParseAddrPort("127.0.0.1:15054")

// Options say what there is beside an Envoy.
type Options struct {
	// Resolver is the DNS server that explicit proxies ask; it has to answer with one
	// address for a name, see package proxy/dns.
	Resolver netip.AddrPort
	// Module says that Envoy can load the module. Transparent listeners need it.
	Module bool
	// Feeds has the module ask the threat feeds before every policy.
	Feeds bool
}

// Translate makes the resources for the workloads of a model. It fails where rules
// cannot be expressed within Envoy's bounds, and names them; nothing is left out.
func Translate(m *policy.Model, workloads []*policy.Workload, o Options) (*Resources, error) {
	if o.Feeds && !o.Module {
		return nil, errors.New("threat feeds are asked by the module, and there is none")
	}
	r := &Resources{
		Listeners:  map[string]*listenerv3.Listener{},
		Clusters:   map[string]*clusterv3.Cluster{},
		Extensions: map[string]*corev3.TypedExtensionConfig{},
		Stats:      map[string]matcher.Stats{},
		Digest:     m.Digest,
		options:    o,
		deciders:   map[string]*policy.Listener{},
	}
	for _, w := range workloads {
		r.feedsClosed = w.FeedsClosed
		for _, l := range w.Listeners {
			if err := r.listener(w, l); err != nil {
				return nil, fmt.Errorf("workload %s, listener %s: %w", w.Key(), l.Name, err)
			}
		}
	}
	return r, nil
}

// listener adds what one listener needs.
func (r *Resources) listener(w *policy.Workload, l *policy.Listener) error {
	name := ListenerName(w, l)
	r.deciders[name] = l
	switch l.Traffic {
	case policy.Proxy:
		return r.proxy(name, l)
	case policy.Transparent:
		if !r.options.Module {
			return errors.New("transparent listeners need the module, which looks up the names of a destination, and there is none")
		}
		return r.transparent(name, l)
	case policy.HTTP:
		return r.inboundHTTP(name, l)
	default:
		return r.inboundTCP(name, l)
	}
}

// ListenerName is NAMESPACE/WORKLOAD/LISTENER; decisions are logged under it.
func ListenerName(w *policy.Workload, l *policy.Listener) string { return w.Key() + "/" + l.Name }
