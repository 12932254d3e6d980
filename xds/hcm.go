package xds

import (
	"strings"
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/internal/pack"
)

const httpRBACType = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"

var stripAnyPort = &hcmv3.HttpConnectionManager_StripAnyHostPort{StripAnyHostPort: true}

// nobody is a range that no connection comes from.
var nobody = &corev3.CidrRange{AddressPrefix: "255.255.255.255", PrefixLen: wrapperspb.UInt32(32)}

// hardenedHCM has the settings that every HTTP listener carries, whatever the
// policies; docs/semantics.md says what each is for, and a test reads them back from a
// live Envoy.
func (r *Resources) hardenedHCM(name string, l *policy.Listener) *hcmv3.HttpConnectionManager {
	slashes := hcmv3.HttpConnectionManager_REJECT_REQUEST
	if l.Paths.UnescapeSlashes {
		slashes = hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD
	}
	return &hcmv3.HttpConnectionManager{
		StatPrefix: statPrefix(name),
		CodecType:  hcmv3.HttpConnectionManager_AUTO,

		// One path for policy and workload.
		NormalizePath:                wrapperspb.Bool(true),
		MergeSlashes:                 true,
		PathWithEscapedSlashesAction: slashes,
		StripTrailingHostDot:         true,

		// The source address is the connection's; nothing a client says moves it, and
		// no client counts as internal: without ranges the private ones would.
		UseRemoteAddress:      wrapperspb.Bool(true),
		XffNumTrustedHops:     0,
		InternalAddressConfig: &hcmv3.HttpConnectionManager_InternalAddressConfig{CidrRanges: []*corev3.CidrRange{nobody}},
		EarlyHeaderMutationExtensions: []*corev3.TypedExtensionConfig{{
			Name: "envoy.http.early_header_mutation.header_mutation", TypedConfig: pack.Any(untrustedHeaders()),
		}},

		// Bounds on what one client can hold.
		MaxRequestHeadersKb:   wrapperspb.UInt32(60),
		StreamIdleTimeout:     durationpb.New(5 * time.Minute),
		RequestHeadersTimeout: durationpb.New(10 * time.Second),
		DrainTimeout:          durationpb.New(5 * time.Second),
		DelayedCloseTimeout:   durationpb.New(time.Second),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			IdleTimeout:                  durationpb.New(time.Hour),
			MaxHeadersCount:              wrapperspb.UInt32(100),
			HeadersWithUnderscoresAction: corev3.HttpProtocolOptions_REJECT_REQUEST,
		},
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
			MaxConcurrentStreams:                    wrapperspb.UInt32(128),
			InitialStreamWindowSize:                 wrapperspb.UInt32(64 << 10),
			InitialConnectionWindowSize:             wrapperspb.UInt32(1 << 20),
			MaxOutboundFrames:                       wrapperspb.UInt32(10_000),
			MaxOutboundControlFrames:                wrapperspb.UInt32(1_000),
			OverrideStreamErrorOnInvalidHttpMessage: wrapperspb.Bool(true),
		},
		HttpProtocolOptions: &corev3.Http1ProtocolOptions{AllowChunkedLength: false},

		PreserveExternalRequestId:  true,
		ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,
		LocalReplyConfig:           denialReplies(r.options.HideReasons),
		AccessLog:                  accessLog(httpAccessLog(name, recordedBy(l.Program))),
	}
}

// untrustedHeaders takes off what [policy.UntrustedHeaders] lists.
func untrustedHeaders() *earlyv3.HeaderMutation {
	m := &earlyv3.HeaderMutation{}
	for _, h := range policy.UntrustedHeaders {
		m.Mutations = append(m.Mutations, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: h}})
	}
	return m
}

func httpFilter(name string, m proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack.Any(m)}}
}

func router() *hcmv3.HttpFilter {
	return httpFilter("envoy.filters.http.router", &routerv3.Router{SuppressEnvoyHeaders: true})
}

// discovered is a filter whose configuration comes by ECDS. There is no default: until
// it is there, the listener is not.
func discovered(name string, types ...string) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{ConfigDiscovery: discovery(types)}}
}

func discovery(types []string) *corev3.ExtensionConfigSource {
	return &corev3.ExtensionConfigSource{ConfigSource: overADS(), TypeUrls: types}
}

// overADS waits for a resource as long as it takes: a listener without its policy
// must not come up.
func overADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(0),
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

func websocket() []*hcmv3.HttpConnectionManager_UpgradeConfig {
	return []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}}
}

func routes(name string, rs ...*routev3.Route) *hcmv3.HttpConnectionManager_RouteConfig {
	return &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
		Name: name,
		// Of a workload's response; replies of Envoy's own get theirs afterwards.
		ResponseHeadersToRemove: []string{ReasonHeader},
		VirtualHosts:            []*routev3.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: rs}},
	}}
}

// routeTo has no time limit for a whole response: streams and WebSockets live long, and
// the idle timeouts end those that do not.
func routeTo(cluster string, upgrades []*routev3.RouteAction_UpgradeConfig) *routev3.Route_Route {
	return &routev3.Route_Route{Route: &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
		Timeout:          durationpb.New(0),
		UpgradeConfigs:   upgrades,
	}}
}

func httpOptions(o *httpv3.HttpProtocolOptions) map[string]*anypb.Any {
	return map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack.Any(o)}
}

// statPrefix keeps the dots of a name from splitting it in Envoy's statistics.
func statPrefix(name string) string { return strings.NewReplacer("/", "_", ".", "_").Replace(name) }
