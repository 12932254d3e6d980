package anomaly

import (
	"time"

	"pavise.dev/pavise/policy"
)

// Bounds of the sets of a side.
const (
	mostPeers   = 256
	mostNames   = 512
	mostPorts   = 64
	mostMethods = 16
	mostShapes  = 512
)

// side is what is usual for one direction of a workload.
type side struct {
	direction                            policy.Direction
	peers, names, ports, methods, shapes set
	allowed, denied                      season

	hour                     int64
	hourAllowed, hourDenied  float64
	nextRate                 float64 // count at which the rate is alerted on; 0 is not known yet
	window                   int32
	windowDenied, nextDenied float64
	judged                   int64 // day of the last judgement of the sets
	scanners                 scanners
	// fresh counts what was new.
	fresh map[Kind]freshCount
	// sites of which a name was new this day.
	sites map[string]bool
}

// freshCount is how much was new in this hour and this day.
type freshCount struct{ hour, day int }

func newSide(d policy.Direction, at time.Time) *side {
	return &side{
		direction: d, hour: hourOf(at), window: windowOf(at), judged: hourOf(at) / hoursPerDay,
		peers: set{most: mostPeers}, names: set{most: mostNames}, ports: set{most: mostPorts},
		methods: set{most: mostMethods}, shapes: set{most: mostShapes},
	}
}

func (s *side) sets() [5]*set { return [...]*set{&s.peers, &s.names, &s.ports, &s.methods, &s.shapes} }

func (w *workload) side(egress bool, at time.Time) *side {
	p, d := &w.ingress, policy.Ingress
	if egress {
		p, d = &w.egress, policy.Egress
	}
	if *p == nil {
		*p = newSide(d, at)
	}
	return *p
}

func (w *workload) sides() []*side {
	var out []*side
	for _, s := range [...]*side{w.ingress, w.egress} {
		if s != nil {
			out = append(out, s)
		}
	}
	return out
}

// bytes is what the workload was counted with.
func (w *workload) bytes() int {
	n := workloadBytes + len(w.name) + w.dests.bytes()
	for _, s := range w.sides() {
		n += s.scanners.bytes
		for _, set := range s.sets() {
			n += set.bytes()
		}
	}
	return n
}

// second says that the second half of the learning time runs, or that it is over.
func (w *workload) second(now time.Time) bool { return now.Sub(w.since) >= w.learning/2 }
