package delta

import (
	"slices"
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// maxNames bounds the names that a client may subscribe to, or say it has, of a type.
	maxNames = 16_384
	// maxNameOctets bounds them all together.
	maxNameOctets = 1 << 20
)

// kind is one type on a stream: what the client asked for, has, and was sent.
type kind struct {
	asked, wildcard, answered bool
	names                     []string // subscribed, sorted
	fresh                     []string // of them, what has not been answered yet; in order
	octets                    int      // of names
	has                       view
	under                     *frame // sent and not answered
	done                      *set   // the last of which all was sent
	refused                   *set   // was sent and refused
}

func (k *kind) wants(name string) bool {
	if k.wildcard {
		return true
	}
	_, ok := slices.BinarySearch(k.names, name)
	return ok
}

// request takes over what a client asks for; what it answers is the caller's.
func (k *kind) request(q *discoveryv3.DeltaDiscoveryRequest, target *set) error {
	first := !k.asked
	k.asked = true
	subscribed := q.GetResourceNamesSubscribe()
	if first && len(subscribed) == 0 {
		k.wildcard = true
	}
	initial := q.GetInitialResourceVersions()
	if len(initial) > maxNames || len(subscribed) > maxNames {
		return status.Errorf(codes.ResourceExhausted, "more than %d names of a type", maxNames)
	}
	for _, name := range subscribed {
		if name == "*" {
			k.wildcard = true
			continue
		}
		name = strings.Clone(name)
		if i, ok := slices.BinarySearch(k.names, name); !ok {
			if p := target.find(name); p != nil {
				name = p.name // shared by all who ask for it
			}
			k.names = slices.Insert(k.names, i, name)
			k.octets += len(name)
		}
		if len(k.names) > maxNames || k.octets > maxNameOctets {
			return status.Errorf(codes.ResourceExhausted, "more than %d names of a type, or than %d octets in them", maxNames, maxNameOctets)
		}
		// One that is asked for again is sent again, unless the client says that it has it.
		if _, has := initial[name]; !(first && has) && !slices.Contains(k.fresh, name) {
			k.fresh = append(k.fresh, name)
		}
	}
	if first && len(initial) > 0 {
		k.resume(initial, target)
	}
	k.unsubscribe(q.GetResourceNamesUnsubscribe())
	return nil
}

// resume takes over what a client says it has since an earlier stream.
func (k *kind) resume(initial map[string]string, target *set) {
	k.has.odd = make(map[string]string, len(initial))
	for name, version := range initial {
		if len(version) > 2*len(digest{}) {
			version = unknown // none of ours
		}
		if p := target.find(name); p != nil && p.version == version {
			name, version = p.name, p.version
		}
		if k.wants(name) {
			k.has.odd[name] = version
		}
	}
	k.has.fold(target)
}

func (k *kind) unsubscribe(names []string) {
	if len(names) == 0 {
		return
	}
	for _, name := range names {
		if name == "*" {
			k.wildcard = false
			continue
		}
		if i, ok := slices.BinarySearch(k.names, name); ok {
			k.octets -= len(name)
			k.names = slices.Delete(k.names, i, i+1)
		}
		if i := slices.Index(k.fresh, name); i >= 0 {
			k.fresh = slices.Delete(k.fresh, i, i+1)
		}
	}
	if !k.wildcard {
		k.has.keepOnly(k.wants)
	}
}

// next is what to send to bring the client to the target; nil for nothing. With keep,
// what is not in the target is left with it.
func (k *kind) next(target *set, keep bool) *frame {
	refused := k.refused == target
	if !refused {
		k.refused = nil
	}
	if k.has.odd == nil && len(k.fresh) == 0 && !refused && k.covers(target) && k.covers(k.has.base) {
		if k.has.base == target && (k.answered || !k.wildcard) {
			return nil
		}
		f := target.step(k.has.base, keep)
		if len(f.sent)+len(f.removed) == 0 && (k.answered || !k.wildcard) {
			return nil
		}
		return f
	}
	sent, removed := k.fromFresh(target)
	if !refused {
		sent, removed = k.changed(target, keep, sent, removed)
	}
	if len(sent)+len(removed) == 0 && (k.answered || !k.wildcard) {
		return nil
	}
	return newFrame(target, false, sent, removed)
}

// covers says whether the client wants all of the set.
func (k *kind) covers(s *set) bool {
	return k.wildcard || !slices.ContainsFunc(s.pieces, func(p *piece) bool { return !k.wants(p.name) })
}

// fromFresh is what was asked for by name: it is sent, or said not to be there.
func (k *kind) fromFresh(target *set) (sent []*piece, removed []string) {
	for _, name := range k.fresh {
		if p := target.find(name); p != nil {
			sent = append(sent, p)
		} else {
			removed = append(removed, name)
		}
	}
	return sent, removed
}

// changed adds what differs from what the client has.
func (k *kind) changed(target *set, keep bool, sent []*piece, removed []string) ([]*piece, []string) {
	fresh := make(map[string]bool, len(k.fresh))
	for _, name := range k.fresh {
		fresh[name] = true
	}
	for _, p := range target.pieces {
		if version, has := k.has.version(p.name); k.wants(p.name) && !fresh[p.name] && (!has || version != p.version) {
			sent = append(sent, p)
		}
	}
	if keep {
		return sent, removed
	}
	gone := func(name string) {
		if target.find(name) == nil && !fresh[name] {
			removed = append(removed, name)
		}
	}
	if k.has.odd == nil {
		for _, p := range k.has.base.pieces {
			gone(p.name)
		}
		return sent, removed
	}
	for name := range k.has.odd {
		gone(name)
	}
	slices.Sort(removed)
	return sent, removed
}

// sending notes what is under way.
func (k *kind) sending(f *frame, target *set) {
	k.under, k.done, k.answered, k.fresh = f, target, true, nil
}

// acked notes that the client has taken over what was under way.
func (k *kind) acked() {
	f := k.under
	k.under = nil
	if f.full && k.covers(f.to) {
		k.has = view{base: f.to}
		return
	}
	k.has.spread()
	for _, p := range f.sent {
		if k.wants(p.name) {
			k.has.odd[p.name] = p.version
		}
	}
	for _, name := range f.removed {
		delete(k.has.odd, name)
	}
	k.has.fold(f.to)
}

// nacked notes that the client refused what was under way. It may have taken over a part:
// Envoy does, of listeners.
func (k *kind) nacked() *frame {
	f := k.under
	k.under, k.refused = nil, f.to
	k.has.spread()
	for _, name := range f.names() {
		if k.wants(name) {
			k.has.odd[name] = unknown
		}
	}
	return f
}

// settled says that the client has answered for all of the target that it asked for, and
// refused none.
func (k *kind) settled(target *set) bool {
	return !k.asked || (k.under == nil && k.done == target && k.refused == nil)
}
