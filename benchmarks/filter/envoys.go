package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	modulesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_modules/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/envoy"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

// contender is one Envoy.
type contender struct {
	name string
	// asks is who is asked about requests.
	asks asked
	// socket of the authorization service, where that is asked.
	socket string
	// snapshot that the module reads.
	snapshot string
	// others is what is used beside Envoy: the process of the authorization service.
	others func() int

	port int
	pid  func() int
	figures
}

// asked says who decides by feeds.
type asked int

const (
	nobody       asked = iota
	moduleSource       // the module as it is emitted for what comes in: by the source
	moduleTarget       // the same, asked as for what goes out: by destination and host
	service            // ext_authz
)

// resources are those that are emitted for the workload, whole, with the feeds asked in
// another way where that is wanted.
func (c *contender) resources(upstream, logs string) (*xds.Resources, error) {
	set, problems := api.Parse("bench.yaml", []byte(policyFolder(c.port, upstream)))
	m, more := policy.Compile(set)
	if problems = append(problems, more...); api.HasErrors(problems) {
		return nil, fmt.Errorf("%v", problems)
	}
	r, err := xds.Translate(m, m.Workloads, xds.Options{
		Resolver: xds.DefaultResolver, Module: true, Feeds: c.asks == moduleSource || c.asks == moduleTarget,
	})
	if err != nil {
		return nil, err
	}
	var h hcmv3.HttpConnectionManager
	typed := r.Listeners["bench/app/http"].FilterChains[0].Filters[0].GetTypedConfig()
	if err := typed.UnmarshalTo(&h); err != nil {
		return nil, err
	}
	r.Clusters["logs"] = grpcCluster("logs", logs)
	if err := logTo(&h, "logs"); err != nil {
		return nil, err
	}
	switch c.asks {
	case service:
		r.Clusters["authz"] = grpcCluster("authz", c.socket)
		at := len(h.HttpFilters) - 2 // where the module would be: before the policy and the router
		h.HttpFilters = slices.Insert(h.HttpFilters, at, authzFilter())
	case moduleTarget:
		if err := askForTarget(&h); err != nil {
			return nil, err
		}
	case nobody, moduleSource:
	}
	typed.Value = pack(&h).Value
	return r, nil
}

func askForTarget(h *hcmv3.HttpConnectionManager) error {
	for _, f := range h.HttpFilters {
		var m modulesv3.DynamicModuleFilter
		if !f.GetTypedConfig().MessageIs(&m) {
			continue
		}
		if err := f.GetTypedConfig().UnmarshalTo(&m); err != nil {
			return err
		}
		m.FilterConfig = pack(wrapperspb.String(`{"direction":"egress","onFailure":"open"}`))
		f.GetTypedConfig().Value = pack(&m).Value
		return nil
	}
	return fmt.Errorf("the listener has no filter that asks feeds")
}

func authzFilter() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: "envoy.filters.http.ext_authz", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&authzv3.ExtAuthz{
		TransportApiVersion: corev3.ApiVersion_V3,
		Services: &authzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
			Timeout:         durationpb.New(5 * time.Second),
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "authz"}},
		}},
	})}}
}

func grpcCluster(name, socket string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ConnectTimeout:       durationpb.New(5 * time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: socket}}},
			}}}},
		}}},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(&httpv3.HttpProtocolOptions{
				UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
					ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
				}},
			}),
		},
	}
}

func pack(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err) // a message of our own making
	}
	return a
}

// start runs the Envoy on its processor, and waits until its policies are in force.
func (c *contender) start(ctx context.Context, l *lab, group func(func() error)) error {
	path, err := envoy.Find("")
	if err != nil {
		return err
	}
	run := filepath.Join(l.dir, c.name)
	if err := os.MkdirAll(run, 0o700); err != nil {
		return err
	}
	pinned := filepath.Join(run, "envoy.sh")
	if err := os.WriteFile(pinned, []byte("#!/bin/sh\nexec taskset -c "+envoyCore+" "+path+" \"$@\"\n"), 0o700); err != nil { //nolint:gosec // it is to be run
		return err
	}
	r, err := c.resources(l.upstream, l.logs)
	if err != nil {
		return err
	}
	if err := l.control.Set(ctx, c.name, r); err != nil {
		return err
	}
	admin := filepath.Join(run, "a")
	bootstrap, err := xds.Bootstrap(xds.BootstrapConfig{Node: c.name, ControlSocket: l.socket, AdminSocket: admin})
	if err != nil {
		return err
	}
	s, err := envoy.NewSupervisor(envoy.Config{
		Path: pinned, Bootstrap: bootstrap, RunDir: run, AdminSocket: admin, Concurrency: 1, LogLevel: "error", DrainTime: -1,
		Env: append([]string{
			"ENVOY_DYNAMIC_MODULES_SEARCH_PATH=" + filepath.Dir(l.pavise), "PAVISE_FEEDS=" + c.snapshot, "PAVISE_NAMES=" + filepath.Join(run, "names"),
		}, xds.Environment...),
	})
	if err != nil {
		return err
	}
	group(func() error { return s.Run(ctx) })
	c.pid = func() int { return s.State().PID }
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return l.control.WaitInForce(wait, c.name)
}
