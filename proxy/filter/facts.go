package filter

import "net/netip"

// Direction is the way traffic flows, seen from the workload.
type Direction uint8

const (
	Ingress Direction = iota
	Egress
	directions = iota
)

// String is ingress or egress.
func (d Direction) String() string {
	if d == Egress {
		return "egress"
	}
	return "ingress"
}

// Fact names what of a connection or request was looked up.
type Fact uint8

const (
	// Source is the address at the other end of what comes in.
	Source Fact = iota
	// Destination is the address that what goes out connects to.
	Destination
	// ServerName is the name in a TLS ClientHello.
	ServerName
	// Host is that of an HTTP request, or of a tunnel.
	Host
	// Name is one that DNS is asked for, or leads to by a CNAME.
	Name
	// Answer is an address that DNS gives for a name.
	Answer
)

var factNames = [...]string{"source", "destination", "serverName", "host", "name", "answer"}

// String is the fact as decisions name it.
func (f Fact) String() string {
	if int(f) < len(factNames) {
		return factNames[f]
	}
	return "fact"
}

// Facts are what is known of one connection or request; what is not known is zero. Source
// is asked about for Ingress only, the others for Egress only.
type Facts struct {
	Direction   Direction
	Source      netip.Addr
	Destination netip.Addr
	ServerName  string
	// Host is a name or an address, which then is looked up as one.
	Host string
	// Name that the destination was resolved from.
	Name string
}

// Canonical writes a name in lower case and without the dot at its end into dst, which has
// room for it, and returns it. It neither reads nor writes escapes and leaves other octets
// as they are.
func Canonical(dst, name []byte) []byte {
	if n := len(name); n > 0 && name[n-1] == '.' {
		name = name[:n-1]
	}
	dst = append(dst[:0], name...)
	for i, c := range dst {
		if 'A' <= c && c <= 'Z' {
			dst[i] = c + ('a' - 'A')
		}
	}
	return dst
}
