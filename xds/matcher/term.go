package matcher

import (
	"pavise.dev/pavise/policy"
)

// dim is a dimension by which terms can be told apart.
type dim uint8

const (
	dimPath dim = iota
	dimHost
	dimSource
	dimDestination
	dimPort
	dimMethod
	dimServerName
	dimNames
	numDims
)

// term is a policy term in the builder: what is left to test of it, and what
// follows if it matches.
type term struct {
	*policy.Term
	// resolved says that its domains ask for the names of the destination (dimNames) and
	// not for the host; deny that any name is enough.
	resolved, deny bool
	// order is its place; of two that match, the lower decides.
	order int
	// done has a bit for each dimension that the way to here has tested.
	done uint16
	out  *onMatch
}

func (t *term) isDone(d dim) bool { return t.done&(1<<d) != 0 }

func (t *term) with(d dim) *term {
	c := *t
	c.done |= 1 << d
	return &c
}

// open reports whether the term still asks something in the dimension.
func (t *term) open(d dim) bool {
	if t.isDone(d) {
		return false
	}
	switch d {
	case dimPath:
		return t.HTTP != nil && len(t.HTTP.Paths) > 0
	case dimHost:
		return len(t.hosts()) > 0 && len(t.hosts()[0]) > 0
	case dimSource:
		return t.Sources != nil
	case dimDestination:
		return t.Destinations != nil
	case dimPort:
		return len(t.Ports) > 0
	case dimMethod:
		return t.HTTP != nil && len(t.HTTP.Methods) > 0
	case dimServerName:
		return len(t.ServerNames) > 0
	case dimNames:
		return t.resolved && len(t.Domains) > 0
	}
	return false
}

// hosts are the lists of names of which the host has to match one each: those of
// http.hosts and those of the peer's domains.
func (t *term) hosts() [][]policy.Domain {
	var out [][]policy.Domain
	if len(t.Domains) > 0 && !t.resolved {
		out = append(out, t.Domains)
	}
	if t.HTTP != nil && len(t.HTTP.Hosts) > 0 {
		out = append(out, t.HTTP.Hosts)
	}
	return out
}

// weight is what one copy of the term costs, in predicates of a few bytes.
func (t *term) weight() int {
	w := 1
	if t.open(dimPath) {
		w += len(t.HTTP.Paths)
	}
	if t.open(dimSource) {
		w += len(t.Sources.Prefixes())
	}
	if t.open(dimDestination) {
		w += len(t.Destinations.Prefixes())
	}
	if t.open(dimHost) {
		for _, h := range t.hosts() {
			w += len(h)
		}
	}
	if t.open(dimNames) {
		w += 2 * len(t.Domains)
	}
	return w
}
