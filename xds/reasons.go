package xds

import (
	"slices"
	"sync"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/matcher/interpret"
)

// Listeners are those that an Envoy has in force, by name.
type Listeners interface {
	// Listener is nil if there is none of that name.
	Listener(name string) *listenerv3.Listener
	// Version of it; another one is another listener.
	Version(name string) string
}

// maxKnown bounds the listeners that are kept.
const maxKnown = 64

// reasons finds why Envoy chose a filter chain, where there is no model: in the tree by which
// it chose, whose actions have the reasons as their names.
type reasons struct {
	listeners Listeners

	mu    sync.Mutex
	known map[string]*known
	logs  map[string]logOf // by their names
}

// known is what there is to know of a listener.
type known struct {
	version     string
	tree        *matcherv3.Matcher // nil where there is one filter chain
	direction   policy.Direction
	transparent bool
}

// AccessLogMessage is one of Envoy's access log service.
type AccessLogMessage = accesslogv3.StreamAccessLogsMessage

// AccessLog is for who receives the access log of an Envoy in another place than a Server,
// such as package xds/relay: it calls each with every decision in a message, which has to
// have an identifier.
func AccessLog(listeners Listeners, each func(decisions.Record)) func(*AccessLogMessage) {
	r := &reasons{listeners: listeners, known: map[string]*known{}, logs: map[string]logOf{}}
	return func(m *AccessLogMessage) {
		of := r.log(m.GetIdentifier().GetLogName())
		decode(of, m, each)
	}
}

// log is what a log is of, by its name.
func (r *reasons) log(name string) logOf {
	r.mu.Lock()
	defer r.mu.Unlock()
	of, ok := r.logs[name]
	if !ok {
		if len(r.logs) >= maxKnown {
			clear(r.logs)
		}
		of = logNamed(name)
		of.reasons = r
		r.logs[name] = of
	}
	return of
}

// reason for what became of a connection; empty if it cannot be found.
func (k *known) reason(req *policy.Request) (reason string) {
	if k.tree == nil {
		return ""
	}
	defer func() {
		if recover() != nil {
			reason = "" // a tree of another version of Pavise
		}
	}()
	reason, _ = interpret.Action(k.tree, &interpret.Subject{Facts: &policy.Facts{
		Source: req.Source.Unmap(), Destination: req.Destination.Unmap(), Port: req.Port,
		ServerName: req.ServerName, Names: req.Names,
	}})
	return reason
}

// listener is what there is to know of one; nil if nothing is.
func (r *reasons) listener(name string) *known {
	if r == nil {
		return nil
	}
	version := r.listeners.Version(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.known[name]; ok && k.version == version {
		return k
	}
	l := r.listeners.Listener(name)
	if l == nil {
		return nil
	}
	if len(r.known) >= maxKnown {
		clear(r.known)
	}
	k := &known{version: version, tree: l.GetFilterChainMatcher(), direction: policy.Ingress}
	if l.GetTrafficDirection() == corev3.TrafficDirection_OUTBOUND {
		k.direction = policy.Egress
	}
	k.transparent = slices.ContainsFunc(l.GetListenerFilters(), func(f *listenerv3.ListenerFilter) bool { return f.GetName() == originalDstFilter })
	r.known[name] = k
	return k
}
