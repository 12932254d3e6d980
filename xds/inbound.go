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
	"pavise.dev/pavise/xds/matcher"
)

// inboundHTTP is a reverse proxy in front of the workload.
func (r *Resources) inboundHTTP(name string, l *policy.Listener) error {
	err := r.httpPolicy(name+"/policy", l.Program, func(v policy.View) (*matcherv3.Matcher, matcher.Stats, error) {
		return matcher.HTTP(l.Program, v, l.Address.Port(), l.Paths)
	})
	if err != nil {
		return err
	}
	c := staticCluster(name, l.Upstream)
	c.TypedExtensionProtocolOptions = httpOptions(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
			},
		},
	})
	r.Clusters[name] = c

	m := hardenedHCM(name, l)
	m.StripPortMode = stripAnyPort
	m.UpgradeConfigs = websocket()
	m.HttpFilters = append(m.HttpFilters,
		reasonFilter(),
		inboundCanonical(),
		filterState("pavise.path", pathState()...),
		discovered(name+"/policy", httpRBACType),
		router(),
	)
	m.RouteSpecifier = routes(name, &routev3.Route{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: routeTo(name, nil),
	}, &routev3.Route{ // OPTIONS *
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: "*"}},
		Action: routeTo(name, nil),
	})
	r.Listeners[name] = listener(name, l.Address, networkFilter("envoy.filters.network.http_connection_manager", m))
	return nil
}

// inboundTCP hands on bytes once the connection is allowed.
func (r *Resources) inboundTCP(name string, l *policy.Listener) error {
	err := r.networkPolicy(name+"/policy", l.Program, func(v policy.View) (*matcherv3.Matcher, matcher.Stats, error) {
		return matcher.Network(l.Program, v, l.Address.Port())
	})
	if err != nil {
		return err
	}
	r.Clusters[name] = staticCluster(name, l.Upstream)
	tcp := &tcpproxyv3.TcpProxy{
		StatPrefix:       statPrefix(name),
		ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: name},
		IdleTimeout:      durationpb.New(time.Hour),
		AccessLog:        accessLog(tcpAccessLog(name)),
	}
	out := listener(name, l.Address,
		discoveredNetwork(name+"/policy", networkRBACType),
		networkFilter("envoy.filters.network.tcp_proxy", tcp))
	if l.Traffic == policy.TLS {
		out.ListenerFilters = []*listenerv3.ListenerFilter{{
			Name:       "envoy.filters.listener.tls_inspector",
			ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: mustAny(&tlsinspectorv3.TlsInspector{})},
		}}
		out.ListenerFiltersTimeout = durationpb.New(5 * time.Second)
	}
	r.Listeners[name] = out
	return nil
}

// listenerBuffer bounds what Envoy holds for one connection in each direction.
const listenerBuffer = 256 << 10

func listener(name string, at netip.AddrPort, filters ...*listenerv3.Filter) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:                          name,
		Address:                       socketAddress(at),
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
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: mustAny(m)}}
}

func staticCluster(name string, to netip.AddrPort) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ConnectTimeout:       durationpb.New(5 * time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
				Endpoint: &endpointv3.Endpoint{Address: socketAddress(to)},
			}}},
		}}},
	}
}
