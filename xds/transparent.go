package xds

import (
	"time"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/internal/pack"
	"pavise.dev/pavise/xds/matcher"
)

const (
	// httpChain is the filter chain of a transparent listener for what is HTTP.
	httpChain         = "http"
	originalDstFilter = "envoy.filters.listener.original_dst"
	// originalCluster connects to where the client wanted to.
	originalCluster = "pavise.original"
	// recognition bounds the wait for a client's first bytes. One that is silent for longer
	// is sent away: taken for TCP, it could say a name later that nobody looks at. Opaque
	// ports do not wait; they are for servers that speak first.
	recognition = 10 * time.Second
)

// transparent takes connections that were redirected to it and hands on what is allowed
// to where they were going. HTTP has a filter chain of its own; of other connections the
// chain is the verdict, as in inboundTCP. A chain stays the same when the rules change.
func (r *Resources) transparent(name string, l *policy.Listener) error {
	own := l.Address.Port()
	err := r.httpPolicy(name+"/policy", "", l.Program, func(v policy.View) (*matcherv3.Matcher, matcher.Stats, error) {
		return matcher.RedirectedHTTP(l.Program, v, own, l.Paths)
	})
	if err != nil {
		return err
	}
	tree, stats, err := matcher.RedirectedNetwork(l.Program, policy.Enforced, own)
	if err != nil {
		return err
	}
	r.Stats[name+"/connections"] = stats
	r.Clusters[originalCluster] = originalDestination()
	r.Clusters[deniedCluster] = staticCluster(deniedCluster)

	m := r.redirectedHTTP(name, l)
	out := listener(name, l)
	out.FilterChainMatcher = matcher.ByProtocol(httpChain, matcher.ByChain(tree, allowedChain, deniedChain))
	out.FilterChains = []*listenerv3.FilterChain{
		{Name: httpChain, Filters: []*listenerv3.Filter{networkFilter("envoy.filters.network.http_connection_manager", m)}},
		{Name: allowedChain, Filters: r.withFeeds(l, tcpProxy(name, originalCluster, name))},
		{Name: deniedChain, Filters: r.withFeeds(l, tcpProxy(name, deniedCluster, name+deniedSuffix))},
	}
	out.ListenerFilters = []*listenerv3.ListenerFilter{
		listenerFilter(originalDstFilter, &originaldstv3.OriginalDst{}),
	}
	if l.Direction == policy.Egress {
		out.ListenerFilters = append(out.ListenerFilters, namesFilter())
	}
	for _, f := range []*listenerv3.ListenerFilter{
		listenerFilter("envoy.filters.listener.tls_inspector", &tlsinspectorv3.TlsInspector{}),
		listenerFilter("envoy.filters.listener.http_inspector", &httpinspectorv3.HttpInspector{}),
	} {
		f.FilterDisabled = atPorts(l.Opaque)
		out.ListenerFilters = append(out.ListenerFilters, f)
	}
	out.ListenerFiltersTimeout = durationpb.New(recognition)
	r.Listeners[name] = out
	return nil
}

// redirectedHTTP is the connection manager. What goes out keeps its Host as it is, so the
// host that rules compare is taken apart as at an explicit proxy.
func (r *Resources) redirectedHTTP(name string, l *policy.Listener) proto.Message {
	m := r.hardenedHCM(name, l)
	m.UpgradeConfigs = websocket()
	to := routeTo(originalCluster, nil)
	all := &routev3.Route{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: to,
	}
	if l.Direction == policy.Ingress {
		m.StripPortMode = stripAnyPort
		m.HttpFilters = append(m.HttpFilters, inboundCanonical(), filterState("pavise.path", pathState()...))
		m.HttpFilters = append(m.HttpFilters, r.httpFeeds(l)...)
		m.RouteSpecifier = routes(name, append(canonicalRoutes(to), all)...)
	} else {
		m.SkipXffAppend = true // the workload's address is nobody's business out there
		m.HttpFilters = append(m.HttpFilters, httpFilter("envoy.filters.http.lua", luaFilter(proxyScript)))
		// Before the host is in the filter state: where it is, the module takes the listener for
		// an explicit proxy, whose own address says nothing, and does not ask about destinations.
		m.HttpFilters = append(m.HttpFilters, r.httpFeeds(l)...)
		m.HttpFilters = append(m.HttpFilters,
			filterState("pavise.asked", append(pathState(), matcher.HostKey, "%DYNAMIC_METADATA(pavise:host)%")...))
		m.RouteSpecifier = routes(name, all)
	}
	m.HttpFilters = append(m.HttpFilters, discovered(name+"/policy", httpRBACType), router())
	return m
}

func listenerFilter(name string, m proto.Message) *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{Name: name, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack.Any(m)}}
}

// atPorts is true of a connection to one of the ports; nil for none.
func atPorts(ports []uint16) *listenerv3.ListenerFilterChainMatchPredicate {
	var rules []*listenerv3.ListenerFilterChainMatchPredicate
	for _, p := range ports {
		rules = append(rules, &listenerv3.ListenerFilterChainMatchPredicate{
			Rule: &listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange{
				DestinationPortRange: &typev3.Int32Range{Start: int32(p), End: int32(p) + 1},
			},
		})
	}
	switch len(rules) {
	case 0:
		return nil
	case 1:
		return rules[0]
	}
	return &listenerv3.ListenerFilterChainMatchPredicate{Rule: &listenerv3.ListenerFilterChainMatchPredicate_OrMatch{
		OrMatch: &listenerv3.ListenerFilterChainMatchPredicate_MatchSet{Rules: rules},
	}}
}

func originalDestination() *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 originalCluster,
		ConnectTimeout:       durationpb.New(5 * time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST},
		LbPolicy:             clusterv3.Cluster_CLUSTER_PROVIDED,
		TypedExtensionProtocolOptions: httpOptions(&httpv3.HttpProtocolOptions{
			UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
				UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
				},
			},
		}),
	}
}
