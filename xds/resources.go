package xds

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"google.golang.org/protobuf/proto"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/internal/delta"
	"pavise.dev/pavise/xds/matcher"
)

// Resources are what one Envoy is given, by name. Many Envoys may share them. They must not
// change after they were first given to a [Server].
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

	sealing *sealing // by the lock of sealings
}

// content is resources in the form that is sent, with what is needed to read the logs of
// who has them.
type content struct {
	*delta.Content
	deciders map[string]*policy.Listener
}

// sealing is the sealed form of resources, made once. It is not that of a copy of them, which
// may have been changed.
type sealing struct {
	of   *Resources
	once sync.Once
	made *content
	err  error
}

// sealings guards the pointers in Resources, so that those may be copied.
var sealings sync.Mutex

func (r *Resources) cell() *sealing {
	sealings.Lock()
	defer sealings.Unlock()
	if r.sealing == nil || r.sealing.of != r {
		r.sealing = &sealing{of: r}
	}
	return r.sealing
}

// seal marshals the resources, once. They must not change any more.
func (r *Resources) seal() (*content, error) {
	s := r.cell()
	s.once.Do(func() {
		c, err := delta.Seal(r.Digest, [...]map[string]proto.Message{
			delta.Clusters: messages(r.Clusters), delta.Listeners: messages(r.Listeners), delta.Extensions: messages(r.Extensions),
		})
		if err != nil {
			s.err = fmt.Errorf("marshal for Envoy: %w", err)
			return
		}
		s.made = &content{c, r.deciders}
		c.Owner = s.made
	})
	return s.made, s.err
}

func messages[M proto.Message](from map[string]M) map[string]proto.Message {
	to := make(map[string]proto.Message, len(from))
	for name, m := range from {
		to[name] = m
	}
	return to
}

// Sealed is the resources for [Server.Set] and nothing else: marshalled, without the
// messages they were made from. What keeps the resources of many workloads keeps these.
func (r *Resources) Sealed() (*Resources, error) {
	c, err := r.seal()
	if err != nil {
		return nil, err
	}
	out := &Resources{Digest: r.Digest}
	out.sealing = &sealing{of: out, made: c}
	out.sealing.once.Do(func() {})
	return out, nil
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
	// HideReasons keeps from clients which rule or feed denied a request: they are told that
	// Pavise did, and the id by which an operator finds why.
	HideReasons bool
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
