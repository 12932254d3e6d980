package dns

import (
	"encoding/binary"
	"unsafe"
)

// What RFC 1035 4.1 says of a message, as far as it is read here.
const (
	headerLen = 12
	maxName   = 255 // octets of a name, with the lengths of its labels and the root
	maxLabel  = 63
	maxTCP    = 65535

	flagQR = 0x8000
	flagAA = 0x0400
	flagTC = 0x0200
	flagRD = 0x0100
	flagRA = 0x0080
	flagAD = 0x0020 // RFC 4035 3.2.3
	flagCD = 0x0010

	opcodeMask = 0x7800
	rcodeMask  = 0x000f

	flagDO = 0x8000 // of EDNS, RFC 3225
)

// Types and classes, from the registry of RFC 6895.
const (
	typeA     = 1
	typeNS    = 2
	typeCNAME = 5
	typeSOA   = 6
	typePTR   = 12
	typeHINFO = 13
	typeMX    = 15
	typeAAAA  = 28
	typeSRV   = 33
	typeDNAME = 39
	typeOPT   = 41
	typeRRSIG = 46
	typeSVCB  = 64
	typeHTTPS = 65
	typeANY   = 255

	classIN = 1

	rcodeOK       = 0
	rcodeFormErr  = 1
	rcodeServFail = 2
	rcodeNX       = 3
	rcodeNotImp   = 4
	rcodeRefused  = 5
	rcodeBadVers  = 16

	optionECS = 8  // RFC 7871
	optionEDE = 15 // RFC 8914
)

// Extended errors, RFC 8914 4.
const (
	edeNone          = -1
	edeOther         = 0
	edeStale         = 3
	edeBlocked       = 15
	edeProhibited    = 18
	edeNotSupported  = 21
	edeNoUpstream    = 22
	edeInvalidAnswer = 24
)

func get16(p []byte, at int) int { return int(binary.BigEndian.Uint16(p[at:])) }

func get32(p []byte, at int) uint32 { return binary.BigEndian.Uint32(p[at:]) }

func put16(p []byte, at, v int) { binary.BigEndian.PutUint16(p[at:], u16(v)) }

func append16(p []byte, v int) []byte { return binary.BigEndian.AppendUint16(p, u16(v)) }

// u16 is for what was bounded before: lengths, counts and codes of a message.
func u16(v int) uint16 { return uint16(v & 0xffff) }

// lower has the lower case of ASCII (RFC 4343).
var lower = func() (t [256]byte) {
	for i := range t {
		c := byte(i & 0xff)
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		t[i] = c
	}
	return t
}()

// borrow is a string in memory that changes later: for look-ups that do not keep it.
func borrow(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // what is asked with it keeps none of it, or copies it
}

// appendName reads the name at off and appends it to dst in lower case, with dots, without
// one at the end. It returns what is behind the name; ok is false for what RFC 1035 does
// not allow, for a pointer that does not point to what is before the name, so that there
// are no loops, and for a label with a dot in it, which would read as two.
func appendName(dst, p []byte, off int) (text []byte, next int, ok bool) {
	room := maxName - 1 // for the root
	limit := off        // a pointer has to point before this
	start := len(dst)
	for {
		if off >= len(p) {
			return dst, 0, false
		}
		n := int(p[off])
		switch {
		case n == 0:
			if next == 0 {
				next = off + 1
			}
			return dst, next, true
		case n <= maxLabel:
			if room -= n + 1; room < 0 || off+1+n > len(p) {
				return dst, 0, false
			}
			if len(dst) > start {
				dst = append(dst, '.')
			}
			for _, c := range p[off+1 : off+1+n] {
				if c == '.' {
					return dst, 0, false
				}
				dst = append(dst, lower[c])
			}
			off += 1 + n
		case n >= 0xc0:
			if off+2 > len(p) {
				return dst, 0, false
			}
			to := get16(p, off) & 0x3fff
			if to >= limit || to < headerLen {
				return dst, 0, false
			}
			if next == 0 {
				next = off + 2
			}
			off, limit = to, to
		default:
			return dst, 0, false // 0x40 and 0x80 are reserved
		}
	}
}
