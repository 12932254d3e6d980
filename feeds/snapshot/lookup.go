package snapshot

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"unsafe"
)

// Hit is one entry that an address or a name meets.
type Hit struct {
	// Feed is a place in Feeds.
	Feed int
	// Line of the feed's body, from 1, where the entry is.
	Line uint32
	// Prefix is the entry that an address meets.
	Prefix netip.Prefix
	// Domain is the entry that a name meets: the end of the name that was asked for.
	Domain string
	// Match of the entry; for names.
	Match Match
}

// ContainsAddr says whether any feed lists an address. An IPv4-mapped address is the IPv4
// one; a zone is not looked at. It does not allocate.
func (s *Snapshot) ContainsAddr(a netip.Addr) bool {
	var found bool
	switch {
	case a.Is4() || a.Is4In6():
		found = s.v4.contains(ip4(a))
	case a.IsValid():
		found = s.v6.contains(u128Of(a))
	}
	runtime.KeepAlive(s)
	return found
}

// ip4 is an IPv4 or mapped address as a number.
func ip4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// ContainsDomain says whether any feed lists a name or one above it that stands for it.
// The name is canonical: lower case, ACE, without a dot at its end. What is not, or is
// longer than 253 octets, is not listed. It does not allocate.
func (s *Snapshot) ContainsDomain(name string) bool {
	found := s.names.contains(text(name))
	runtime.KeepAlive(s)
	return found
}

// text is a name as octets that nobody writes to.
func text(name string) []byte { return unsafe.Slice(unsafe.StringData(name), len(name)) }

// LookupAddr appends every entry that an address meets, the longest prefix first. It does
// not allocate if dst has room.
func (s *Snapshot) LookupAddr(dst []Hit, a netip.Addr) []Hit {
	hit := func(feed uint16, line uint32, p netip.Prefix) {
		if int(feed) < len(s.feeds) {
			dst = append(dst, Hit{Feed: int(feed), Line: line, Prefix: p})
		}
	}
	switch {
	case a.Is4() || a.Is4In6():
		s.v4.lookup(ip4(a), hit)
	case a.IsValid():
		s.v6.lookup(u128Of(a), hit)
	}
	runtime.KeepAlive(s)
	return dst
}

// LookupDomain appends every entry that a name meets, the shortest first. It does not
// allocate if dst has room. See ContainsDomain for what a name is.
func (s *Snapshot) LookupDomain(dst []Hit, name string) []Hit {
	x, octets := &s.names, text(name)
	x.walk(octets, func(at int, n node) bool {
		for i := 0; ; i++ {
			p, ok := x.posting(n, i)
			if !ok {
				return true
			}
			if x.meets(p, at) && !x.excepted(octets, p.feed) {
				dst = append(dst, Hit{Feed: int(p.feed), Line: p.line, Domain: name[at:], Match: Match(p.flags) & (Self | Below)})
			}
		}
	})
	runtime.KeepAlive(s)
	return dst
}

// meets says whether a posting of a node at an offset of a name lists the name.
func (x *nameIndex) meets(p posting, at int) bool {
	return int(p.feed) < len(x.feeds) && p.flags&flagExcept == 0 && p.flags&wanted(at) != 0
}

// wanted is the flag that a node at an offset of a name has to have to stand for it.
func wanted(at int) uint8 {
	if at == 0 {
		return uint8(Self)
	}
	return uint8(Below)
}

// excepted says whether a feed takes a name out again.
func (x *nameIndex) excepted(name []byte, feed uint16) bool {
	if !x.feeds[feed].Exceptions {
		return false
	}
	found := false
	x.walk(name, func(_ int, n node) bool {
		for i := 0; !found; i++ {
			p, ok := x.posting(n, i)
			if !ok {
				break
			}
			found = p.feed == feed && p.flags&flagExcept != 0
		}
		return !found
	})
	return found
}

// contains answers from two words of the filter for nearly every name that is not listed.
func (x *nameIndex) contains(name []byte) bool {
	if len(x.filter) == 0 || len(name) == 0 || len(name) > maxName {
		return false
	}
	two, three, more := cut(name)
	if two < 0 || x.tlds {
		return x.search(name)
	}
	h2, h3 := x.hash(name, two), x.hash(name, three)
	// Both words are asked for before either is looked at.
	lacks2 := bitsOf(h2) &^ x.filter[placeOf(h2, uint32(len(x.filter)))]
	lacks3 := bitsOf(h3) &^ x.filter[placeOf(h3, uint32(len(x.filter)))]
	if lacks2 != 0 && lacks3 != 0 && (!more || len(x.deep) == 0 || !passes(x.deep, h3)) {
		return false
	}
	if lacks2 == 0 && x.listed(name, h2, two) || lacks3 == 0 && three != two && x.listed(name, h3, three) {
		return true
	}
	return more && x.search(name)
}

// listed says whether the labels of a name from an offset on, of the given hash, stand for
// it.
func (x *nameIndex) listed(name []byte, h uint64, at int) bool {
	n := x.find(h, name[at:])
	return n != nil && x.stands(n, name, at)
}

// stands says whether a node, which a name has from an offset on, stands for the name.
func (x *nameIndex) stands(n node, name []byte, at int) bool {
	if n.flags()&wanted(at) == 0 {
		return false
	}
	for i := 0; ; i++ {
		p, ok := x.posting(n, i)
		if !ok {
			return false
		}
		if x.meets(p, at) && !x.excepted(name, p.feed) {
			return true
		}
	}
}

// search is contains for names of any number of labels.
func (x *nameIndex) search(name []byte) bool {
	found := false
	x.walk(name, func(at int, n node) bool {
		found = x.stands(n, name, at)
		return !found
	})
	return found
}
