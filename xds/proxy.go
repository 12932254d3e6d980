package xds

import (
	"net/netip"
	"time"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	dfpclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	dfpcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	dfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/internal/pack"
	"pavise.dev/pavise/xds/matcher"
)

// forwardCluster connects to what a client of a proxy asked for.
const forwardCluster = "pavise.forward"

// proxy is an explicit proxy: absolute-form requests and CONNECT. Its filters are in
// the order of the questions: what is asked for (canonical), may it pass whatever the
// address (preliminary), what is the address (dynamic_forward_proxy), what do the rules
// call that address (destination), may it pass (policy).
func (r *Resources) proxy(name string, l *policy.Listener) error {
	classes := matcher.NewClasses(l.Program)
	err := r.httpPolicy(name+"/preliminary", preliminaryStat, l.Program, func(v policy.View) (*matcherv3.Matcher, matcher.Stats, error) {
		return matcher.Preliminary(l.Program, v, l.Paths)
	})
	if err != nil {
		return err
	}
	err = r.httpPolicy(name+"/policy", "", l.Program, func(v policy.View) (*matcherv3.Matcher, matcher.Stats, error) {
		return matcher.Forward(l.Program, v, l.Paths, classes)
	})
	if err != nil {
		return err
	}
	r.extension(name+"/destination", destinationFilter(classes))
	r.Clusters[forwardCluster] = dynamicCluster(r.options.Resolver)

	m := r.hardenedHCM(name, l)
	m.UpgradeConfigs = append(websocket(), &hcmv3.HttpConnectionManager_UpgradeConfig{UpgradeType: "CONNECT"})
	m.Http2ProtocolOptions.AllowConnect = true
	m.HttpFilters = append(m.HttpFilters,
		httpFilter("envoy.filters.http.lua", luaFilter(proxyScript)),
		filterState("pavise.asked", append(pathState(),
			matcher.HostKey, "%DYNAMIC_METADATA(pavise:host)%",
			matcher.PortKey, "%DYNAMIC_METADATA(pavise:port)%")...))
	m.HttpFilters = append(m.HttpFilters, r.httpFeeds(l)...)
	m.HttpFilters = append(m.HttpFilters,
		discovered(name+"/preliminary", httpRBACType),
		httpFilter("envoy.filters.http.dynamic_forward_proxy", &dfpv3.FilterConfig{
			ImplementationSpecifier: &dfpv3.FilterConfig_DnsCacheConfig{DnsCacheConfig: dnsCache(r.options.Resolver)},
			SaveUpstreamAddress:     true,
		}),
		discovered(name+"/destination", httpRBACType),
		filterState("pavise.destination",
			matcher.DestinationKey, "%DYNAMIC_METADATA("+httpRBAC+":"+destinationStat+shadowID+")%"),
		discovered(name+"/policy", httpRBACType),
		router(),
	)
	connect := []*routev3.RouteAction_UpgradeConfig{{UpgradeType: "CONNECT", ConnectConfig: &routev3.RouteAction_UpgradeConfig_ConnectConfig{}}}
	m.RouteSpecifier = routes(name, &routev3.Route{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}},
		Action: routeTo(forwardCluster, connect),
	}, &routev3.Route{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: routeTo(forwardCluster, nil),
	})
	r.Listeners[name] = listener(name, l, networkFilter("envoy.filters.network.http_connection_manager", m))
	return nil
}

func dynamicCluster(resolver netip.AddrPort) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:           forwardCluster,
		ConnectTimeout: durationpb.New(5 * time.Second),
		LbPolicy:       clusterv3.Cluster_CLUSTER_PROVIDED,
		ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.clusters.dynamic_forward_proxy",
			TypedConfig: pack.Any(&dfpclusterv3.ClusterConfig{
				ClusterImplementationSpecifier: &dfpclusterv3.ClusterConfig_DnsCacheConfig{DnsCacheConfig: dnsCache(resolver)},
			}),
		}},
	}
}

// dnsCache asks one resolver for the names; it takes them as they are, since the
// resolver applies the search list.
func dnsCache(resolver netip.AddrPort) *dfpcommonv3.DnsCacheConfig {
	address := socketAddress(resolver)
	address.GetSocketAddress().Protocol = corev3.SocketAddress_UDP
	return &dfpcommonv3.DnsCacheConfig{
		Name:                   "pavise",
		DnsLookupFamily:        clusterv3.Cluster_V4_PREFERRED,
		MaxHosts:               wrapperspb.UInt32(4096),
		DnsQueryTimeout:        durationpb.New(6 * time.Second),
		DnsCacheCircuitBreaker: &dfpcommonv3.DnsCacheCircuitBreakers{MaxPendingRequests: wrapperspb.UInt32(1024)},
		TypedDnsResolverConfig: &corev3.TypedExtensionConfig{
			Name: "envoy.network.dns_resolver.cares",
			TypedConfig: pack.Any(&caresv3.CaresDnsResolverConfig{
				Resolvers:          []*corev3.Address{address},
				DnsResolverOptions: &corev3.DnsResolverOptions{NoDefaultSearchDomain: true},
			}),
		},
	}
}
