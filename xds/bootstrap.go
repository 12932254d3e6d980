package xds

import (
	"fmt"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	downstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	internalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"pavise.dev/pavise/xds/internal/pack"
)

// controlCluster is the control plane as Envoy knows it.
const controlCluster = "pavise.control"

// Environment is what an Envoy's environment has to hold: its resolver must not read a
// hosts file by itself, but leave it to the one that answers with one address.
var Environment = []string{"CARES_HOSTS=/dev/null"}

// MaxConnections bounds the downstream connections of one Envoy.
const MaxConnections = 50_000

// BootstrapConfig is what an Envoy has to know before it asks.
type BootstrapConfig struct {
	// Node is the name under which the Envoy asks for its resources.
	Node string
	// ControlSocket is the unix socket of a [Server].
	ControlSocket string
	// AdminSocket is where Envoy shall serve its admin endpoint.
	AdminSocket string
}

// Bootstrap is the JSON that Envoy is started with.
func Bootstrap(c BootstrapConfig) ([]byte, error) {
	runtime, err := structpb.NewStruct(map[string]any{
		// Expressions are bounded when they are read (package api) and when they are
		// built (package policy); Envoy's own default of 100 would refuse most.
		"re2.max_program_size.error_level": 20_000,
		"re2.max_program_size.warn_level":  20_000,
		// Newer Envoys resolve /..;/ before a policy sees it, older ones do not; it is to
		// be refused by name on all.
		"envoy.reloadable_features.strip_dotdot_segments_with_parameters": false,
		// Newer Envoys read values byte by byte, older ones and package policy as UTF-8:
		// x. is to match xé on all, and what is no UTF-8 is to be told apart.
		"envoy.reloadable_features.re2_use_latin1_mode": false,
	})
	if err != nil {
		return nil, fmt.Errorf("runtime of the bootstrap: %w", err)
	}
	b := &bootstrapv3.Bootstrap{
		Node:  &corev3.Node{Id: c.Node, Cluster: "pavise"},
		Admin: &bootstrapv3.Admin{Address: pipe(c.AdminSocket)},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{
			AdsConfig: &corev3.ApiConfigSource{
				ApiType:                   corev3.ApiConfigSource_DELTA_GRPC,
				TransportApiVersion:       corev3.ApiVersion_V3,
				GrpcServices:              []*corev3.GrpcService{controlPlane()},
				SetNodeOnFirstMessageOnly: true,
			},
			CdsConfig: overADS(),
			LdsConfig: overADS(),
		},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{controlPlaneCluster(c.ControlSocket)}},
		LayeredRuntime: &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
			Name: "pavise", LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: runtime},
		}}},
		OverloadManager: &overloadv3.OverloadManager{
			RefreshInterval: durationpb.New(250 * time.Millisecond),
			ResourceMonitors: []*overloadv3.ResourceMonitor{{
				Name: "envoy.resource_monitors.global_downstream_max_connections",
				ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: pack.Any(&downstreamv3.DownstreamConnectionsConfig{
					MaxActiveDownstreamConnections: MaxConnections,
				})},
			}},
		},
	}
	out, err := protojson.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	return out, nil
}

func pipe(path string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path, Mode: 0o600}}}
}

func controlPlaneCluster(socket string) *clusterv3.Cluster {
	c := staticCluster(controlCluster, pipe(socket))
	c.TypedExtensionProtocolOptions = httpOptions(&internalv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &internalv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &internalv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &internalv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
				},
			},
		},
	})
	return c
}
