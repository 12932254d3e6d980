package dns

import (
	"encoding/binary"
	"net/netip"
	"time"
)

const (
	// optLen is the length of an OPT record without options.
	optLen = 11
	// maxText bounds the text of an extended error.
	maxText = 96
	// maxReply bounds what is made here and not received: header, question, one record, OPT
	// with an extended error.
	maxReply = headerLen + maxName + 4 + 80 + optLen + 6 + maxText
)

// extended is an extended error (RFC 8914); only who asks with EDNS is told of it.
type extended struct {
	code int
	text []byte
}

// What clients are told.
var (
	silent     = extended{code: edeNone}
	tooOften   = extended{edeProhibited, []byte("too many questions from this address")}
	tooMany    = extended{edeOther, []byte("too many questions wait for an answer")}
	noUpgrade  = extended{edeBlocked, []byte("this network has its own resolver")}
	onlyIN     = extended{edeNotSupported, []byte("only class IN is answered")}
	noSuchType = extended{edeNotSupported, []byte("this type is not answered")}
	badAnswer  = extended{edeInvalidAnswer, []byte("the upstream's answer is malformed")}
	noAnswer   = extended{edeNoUpstream, []byte("no resolver of this network gave an answer")}
	outdated   = extended{edeStale, nil}
)

// begin writes header and question.
func begin(out []byte, a *asker, flags, rcode int) []byte {
	flags |= flagQR | flagRA | rcode&rcodeMask
	if a.rd {
		flags |= flagRD
	}
	if a.cd {
		flags |= flagCD
	}
	count := 0
	if len(a.question) > 0 {
		count = 1
	}
	out = append16(out[:0], int(a.id))
	out = append16(out, flags)
	out = append16(out, count)
	out = append(out, 0, 0, 0, 0, 0, 0)
	return append(out, a.question...)
}

// end writes OPT, if it is to be there.
func end(out []byte, a *asker, size, rcode int, e extended) []byte {
	if !a.edns {
		return out
	}
	put16(out, 10, get16(out, 10)+1)
	out = append(out, 0, 0, typeOPT)
	out = append16(out, size)
	flags := 0
	if a.do {
		flags = flagDO
	}
	out = append(out, byte(rcode>>4&0xff), 0)
	out = append16(out, flags)
	if e.code == edeNone {
		return append(out, 0, 0)
	}
	text := e.text[:min(len(e.text), maxText)]
	out = append16(out, 4+2+len(text))
	out = append16(out, optionEDE)
	out = append16(out, 2+len(text))
	out = append16(out, e.code)
	return append(out, text...)
}

// replyPlain writes an answer without records.
func (r *Resolver) replyPlain(out []byte, a *asker, rcode int, e extended) []byte {
	return end(begin(out, a, 0, rcode), a, r.c.MaxUDP, rcode, e)
}

// replyDenied writes what somebody is told who may not know.
func (r *Resolver) replyDenied(out []byte, a *asker, e extended) []byte {
	switch r.c.Blocked {
	case Refuse:
		return r.replyPlain(out, a, rcodeRefused, e)
	case Sinkhole:
		if addr := r.sinkhole(a.qtype); addr.IsValid() {
			out = begin(out, a, 0, rcodeOK)
			put16(out, 6, 1)
			out = append16(append(out, 0xc0, headerLen), a.qtype)
			out = append16(out, classIN)
			out = binary.BigEndian.AppendUint32(out, seconds(r.c.BlockedTTL))
			if addr.Is4() {
				b := addr.As4()
				out = append(append16(out, len(b)), b[:]...)
			} else {
				b := addr.As16()
				out = append(append16(out, len(b)), b[:]...)
			}
			return end(out, a, r.c.MaxUDP, rcodeOK, e)
		}
		return r.replyNothing(out, a, rcodeOK, e)
	default:
		return r.replyNothing(out, a, rcodeNX, e)
	}
}

func (r *Resolver) sinkhole(qtype int) netip.Addr {
	switch qtype {
	case typeA:
		return r.c.Sinkhole4
	case typeAAAA:
		return r.c.Sinkhole6
	}
	return netip.Addr{}
}

// replyNothing says that there is no such name or no such record, and for how long that
// may be believed (RFC 2308 3). The SOA record belongs to the name itself, as if it was a
// zone, so that nobody concludes anything for other names.
func (r *Resolver) replyNothing(out []byte, a *asker, rcode int, e extended) []byte {
	out = begin(out, a, 0, rcode)
	put16(out, 8, 1)
	out = append(out, r.soa...)
	return end(out, a, r.c.MaxUDP, rcode, e)
}

// makeSOA makes the record that replyNothing gives.
func makeSOA(ttl time.Duration) []byte {
	b := append16([]byte{0xc0, headerLen}, typeSOA)
	b = append16(b, classIN)
	b = binary.BigEndian.AppendUint32(b, seconds(ttl))
	data := []byte("\x06pavise\x07invalid\x00\x06nobody\x07invalid\x00")
	for _, v := range [...]uint32{1, 3600, 600, 86400, seconds(ttl)} {
		data = binary.BigEndian.AppendUint32(data, v)
	}
	return append(append16(b, len(data)), data...)
}

// replyANY answers a question for everything with one record that says so, RFC 8482 4.2.
func (r *Resolver) replyANY(out []byte, a *asker) []byte {
	out = begin(out, a, 0, rcodeOK)
	put16(out, 6, 1)
	out = append(out, 0xc0, headerLen, 0, typeHINFO, 0, classIN, 0, 0, 0x0e, 0x10, 0, 9, 7)
	out = append(out, "RFC8482\x00"...)
	return end(out, a, r.c.MaxUDP, rcodeOK, silent)
}

// replyFrom writes a kept answer, age old. Where stale is not 0, every TTL is that.
func (r *Resolver) replyFrom(out []byte, a *asker, from *answer, age, stale time.Duration, e extended) (reply []byte, cut bool) {
	need := len(from.wire)
	if a.edns {
		need += optLen
		if e.code != edeNone {
			need += 6 + min(len(e.text), maxText)
		}
	}
	flags := 0
	if from.ad && (a.ad || a.do) { // RFC 6840 5.8
		flags = flagAD
	}
	if need > a.size {
		return end(begin(out, a, flags|flagTC, from.rcode), a, r.c.MaxUDP, from.rcode, silent), true
	}
	counts := get16(from.wire, 6)
	authority, additional := get16(from.wire, 8), get16(from.wire, 10)
	out = begin(out, a, flags, from.rcode)
	put16(out, 6, counts)
	put16(out, 8, authority)
	put16(out, 10, additional)
	out = append(out, from.wire[headerLen+from.qlen:]...)
	spent := seconds(age)
	for _, at := range from.ttls {
		ttl := get32(from.wire, int(at))
		ttl -= min(ttl, spent)
		if stale != 0 {
			ttl = seconds(stale)
		}
		binary.BigEndian.PutUint32(out[at:], ttl)
	}
	return end(out, a, r.c.MaxUDP, from.rcode, e), false
}
