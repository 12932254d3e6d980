package relay

import (
	"maps"
	"slices"
	"strconv"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
)

// allNames is the name by which a client asks for all resources of a type.
const allNames = "*"

// kind is what a session knows of one type of resources.
type kind struct {
	url      string
	asked    bool // Envoy has asked for it
	answered bool // and has had an answer, or came with resources
	wildcard bool
	names    map[string]bool // asked for by name
	// has is what Envoy acknowledged. A version without a body is one that it had before
	// it came here.
	has map[string]*resource
	// refused are the versions that it refused, until they are replaced; empty for the
	// removal of one.
	refused map[string]string
	// unsure is set where several were refused together: some of them may be good, and in
	// force.
	unsure bool
}

// offer is a response that was passed to Envoy.
type offer struct {
	serial    uint64
	kind      *kind
	resources []*resource
	removed   []string
	// link and nonce say whose it is; nil and empty for the pinned set.
	link  *link
	nonce string
}

func newKind(url string) *kind {
	return &kind{url: url, names: map[string]bool{}, has: map[string]*resource{}, refused: map[string]string{}}
}

// begin takes the first request of a stream for this type.
func (k *kind) begin(r *discoveryv3.DeltaDiscoveryRequest, p *pinned) {
	k.asked = true
	k.wildcard = len(r.GetResourceNamesSubscribe()) == 0
	k.answered = len(r.GetInitialResourceVersions()) > 0
	for name, version := range r.GetInitialResourceVersions() {
		x := &resource{Name: name, Version: version}
		if p != nil {
			if known := p.types[k.url][name]; known.GetVersion() == version {
				x = known
			}
		}
		k.has[name] = x
	}
}

// subscribe takes what a request adds and takes away.
func (k *kind) subscribe(r *discoveryv3.DeltaDiscoveryRequest) {
	for _, name := range r.GetResourceNamesSubscribe() {
		if name == allNames {
			k.wildcard = true
		} else {
			k.names[name] = true
		}
	}
	for _, name := range r.GetResourceNamesUnsubscribe() {
		if name == allNames {
			k.wildcard = false
			continue
		}
		delete(k.names, name)
		if !k.wildcard {
			delete(k.has, name)
			delete(k.refused, name)
		}
	}
}

// wants reports whether Envoy asks for a resource of that name.
func (k *kind) wants(name string) bool { return k.wildcard || k.names[name] }

// first is the request that begins this type on a stream to the control plane. It says
// what Envoy has; a version whose body the relay does not know it gives as empty, so that
// the resource is sent once more, or removed.
func (k *kind) first() *discoveryv3.DeltaDiscoveryRequest {
	q := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: k.url, InitialResourceVersions: make(map[string]string, len(k.has))}
	for name, x := range k.has {
		v := x.GetVersion()
		if x.GetResource() == nil {
			v = ""
		}
		q.InitialResourceVersions[name] = v
	}
	q.ResourceNamesSubscribe = slices.Sorted(maps.Keys(k.names))
	if k.wildcard && len(k.names) > 0 {
		q.ResourceNamesSubscribe = append(q.ResourceNamesSubscribe, allNames)
	}
	return q
}

// taken applies what Envoy acknowledged.
func (k *kind) taken(o *offer) {
	k.answered = true
	for _, x := range o.resources {
		delete(k.refused, x.GetName())
		if k.wants(x.GetName()) {
			k.has[x.GetName()] = x
		}
	}
	for _, name := range o.removed {
		delete(k.refused, name)
		delete(k.has, name)
	}
}

// rejected notes what Envoy refused.
func (k *kind) rejected(o *offer) {
	k.answered = true
	k.unsure = len(o.resources)+len(o.removed) > 1
	for _, x := range o.resources {
		if k.wants(x.GetName()) {
			k.refused[x.GetName()] = x.GetVersion()
		}
	}
	for _, name := range o.removed {
		if k.wants(name) {
			k.refused[name] = ""
		}
	}
}

// versions of what Envoy has.
func (k *kind) versions() map[string]string {
	out := make(map[string]string, len(k.has))
	for name, x := range k.has {
		out[name] = x.GetVersion()
	}
	return out
}

// wanted is what Envoy would have, had it taken all it was offered. under are the offers
// that it has not answered, in order.
func (k *kind) wanted(under []*offer) map[string]string {
	out := k.versions()
	put := func(name, version string) {
		if version == "" {
			delete(out, name)
		} else {
			out[name] = version
		}
	}
	for name, v := range k.refused {
		put(name, v)
	}
	for _, o := range under {
		if o.kind != k {
			continue
		}
		for _, x := range o.resources {
			put(x.GetName(), x.GetVersion())
		}
		for _, name := range o.removed {
			put(name, "")
		}
	}
	return out
}

// restored is the offer that makes of what Envoy has, or may have, the pinned set. It is
// nil where there is nothing to say.
func (k *kind) restored(p *pinned, under []*offer) *offer {
	o := &offer{kind: k}
	set, maybe := p.types[k.url], k.wanted(under)
	for _, name := range slices.Sorted(maps.Keys(set)) {
		// Refused in part, an update may be in force in part.
		if v := set[name].GetVersion(); k.wants(name) && (k.has[name].GetVersion() != v || maybe[name] != v) {
			o.resources = append(o.resources, set[name])
		}
	}
	for name := range k.has {
		maybe[name] = "" // also what it may have lost
	}
	for _, name := range slices.Sorted(maps.Keys(maybe)) {
		if set[name] == nil && k.wildcard {
			o.removed = append(o.removed, name)
		}
	}
	if len(o.resources)+len(o.removed) == 0 && (k.answered || !k.wildcard) {
		return nil
	}
	return o
}

// named is the offer of what was just asked for by name, nil where the pinned set has
// nothing of it. Who asks again gets it again.
func (k *kind) named(p *pinned, names []string) *offer {
	o := &offer{kind: k}
	for _, name := range names {
		if x := p.types[k.url][name]; x != nil {
			o.resources = append(o.resources, x)
		}
	}
	if len(o.resources) == 0 {
		return nil
	}
	return o
}

func (o *offer) response(digest string) *discoveryv3.DeltaDiscoveryResponse {
	return &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: o.kind.url, SystemVersionInfo: digest, Nonce: strconv.FormatUint(o.serial, 10),
		Resources: o.resources, RemovedResources: o.removed,
	}
}

// size of the bodies, in octets.
func (o *offer) size() int {
	n := 0
	for _, x := range o.resources {
		n += proto.Size(x)
	}
	return n
}
