package relay

import (
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pavise.dev/pavise/xds"
)

// maxMessageShown bounds how much of a refusal is kept for the status, as package xds does.
const maxMessageShown = 4096

// request is what Envoy says: it answers a response, or asks for resources, or both.
func (s *session) request(q *discoveryv3.DeltaDiscoveryRequest) error {
	if err := s.identify(q); err != nil {
		return err
	}
	k := s.kinds[q.GetTypeUrl()]
	if k == nil {
		if s.relay.counts.Ignored++; q.GetResponseNonce() == "" {
			s.relay.config.Logger.Warn("envoy asks for a type that is not relayed", "type", clip(q.GetTypeUrl(), 100))
		}
		return nil
	}
	if err := checkRequest(q); err != nil {
		return status.Errorf(codes.InvalidArgument, "relay: %s: %s", short(k.url), err)
	}
	o := s.answered(q)
	first := !k.asked
	if first {
		k.begin(q, s.relay.pinned)
		s.begun = s.begun || k.url == required[1] && k.answered
	}
	k.subscribe(q)
	if len(k.names) > maxResources {
		return status.Errorf(codes.ResourceExhausted, "relay: %s: more than %d names asked for", short(k.url), maxResources)
	}
	if s.link == nil && s.retry.C() == nil && s.resume.C() == nil {
		s.begin()
	}
	switch {
	case s.link != nil && !s.link.opened.IsZero():
		s.forward(k, q, o)
	case s.restored && first:
		s.offer(k.restored(s.relay.pinned, s.under))
	case s.restored && len(q.GetResourceNamesSubscribe()) > 0:
		s.offer(k.named(s.relay.pinned, q.GetResourceNamesSubscribe()))
	}
	if o == nil || o.link == nil || o.link != s.link {
		return nil
	}
	if q.GetErrorDetail() != nil {
		s.restore("what the control plane sent was refused")
	} else {
		s.resync(k)
	}
	return nil
}

// answered takes Envoy's answer to an offer. It returns that offer, nil for none.
func (s *session) answered(q *discoveryv3.DeltaDiscoveryRequest) *offer {
	if q.GetResponseNonce() == "" {
		return nil
	}
	for i, o := range s.under {
		if m := o.response(""); m.GetNonce() != q.GetResponseNonce() || o.kind.url != q.GetTypeUrl() {
			continue
		}
		s.under = append(s.under[:i:i], s.under[i+1:]...)
		if e := q.GetErrorDetail(); e != nil {
			o.kind.rejected(o)
			s.relay.counts.NACKs++
			s.refused(o.kind, names(o.resources, o.removed), e.GetMessage())
			return o
		}
		o.kind.taken(o)
		s.nacks = 0
		if o.link != nil {
			s.source = ControlPlane
		}
		if s.relay.nack != nil && s.relay.nack.TypeURL == o.kind.url && len(o.kind.refused) == 0 {
			s.relay.nack = nil
		}
		return o
	}
	s.relay.counts.Ignored++ // an answer to nothing that was asked
	return nil
}

// forward passes on what Envoy said, if the control plane is to know it.
func (s *session) forward(k *kind, q *discoveryv3.DeltaDiscoveryRequest, o *offer) {
	if !s.link.asked[k.url] {
		s.ask(k.first())
		return
	}
	m := &discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: k.url, ResourceNamesSubscribe: q.GetResourceNamesSubscribe(), ResourceNamesUnsubscribe: q.GetResourceNamesUnsubscribe(),
	}
	if o != nil && o.link == s.link {
		m.ResponseNonce = o.nonce
		if e := q.GetErrorDetail(); e != nil {
			m.ErrorDetail = &statuspb.Status{Code: e.GetCode(), Message: clip(e.GetMessage(), maxReason)}
		}
	}
	if m.ResponseNonce != "" || len(m.ResourceNamesSubscribe)+len(m.ResourceNamesUnsubscribe) > 0 {
		s.ask(m)
	}
}

// refused takes note of a refusal, Envoy's or the relay's.
func (s *session) refused(k *kind, names []string, message string) {
	message = clip(message, maxMessageShown)
	s.relay.nack = &xds.NACK{Time: time.Now(), TypeURL: k.url, Resources: names, Message: message}
	s.relay.config.Logger.Error("resources were refused; the last good stand", "type", short(k.url), "resources", names[:min(len(names), 10)], "message", message)
	if s.nacks++; s.nacks > patientNACKs {
		s.pause.set(min(maxPause, 100*time.Millisecond<<min(s.nacks-patientNACKs, 10)))
	}
}

// resync begins anew with the control plane after an ACK where it and Envoy may still
// differ: several were refused together, some of them have been replaced since, and the
// others, which may be good, are not sent again by themselves.
func (s *session) resync(k *kind) {
	if k.unsure && len(k.refused) > 0 {
		k.unsure = false
		s.drop()
	}
}

// offer passes resources to Envoy; nil is nothing.
func (s *session) offer(o *offer) {
	if o == nil {
		return
	}
	s.serial++
	o.serial = s.serial
	s.under = append(s.under, o)
	s.out = append(s.out, o.response(s.wanted))
}

// restore gives Envoy the pinned set, once, if there is one. The control plane is left
// alone meanwhile: two sources at a time would be none.
func (s *session) restore(why string) {
	p := s.relay.pinned
	if p == nil || s.restored || s.begun {
		return
	}
	s.relay.config.Logger.Warn("envoy is given the last good resources from disk", "why", why, "digest", p.digest, "written", p.at)
	s.relay.counts.Restored++
	s.restored, s.source, s.wanted = true, Disk, p.digest
	s.fallback.off()
	s.retry.off()
	s.pause.off()
	if s.link != nil {
		s.link.end()
		s.connected(nil)
	}
	s.resume.set(restoreTime)
	for _, url := range relayed {
		if k := s.kinds[url]; k.asked {
			s.offer(k.restored(p, s.under))
		}
	}
}

// names of resources, given and removed.
func names(resources []*resource, removed []string) []string {
	out := make([]string, 0, len(resources)+len(removed))
	for _, x := range resources {
		out = append(out, x.GetName())
	}
	return append(out, removed...)
}
