package matcher

import (
	corev3 "github.com/cncf/xds/go/xds/core/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"pavise.dev/pavise/policy"
)

// Keys of the filter state that the filters before RBAC set, see package xds.
const (
	// PathKey holds the canonical path without query, with a slash added, so that a
	// key of a prefix map can end at a segment.
	PathKey = "pavise.path"
	// HostKey and PortKey hold the canonical host and port that a proxy is asked for.
	HostKey = "pavise.host"
	PortKey = "pavise.port"
	// DestinationKey holds the class of the address that a proxy would connect to.
	DestinationKey = "pavise.destination"
	// NamesKey holds the names that the address a client connects to was resolved from,
	// with a comma before and behind each: ,a.example,b.example,
	NamesKey = "pavise.names"
)

// inputs name where Envoy finds each dimension; nil where a listener has no such
// thing. They are made once and shared by every matcher of a translation.
type inputs struct {
	path, host, method, target, source, destination, port, serverName *corev3.TypedExtensionConfig
	// names are those that the destination was resolved from; where they are known,
	// domains ask for them and for the claim, the name that the client gives itself.
	names, claim *corev3.TypedExtensionConfig
}

func header(name string) *corev3.TypedExtensionConfig {
	return extension(name, &typev3.HttpRequestHeaderMatchInput{HeaderName: name})
}

func filterState(key string) *corev3.TypedExtensionConfig {
	return extension(key, &networkv3.FilterStateInput{Key: key})
}

func httpInputs() inputs {
	return inputs{
		path: filterState(PathKey), host: header(":authority"), method: header(":method"), target: header(":path"),
		source: extension("source-ip", &networkv3.SourceIPInput{}),
	}
}

func proxyInputs() inputs {
	in := httpInputs()
	in.host, in.port, in.destination = filterState(HostKey), filterState(PortKey), filterState(DestinationKey)
	return in
}

func networkInputs() inputs {
	return inputs{
		source:     extension("source-ip", &networkv3.SourceIPInput{}),
		serverName: extension("server-name", &networkv3.ServerNameInput{}),
	}
}

// redirected adds what is known of a connection that was redirected: where to.
func (in inputs) redirected(d policy.Direction) inputs {
	in.port = extension("destination-port", &networkv3.DestinationPortInput{})
	if d == policy.Egress {
		in.destination = extension("destination-ip", &networkv3.DestinationIPInput{})
		in.names, in.claim = filterState(NamesKey), in.host
		if in.claim == nil {
			in.claim = in.serverName
		}
	}
	return in
}
