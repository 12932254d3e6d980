package xds

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	modulesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/dynamic_modules/v3"
	httpmodulev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_modules/v3"
	listenermodulev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/dynamic_modules/v3"
	networkmodulev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/dynamic_modules/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/internal/pack"
)

const (
	// Module is the name of the dynamic module: Envoy loads libMODULE.so from where
	// ENVOY_DYNAMIC_MODULES_SEARCH_PATH says.
	Module = "pavise"
	// feedsFilter is the module's filter, HTTP and network, that asks the feeds, and the
	// namespace of the metadata that it leaves.
	feedsFilter = "pavise.feeds"
	// FeedDenied is Envoy's detail of what the feeds denied.
	FeedDenied = "pavise_feed"
)

// module loads the module once for good: a Go runtime cannot be unloaded.
func module() *modulesv3.DynamicModuleConfig {
	return &modulesv3.DynamicModuleConfig{Name: Module, DoNotClose: true}
}

// feedsConfig is what the module reads: the direction, and what to do without a snapshot.
func (r *Resources) feedsConfig(l *policy.Listener) *anypb.Any {
	onFailure := "open"
	if r.feedsClosed {
		onFailure = "closed"
	}
	return pack.Any(wrapperspb.String(`{"direction":"` + string(l.Direction) + `","onFailure":"` + onFailure + `"}`))
}

// httpFeeds is the filter that asks the feeds about a request, or none where there are no
// feeds. It comes before every policy.
func (r *Resources) httpFeeds(l *policy.Listener) []*hcmv3.HttpFilter {
	if !r.options.Feeds {
		return nil
	}
	return []*hcmv3.HttpFilter{httpFilter(feedsFilter, &httpmodulev3.DynamicModuleFilter{
		DynamicModuleConfig: module(), FilterName: "feeds", FilterConfig: r.feedsConfig(l),
	})}
}

// withFeeds puts the filter that asks the feeds about a connection before another, which
// so opens no connection for what they deny.
func (r *Resources) withFeeds(l *policy.Listener, f *listenerv3.Filter) []*listenerv3.Filter {
	if !r.options.Feeds {
		return []*listenerv3.Filter{f}
	}
	return []*listenerv3.Filter{networkFilter(feedsFilter, &networkmodulev3.DynamicModuleNetworkFilter{
		DynamicModuleConfig: module(), FilterName: "feeds", FilterConfig: r.feedsConfig(l),
	}), f}
}

// namesFilter leaves the names that the destination was resolved from in the filter state.
func namesFilter() *listenerv3.ListenerFilter {
	return listenerFilter("pavise.names", &listenermodulev3.DynamicModuleListenerFilter{
		DynamicModuleConfig: module(), FilterName: "names", FilterConfig: pack.Any(wrapperspb.String("{}")),
	})
}
