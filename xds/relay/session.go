package relay

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	// settleTime is how long Envoy has to have all it asked for, without a word from
	// either side, before that counts as in force: it acknowledges listeners before it asks
	// for their policies, and an update comes in several responses.
	settleTime = 200 * time.Millisecond
	// restoreTime bounds how long the control plane is left alone while Envoy is given the
	// pinned set.
	restoreTime = 5 * time.Second
	// renewTime is what settleTime is where a new stream to the control plane has yet to
	// say whether it still wants what was refused.
	renewTime = time.Second
	// patientNACKs in a row are passed on at once; then each response waits, longer and
	// longer, up to maxPause.
	patientNACKs = 3
	maxPause     = 5 * time.Second
)

// session is one stream of Envoy and what is done for it. One goroutine has all of it; what
// Status reads is changed under the relay's lock only.
type session struct {
	relay  *Relay
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	asks   chan *discoveryv3.DeltaDiscoveryRequest
	news   chan news

	node   *corev3.Node // as Envoy describes itself; nil until it has
	kinds  map[string]*kind
	under  []*offer // not answered yet, in order
	serial uint64
	out    []*discoveryv3.DeltaDiscoveryResponse // to be sent to Envoy

	link   *link // nil between two
	source Source
	wanted string // digest of the last that was sent
	// calm is set while all is in force and nothing happens; begun once it was, or where
	// Envoy came with resources. Until it has begun the pinned set may have to help out.
	calm, begun, restored bool
	nacks                 int // in a row

	fallback, resume, retry, settle, pause alarm
}

func newSession(r *Relay, stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) *session {
	s := &session{
		relay: r, stream: stream, source: None,
		asks: make(chan *discoveryv3.DeltaDiscoveryRequest), news: make(chan news), kinds: map[string]*kind{},
	}
	for _, url := range relayed {
		s.kinds[url] = newKind(url)
	}
	return s
}

// run serves Envoy until its stream ends.
func (s *session) run(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			q, err := s.stream.Recv()
			if err != nil {
				return
			}
			select {
			case s.asks <- q:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer s.end()
	for {
		if err := s.step(ctx, ended); err != nil {
			if err == io.EOF { //nolint:errorlint // step's own
				return nil
			}
			return err
		}
		for _, m := range s.out {
			// Blocks while Envoy does not read: then nothing more is taken from the
			// control plane either.
			if err := s.stream.Send(m); err != nil {
				return nil // the stream ended; Envoy opens another
			}
		}
		s.out = nil
	}
}

// step waits for one thing to happen, and deals with it. It returns io.EOF at the end of
// the stream.
func (s *session) step(ctx context.Context, ended <-chan struct{}) error {
	var do func() error
	incoming := s.news
	if s.pause.C() != nil {
		incoming = nil
	}
	select {
	case q := <-s.asks:
		do = func() error { return s.request(q) }
	case n := <-incoming:
		do = func() error { s.heard(n); return nil }
	case <-s.fallback.C():
		do = func() error { s.fallback.off(); s.late(); return nil }
	case <-s.resume.C():
		do = func() error { s.resume.off(); s.goOn(); return nil }
	case <-s.retry.C():
		do = func() error { s.retry.off(); s.connect(); return nil }
	case <-s.settle.C():
		do = func() error { s.settle.off(); s.settled(); return nil }
	case <-s.pause.C():
		s.pause.off()
		return nil
	case <-ended:
		return io.EOF
	case <-ctx.Done():
		return io.EOF
	}
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	if err := do(); err != nil {
		s.relay.counts.Rejected++
		s.relay.config.Logger.Error("envoy's stream was ended", "error", err)
		s.relay.tell()
		return err
	}
	s.watch()
	s.relay.tell()
	return nil
}

// watch notes when all that Envoy asked for is in force.
func (s *session) watch() {
	switch lacking := s.lacking(); {
	case lacking != "":
		s.calm = false
		s.settle.off()
	case !s.calm && s.settle.C() == nil:
		s.settle.set(settleTime)
	}
}

// settled takes note that Envoy has all it asked for.
func (s *session) settled() {
	r := s.relay
	s.calm, s.begun, s.nacks = true, true, 0
	s.fallback.off()
	if s.source == None && r.pinned != nil { // Envoy came with what is pinned
		s.source, s.wanted = Disk, r.pinned.digest
	}
	r.digest = s.wanted
	if s.resume.C() != nil {
		s.resume.off()
		s.connect()
	}
	if p := s.set(); !r.pinned.same(p) {
		r.pin(p)
	}
}

// set is what Envoy has.
func (s *session) set() *pinned {
	p := &pinned{node: s.relay.config.Node, digest: s.wanted, types: map[string]map[string]*resource{}}
	for url, k := range s.kinds {
		p.types[url] = maps.Clone(k.has)
	}
	return p
}

// end is called when Envoy's stream has ended.
func (s *session) end() {
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	for _, a := range []*alarm{&s.fallback, &s.resume, &s.retry, &s.settle, &s.pause} {
		a.off()
	}
	if s.link != nil {
		s.link.end()
		s.connected(nil)
	}
}

// connected sets the stream to the control plane.
func (s *session) connected(l *link) {
	was := s.link != nil && !s.link.opened.IsZero()
	s.link = l
	if was != (l != nil && !l.opened.IsZero()) {
		s.relay.since = time.Now()
	}
}

// lacking says what Envoy asked for and does not have, in words; empty for nothing.
func (s *session) lacking() string {
	for _, url := range required {
		if k := s.kinds[url]; !k.answered {
			return s.waiting(short(url))
		}
	}
	for _, url := range relayed {
		k := s.kinds[url]
		if len(k.refused) > 0 {
			return fmt.Sprintf("Envoy refused %s %s and keeps what it had", short(url), some(k.refused))
		}
		missing := map[string]bool{}
		for name := range k.names {
			if k.has[name] == nil {
				missing[name] = true
			}
		}
		if len(missing) > 0 {
			return s.waiting(short(url) + " " + some(missing))
		}
		for name, x := range k.has {
			if x.GetResource() == nil {
				return s.waiting(fmt.Sprintf("%s %q, which Envoy has had since before this relay began", short(url), name))
			}
		}
	}
	if len(s.under) > 0 {
		return "Envoy has not answered for " + short(s.under[0].kind.url)
	}
	return ""
}

// waiting says why something is not there.
func (s *session) waiting(what string) string {
	switch {
	case s.link != nil && !s.link.opened.IsZero():
		return "the control plane has not sent: " + what
	case s.relay.pinned == nil:
		return "no control plane, and nothing on disk for: " + what
	case !s.restored:
		return "no control plane yet; after a while the last good from disk for: " + what
	}
	return "no control plane, and the last good from disk lacks: " + what
}

// some names, for a message.
func some[V any](names map[string]V) string {
	list := slices.Sorted(maps.Keys(names))
	more := ""
	if len(list) > 5 {
		more = fmt.Sprintf(" and %d more", len(list)-5)
		list = list[:5]
	}
	return fmt.Sprintf("%q%s", list, more)
}

// short is the last part of a type URL.
func short(url string) string { return url[strings.LastIndexByte(url, '.')+1:] }

// describe fills in what a status says of the session. The lock is held.
func (s *session) describe(st *Status) {
	st.Envoy = s.node != nil
	st.Connected = s.link != nil && !s.link.opened.IsZero()
	st.Source, st.Wanted, st.Ready, st.InForce, st.Lacking = s.source, s.wanted, s.begun, s.calm, s.lacking()
	if st.Lacking == "" && !s.calm {
		st.Lacking = "all is there, since a moment"
	}
	st.Types = map[string]Versions{}
	for url, k := range s.kinds {
		if k.asked {
			st.Types[url] = Versions{Wanted: k.wanted(s.under), Acked: k.versions()}
		}
	}
}

// identify takes Envoy's description of itself from its first request.
func (s *session) identify(q *discoveryv3.DeltaDiscoveryRequest) error {
	if s.node != nil {
		return nil
	}
	if id := q.GetNode().GetId(); id != s.relay.config.Node {
		return status.Errorf(codes.InvalidArgument, "relay: this is the relay of node %q, and not of %q", s.relay.config.Node, clip(id, 100))
	}
	s.node = proto.CloneOf(q.GetNode())
	return nil
}
