package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// maxRecords bounds what is read of one answer.
const maxRecords = 1024

// answer is what an upstream said, as it is kept and judged. It is not changed once it is
// made, but for the atomic fields of entry.
type answer struct {
	// wire is the message without OPT, the question in lower case; TTLs are those that were
	// received, within the bounds of the resolver.
	wire []byte
	ttls []uint16 // where they are
	// qlen is the length of the question.
	qlen  int
	rcode int
	ad    bool

	// names that the question leads to, in their order: targets of CNAME, DNAME, SVCB and
	// HTTPS. addrs are all addresses; those of the answer section, hints included, are
	// addrs[:direct].
	names  []string
	addrs  []netip.Addr
	direct int

	// life is for how long it may be given again, 0 for not at all.
	life time.Duration
	// positive: there is a record of the type that was asked for.
	positive bool
}

var (
	errRecords = errors.New("more records than the resolver reads")
	errCut     = errors.New("a record does not fit into the message")
	errName    = errors.New("a name is malformed")
	errOPT     = errors.New("an OPT record is not where it may be")
	errData    = errors.New("the data of a record does not have the form of its type")
)

// lifetimes bound for how long an answer is kept.
type lifetimes struct {
	least, most, negative time.Duration
}

// reading is the state of reading one answer.
type reading struct {
	*answer
	p       []byte
	qtype   int
	minTTL  uint32
	soa     uint32 // for how long the SOA record lets a denial be kept
	hasSOA  bool
	optAt   int
	most    uint32
	scratch [maxName]byte
}

// readAnswer reads a message whose question was compared already and is qlen octets long.
// It takes p for its own, and writes into it. Every record has to fit, and each name that a
// client might follow has to be one; then nothing that a hostile message holds reaches a
// client's parser but data of types that are not read here.
func readAnswer(p []byte, qlen int, l lifetimes) (*answer, error) {
	if len(p) > maxTCP || len(p) < headerLen+qlen {
		return nil, errCut
	}
	flags := get16(p, 2)
	r := reading{
		answer: &answer{qlen: qlen, rcode: flags & rcodeMask, ad: flags&flagAD != 0},
		p:      p, qtype: get16(p, headerLen+qlen-4), minTTL: ^uint32(0), most: seconds(l.most),
	}
	counts := [3]int{get16(p, 6), get16(p, 8), get16(p, 10)}
	if counts[0]+counts[1]+counts[2] > maxRecords {
		return nil, errRecords
	}
	off := headerLen + qlen
	for section, n := range counts {
		for i := range n {
			last := section == 2 && i == n-1
			next, err := r.record(off, section, last)
			if err != nil {
				return nil, fmt.Errorf("record %d of section %d: %w", i+1, section+1, err)
			}
			off = next
		}
	}
	if r.optAt > 0 {
		if ext := int(p[r.optAt+5]); ext != 0 {
			r.rcode |= ext << 4
		}
		p = p[:r.optAt]
		put16(p, 10, counts[2]-1)
	} else {
		p = p[:off] // what is behind the last record is nobody's
	}
	for i, c := range p[headerLen : headerLen+qlen-4] {
		p[headerLen+i] = lower[c]
	}
	r.wire = slices.Clip(p)
	r.lifetime(l)
	return r.answer, nil
}

// seconds of a duration, as a TTL.
func seconds(d time.Duration) uint32 {
	return uint32(min(max(d/time.Second, 0), 1<<31-1))
}

// record reads the record at off and returns where the next one begins.
func (r *reading) record(off, section int, last bool) (int, error) {
	p := r.p
	if off+2 <= len(p) && p[off] == 0xc0 && p[off+1] == headerLen {
		off += 2 // the name of the question, which was read
	} else {
		_, next, ok := appendName(r.scratch[:0], p, off)
		if !ok {
			return 0, errName
		}
		off = next
	}
	if off+10 > len(p) {
		return 0, errCut
	}
	data := off + 10
	end := data + get16(p, off+8)
	if end > len(p) {
		return 0, errCut
	}
	kind := get16(p, off)
	if kind == typeOPT {
		// Another place would leave what is behind it with pointers that lead elsewhere.
		if section != 2 || !last || p[off-1] != 0 || r.optAt != 0 {
			return 0, errOPT
		}
		r.optAt = off - 1
		return end, nil
	}
	ttl := get32(p, off+4)
	if ttl >= 1<<31 { // RFC 2181 8
		ttl = 0
	}
	ttl = min(ttl, r.most)
	r.minTTL = min(r.minTTL, ttl)
	binary.BigEndian.PutUint32(p[off+4:], ttl)
	r.ttls = append(r.ttls, u16(off+4))
	if get16(p, off+2) != classIN {
		return end, nil
	}
	if section == 0 && (kind == r.qtype || r.qtype == typeANY) {
		r.positive = true
	}
	if !r.data(kind, data, end, section, ttl) {
		return 0, errData
	}
	return end, nil
}

// data reads the data of the types that lead somewhere, and reports whether it has their
// form.
func (r *reading) data(kind, at, end, section int, ttl uint32) bool {
	p := r.p[:end]
	switch kind {
	case typeA:
		if end-at != 4 {
			return false
		}
		r.addr(netip.AddrFrom4([4]byte(p[at:end])), section)
	case typeAAAA:
		if end-at != 16 {
			return false
		}
		r.addr(netip.AddrFrom16([16]byte(p[at:end])), section)
	case typeCNAME, typeDNAME:
		return r.target(at, end, true)
	case typeNS, typePTR:
		return r.target(at, end, false)
	case typeMX:
		return r.target(at+2, end, false)
	case typeSRV:
		return r.target(at+6, end, false)
	case typeSVCB, typeHTTPS:
		return r.service(at, end, section)
	case typeSOA:
		for range 2 {
			_, next, ok := appendName(r.scratch[:0], p, at)
			if !ok {
				return false
			}
			at = next
		}
		if end-at != 20 {
			return false
		}
		if section == 1 {
			r.hasSOA, r.soa = true, min(ttl, get32(p, at+16))
		}
	}
	return true
}

func (r *reading) addr(a netip.Addr, section int) {
	r.addrs = append(r.addrs, a)
	if section == 0 {
		r.direct = len(r.addrs)
	}
}

// target reads a name that ends where its record does.
func (r *reading) target(at, end int, follow bool) bool {
	text, next, ok := appendName(r.scratch[:0], r.p[:end], at)
	if !ok || next != end {
		return false
	}
	if follow && len(text) > 0 {
		r.names = append(r.names, string(text))
	}
	return true
}

// service reads SVCB and HTTPS (RFC 9460 2.2): the target, and the addresses that come
// with it as hints.
func (r *reading) service(at, end, section int) bool {
	text, next, ok := appendName(r.scratch[:0], r.p[:end], at+2)
	if !ok {
		return false
	}
	if len(text) > 0 {
		r.names = append(r.names, string(text))
	}
	p := r.p[:end]
	for next < end {
		if next+4 > end || next+4+get16(p, next+2) > end {
			return false
		}
		key, value := get16(p, next), p[next+4:next+4+get16(p, next+2)]
		next += 4 + len(value)
		size := 0
		switch key {
		case 4:
			size = 4
		case 6:
			size = 16
		default:
			continue
		}
		if len(value)%size != 0 {
			return false
		}
		for ; len(value) > 0; value = value[size:] {
			a, _ := netip.AddrFromSlice(value[:size])
			r.addr(a, section)
		}
	}
	return true
}

// lifetime says for how long the answer may be kept: RFC 2308 for denials, the smallest
// TTL for what there is. A TTL of 0 says that it is for this time only, and is not raised.
func (r *reading) lifetime(l lifetimes) {
	ttl := r.minTTL
	switch {
	case len(r.ttls) == 0, r.rcode != rcodeOK && r.rcode != rcodeNX:
		return
	case r.rcode == rcodeNX || !r.positive:
		if !r.hasSOA {
			return
		}
		ttl = min(ttl, r.soa, seconds(l.negative))
		r.cap(ttl)
	case ttl > 0 && ttl < seconds(l.least):
		ttl = seconds(l.least)
		r.raise(ttl)
	}
	r.life = time.Duration(ttl) * time.Second
}

// cap lowers the TTLs of a denial, so that whoever is told of it keeps it no longer.
func (r *reading) cap(most uint32) {
	for _, at := range r.ttls {
		if get32(r.wire, int(at)) > most {
			binary.BigEndian.PutUint32(r.wire[at:], most)
		}
	}
}

func (r *reading) raise(least uint32) {
	for _, at := range r.ttls {
		if get32(r.wire, int(at)) < least {
			binary.BigEndian.PutUint32(r.wire[at:], least)
		}
	}
}
