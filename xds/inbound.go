package xds

import (
	"net/netip"
	"time"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/internal/pack"
	"pavise.dev/pavise/xds/matcher"
)

// inboundHTTP is a reverse proxy in front of the workload.
func (r *Resources) inboundHTTP(name string, l *policy.Listener) error {
	err := r.httpPolicy(name+"/policy", "", l.Program, func(v policy.View) (*matcherv3.Matcher, matcher.Stats, error) {
		return matcher.HTTP(l.Program, v, l.Address.Port(), l.Paths)
	})
	if err != nil {
		return err
	}
	c := staticCluster(name, socketAddress(l.Upstream))
	c.TypedExtensionProtocolOptions = httpOptions(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
			},
		},
	})
	r.Clusters[name] = c

	m := r.hardenedHCM(name, l)
	m.StripPortMode = stripAnyPort
	m.UpgradeConfigs = websocket()
	m.HttpFilters = append(m.HttpFilters,
		inboundCanonical(),
		filterState("pavise.path", pathState()...))
	m.HttpFilters = append(m.HttpFilters, r.httpFeeds(l)...)
	m.HttpFilters = append(m.HttpFilters, discovered(name+"/policy", httpRBACType), router())
	to := routeTo(name, nil)
	m.RouteSpecifier = routes(name, append(canonicalRoutes(to), &routev3.Route{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: to,
	})...)
	r.Listeners[name] = listener(name, l, networkFilter("envoy.filters.network.http_connection_manager", m))
	return nil
}

// The filter chains of a TCP listener.
const (
	allowedChain = "allowed"
	deniedChain  = "denied"
	// deniedCluster has no endpoint: what is sent there is closed.
	deniedCluster = "pavise.denied"
	// deniedSuffix marks the log of a listener's denied connections.
	deniedSuffix = "#denied"
)

// inboundTCP hands on bytes once the connection is allowed. The tree chooses the filter
// chain when the connection is accepted: the network RBAC filter decides at the first
// byte of the client, and until then the workload's own first bytes would reach a
// client that is denied (docs/decisions/0005-tcp-by-filter-chain.md). The chains stay
// the same when the tree changes, so that no connection is drained.
func (r *Resources) inboundTCP(name string, l *policy.Listener) error {
	tree, stats, err := matcher.Network(l.Program, policy.Enforced, l.Address.Port(), l.Traffic == policy.TLS)
	if err != nil {
		return err
	}
	r.Stats[name+"/policy"] = stats
	r.Clusters[name] = staticCluster(name, socketAddress(l.Upstream))
	r.Clusters[deniedCluster] = staticCluster(deniedCluster)
	out := listener(name, l)
	out.FilterChainMatcher = matcher.ByChain(tree, allowedChain, deniedChain)
	out.FilterChains = []*listenerv3.FilterChain{
		{Name: allowedChain, Filters: r.withFeeds(l, tcpProxy(name, name, name))},
		{Name: deniedChain, Filters: r.withFeeds(l, tcpProxy(name, deniedCluster, name+deniedSuffix))},
	}
	if l.Traffic == policy.TLS {
		out.ListenerFilters = []*listenerv3.ListenerFilter{listenerFilter("envoy.filters.listener.tls_inspector", &tlsinspectorv3.TlsInspector{})}
		out.ListenerFiltersTimeout = durationpb.New(5 * time.Second)
	}
	r.Listeners[name] = out
	return nil
}

func tcpProxy(listener, cluster, logName string) *listenerv3.Filter {
	return networkFilter("envoy.filters.network.tcp_proxy", &tcpproxyv3.TcpProxy{
		StatPrefix:       statPrefix(listener),
		ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: cluster},
		IdleTimeout:      durationpb.New(time.Hour),
		AccessLog:        accessLog(tcpAccessLog(logName)),
	})
}

// listenerBuffer bounds what Envoy holds for one connection in each direction.
const listenerBuffer = 256 << 10

func listener(name string, l *policy.Listener, filters ...*listenerv3.Filter) *listenerv3.Listener {
	direction := corev3.TrafficDirection_INBOUND
	if l.Direction == policy.Egress {
		direction = corev3.TrafficDirection_OUTBOUND
	}
	return &listenerv3.Listener{
		Name:                          name,
		TrafficDirection:              direction,
		Address:                       socketAddress(l.Address),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(listenerBuffer),
		FilterChains:                  []*listenerv3.FilterChain{{Filters: filters}},
	}
}

func socketAddress(at netip.AddrPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       at.Addr().String(),
		Ipv4Compat:    at.Addr().Is6() && at.Addr().IsUnspecified(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(at.Port())},
	}}}
}

func networkFilter(name string, m proto.Message) *listenerv3.Filter {
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack.Any(m)}}
}

// staticCluster has the endpoints that are given, which may be none.
func staticCluster(name string, endpoints ...*corev3.Address) *clusterv3.Cluster {
	locality := &endpointv3.LocalityLbEndpoints{}
	for _, e := range endpoints {
		locality.LbEndpoints = append(locality.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: e}},
		})
	}
	return &clusterv3.Cluster{
		Name:                 name,
		ConnectTimeout:       durationpb.New(5 * time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{locality},
		},
	}
}
