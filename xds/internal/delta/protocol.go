package delta

import (
	"slices"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// protocol is the state of one stream. It is not safe for concurrent use.
type protocol struct {
	kinds [kinds]kind
	// ignored counts requests for types that are not served, and stale answers that with
	// an unknown nonce.
	ignored, stale uint64
}

func newProtocol() protocol {
	var p protocol
	for i := range p.kinds {
		p.kinds[i].has.base, p.kinds[i].done = empty[i], nil
	}
	return p
}

// refusal is what a client refused.
type refusal struct {
	kind    int
	frame   *frame
	message string
}

// request takes in what a client says. The content may be nil.
func (p *protocol) request(q *discoveryv3.DeltaDiscoveryRequest, c *Content) (*refusal, error) {
	i := slices.Index(Types[:], q.GetTypeUrl())
	if i < 0 {
		p.ignored++
		return nil, nil
	}
	k := &p.kinds[i]
	var no *refusal
	if nonce := q.GetResponseNonce(); nonce != "" {
		switch {
		case k.under == nil || k.under.nonce != nonce:
			p.stale++
		case q.GetErrorDetail() != nil:
			no = &refusal{i, k.nacked(), q.GetErrorDetail().GetMessage()}
		default:
			k.acked()
		}
	}
	target := empty[i]
	if c != nil {
		target = c.sets[i]
	}
	if err := k.request(q, target); err != nil {
		return no, err
	}
	k.has.fold(target)
	return no, nil
}

// next is the next response for a client that shall have the content; nil for none now.
func (p *protocol) next(c *Content) *frame {
	for i := range p.kinds {
		k := &p.kinds[i]
		target := c.sets[i]
		if !k.asked {
			continue
		}
		if k.under != nil {
			if k.done != target {
				return nil // what comes after may need what this one has yet to bring
			}
			continue
		}
		keep := i == Clusters && !(p.kinds[Listeners].settled(c.sets[Listeners]) && p.kinds[Extensions].settled(c.sets[Extensions]))
		if f := k.next(target, keep); f != nil {
			k.sending(f, target)
			return f
		}
		k.done = target
	}
	return nil
}

// inForce says whether the client has acknowledged exactly the content.
func (p *protocol) inForce(c *Content) bool {
	for i := range p.kinds {
		k := &p.kinds[i]
		k.has.fold(c.sets[i])
		if k.under != nil || k.has.odd != nil || k.has.base != c.sets[i] {
			return false
		}
	}
	return true
}

// synced says whether the client has answered for all that it asked for so far, and has
// asked for clusters and listeners.
func (p *protocol) synced(c *Content) bool {
	for i := range p.kinds {
		k := &p.kinds[i]
		if i != Extensions && !k.asked || k.asked && (k.under != nil || k.done != c.sets[i]) {
			return false
		}
	}
	return true
}

// pending counts what differs from the content.
func (p *protocol) pending(c *Content) int {
	n := 0
	for i := range p.kinds {
		n += p.kinds[i].has.lacking(c.sets[i])
	}
	return n
}
