package relay

import (
	"fmt"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// begin turns to the control plane for the first time in a session.
func (s *session) begin() {
	s.connect()
	if !s.begun {
		// What is known to be away for longer is not waited for.
		s.fallback.set(max(settleTime, s.relay.config.FallbackAfter-s.away()))
	}
}

// away is for how long the control plane has not answered, 0 while it does.
func (s *session) away() time.Duration {
	if s.relay.lastError == "" {
		return 0
	}
	return time.Since(s.relay.heard)
}

// connect begins a stream to the control plane.
func (s *session) connect() {
	if s.link == nil {
		s.relay.counts.Streams++
		s.connected(s.relay.connect(s.news))
	}
}

// late is called when nothing was heard of the control plane for too long.
func (s *session) late() {
	if len(s.under) > 0 {
		s.fallback.set(s.relay.config.FallbackAfter) // it is Envoy who is busy
		return
	}
	s.restore("the control plane does not answer")
}

// goOn turns to the control plane again after the pinned set was given to Envoy.
func (s *session) goOn() {
	if len(s.under) > 0 {
		s.resume.set(restoreTime)
		return
	}
	s.connect()
}

// renew is called when a new stream brings its first response. What was refused on the one
// before is offered again if it is still wanted, and forgotten if not.
func (s *session) renew() {
	for _, k := range s.kinds {
		if len(k.refused) == 0 {
			continue
		}
		clear(k.refused)
		s.relay.nack = nil
		s.calm = false
		s.settle.set(renewTime)
	}
}

// drop ends the stream, and begins another after a while.
func (s *session) drop() {
	lived := time.Duration(0)
	if !s.link.opened.IsZero() {
		lived = time.Since(s.link.opened)
	}
	s.link.end()
	s.connected(nil)
	s.retry.set(s.relay.backoff.next(lived))
}

// ask sends a request to the control plane.
func (s *session) ask(q *discoveryv3.DeltaDiscoveryRequest) {
	if len(s.link.asked) == 0 {
		q.Node = proto.CloneOf(s.node)
	}
	if !s.link.ask(q) {
		s.failed(fmt.Errorf("the control plane %s does not read what it is sent: %d requests wait", s.relay.config.Target, maxQueued))
	}
}

// failed takes the end of a stream.
func (s *session) failed(err error) {
	if s.relay.lastError != err.Error() {
		s.relay.config.Logger.Warn("the stream to the control plane ended; it will be opened again", "error", err)
	}
	s.relay.lastError = err.Error()
	s.drop()
}

// heard takes news of a stream to the control plane.
func (s *session) heard(n news) {
	switch {
	case n.link != s.link: // ended meanwhile
	case n.err != nil:
		s.failed(n.err)
	case n.response != nil:
		s.relay.heard, s.relay.lastError = time.Now(), ""
		if !s.link.spoke {
			s.link.spoke = true
			s.renew()
		}
		if !s.begun && !s.restored {
			s.fallback.set(s.relay.config.FallbackAfter)
		}
		s.response(n.response)
	default:
		s.link.opened = time.Now()
		s.relay.since = s.link.opened
		s.relay.config.Logger.Info("connected to the control plane", "target", s.relay.config.Target)
		for _, url := range relayed {
			// Asking for nothing would be asking for all.
			if k := s.kinds[url]; k.asked && (k.wildcard || len(k.names) > 0) && s.link != nil {
				s.ask(k.first())
			}
		}
	}
}

// response takes what the control plane sent.
func (s *session) response(r *discoveryv3.DeltaDiscoveryResponse) {
	k := s.kinds[r.GetTypeUrl()]
	if k == nil || !s.link.asked[k.url] {
		s.relay.counts.Ignored++
		s.relay.config.Logger.Warn("the control plane sent a type that was not asked for", "type", clip(r.GetTypeUrl(), 100))
		return
	}
	o := &offer{kind: k, resources: r.GetResources(), removed: r.GetRemovedResources(), link: s.link, nonce: r.GetNonce()}
	if err := s.bounded(o, r); err != nil {
		message := "relay: " + err.Error()
		s.relay.counts.Refused++
		s.ask(&discoveryv3.DeltaDiscoveryRequest{
			TypeUrl: k.url, ResponseNonce: o.nonce,
			ErrorDetail: &statuspb.Status{Code: int32(codes.InvalidArgument), Message: message},
		})
		s.refused(k, nil, message)
		s.restore("what the control plane sent was refused")
		return
	}
	s.wanted = clip(r.GetSystemVersionInfo(), maxName)
	if len(o.resources)+len(o.removed) == 0 && k.answered {
		// There is nothing to tell Envoy, which has had its answer: the control plane
		// begins a stream like this where nothing has changed.
		s.source = ControlPlane
		s.ask(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: k.url, ResponseNonce: o.nonce})
		if s.calm {
			s.relay.digest = s.wanted
		}
		return
	}
	s.relay.counts.Passed++
	s.offer(o)
}

// bounded says what is wrong with a response, by itself or with what is there already.
func (s *session) bounded(o *offer, r *discoveryv3.DeltaDiscoveryResponse) error {
	if err := check(r, o.kind.url); err != nil {
		return err
	}
	if len(r.GetNonce()) == 0 || len(r.GetNonce()) > maxName {
		return fmt.Errorf("a nonce of %d octets; 1 to %d are needed", len(r.GetNonce()), maxName)
	}
	there := o.kind.wanted(s.under)
	for _, x := range o.resources {
		there[x.GetName()] = x.GetVersion()
	}
	if len(there) > maxResources {
		return fmt.Errorf("more than %d resources of type %s", maxResources, short(o.kind.url))
	}
	total := o.size()
	for _, k := range s.kinds {
		for _, x := range k.has {
			total += proto.Size(x)
		}
	}
	for _, u := range s.under {
		total += u.size()
	}
	if total > maxHeld {
		return fmt.Errorf("more than %d octets of resources", maxHeld)
	}
	return nil
}
