package parse

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// quad reads a.b.c.d or a.b.c.d/bits at the beginning of b and returns how many octets
// it took, 0 for none. What follows is for the caller to judge. There are no leading
// zeros, as in net/netip: to some tools they mean octal.
func quad(b []byte) (ip uint32, bits, n int) {
	for k := range 4 {
		if n >= len(b) {
			return 0, 0, 0
		}
		v := uint32(b[n] - '0')
		if v > 9 {
			return 0, 0, 0
		}
		n++
		for v > 0 && n < len(b) && b[n]-'0' <= 9 {
			if v = v*10 + uint32(b[n]-'0'); v > 255 {
				return 0, 0, 0
			}
			n++
		}
		ip = ip<<8 | v
		if k < 3 {
			if n >= len(b) || b[n] != '.' {
				return 0, 0, 0
			}
			n++
		}
	}
	if n >= len(b) || b[n] != '/' {
		return ip, 32, n
	}
	if bits, k := number(b[n+1:], 2); k > 0 && bits <= 32 {
		return ip, bits, n + 1 + k
	}
	return 0, 0, 0
}

// number reads up to most digits without leading zeros.
func number(b []byte, most int) (v, n int) {
	for n < len(b) && n < most && b[n]-'0' <= 9 {
		if n == 1 && v == 0 {
			return 0, 0
		}
		v = v*10 + int(b[n]-'0')
		n++
	}
	return v, n
}

// maskOf has the first bits of an IPv4 address set.
func maskOf(bits int) uint32 { return uint32(^uint64(0) << (32 - bits)) } //nolint:gosec // cut on purpose

func addrOf(ip uint32) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], ip)
	return netip.AddrFrom4(a)
}

// parseV6 reads an IPv6 address (RFC 4291, section 2.2) without a zone.
func parseV6(b []byte) (a [16]byte, ok bool) {
	i, n, gap := 0, 0, -1
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap, i = 0, 2
	}
	for n < 16 && i < len(b) {
		start, v := i, 0
		for i < len(b) && i-start < 5 && hexDigit(b[i]) >= 0 {
			v = v<<4 | hexDigit(b[i])
			i++
		}
		if i < len(b) && b[i] == '.' {
			ip, _, k := quad(b[start:])
			if n > 12 || start+k != len(b) {
				return a, false
			}
			binary.BigEndian.PutUint32(a[n:], ip)
			n, i = n+4, len(b)
			break
		}
		if i == start || i-start > 4 {
			return a, false
		}
		a[n], a[n+1] = byte(v>>8), byte(v)
		n += 2
		if i == len(b) {
			break
		}
		if b[i] != ':' || i+1 == len(b) {
			return a, false
		}
		i++
		if b[i] == ':' {
			if gap >= 0 {
				return a, false
			}
			gap = n
			i++
		}
	}
	switch {
	case i != len(b), n == 16 && gap >= 0, n < 16 && gap < 0:
		return a, false
	case n < 16:
		copy(a[16-(n-gap):], a[gap:n])
		clear(a[gap : 16-(n-gap)])
	}
	return a, true
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// parseAddr reads one address. An IPv4 address mapped into IPv6 stays as it is here.
func parseAddr(b []byte) (netip.Addr, bool) {
	if bytes.IndexByte(b, ':') >= 0 {
		a, ok := parseV6(b)
		return netip.AddrFrom16(a), ok
	}
	ip, _, n := quad(b)
	if n == 0 || n != len(b) || bytes.IndexByte(b, '/') >= 0 {
		return netip.Addr{}, false
	}
	return addrOf(ip), true
}

// parsePrefix reads an address or a CIDR, an address with a port, or an IPv6 address in
// brackets. The prefix is masked and not IPv4-mapped; masked tells whether it had host
// bits.
func parsePrefix(b []byte) (p netip.Prefix, masked, ok bool) {
	if len(b) > 0 && b[0] == '[' {
		inner, rest, closed := bytes.Cut(b[1:], []byte("]"))
		a, ok := parseV6(inner)
		if !closed || !ok || len(rest) > 0 && (rest[0] != ':' || !isPort(rest[1:])) {
			return p, false, false
		}
		return single(netip.AddrFrom16(a)), false, true
	}
	text, length, slash := bytes.Cut(b, []byte("/"))
	if a, ok := parseAddr(text); ok {
		bits, n := a.BitLen(), 0
		if slash {
			if bits, n = number(length, 3); n == 0 || n != len(length) || bits > a.BitLen() {
				return p, false, false
			}
		}
		return mask(a, bits)
	}
	if i := bytes.IndexByte(text, ':'); i > 0 && !slash && isPort(text[i+1:]) {
		if a, ok := parseAddr(text[:i]); ok && a.Is4() {
			return single(a), false, true
		}
	}
	return p, false, false
}

func single(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen())
}

func mask(a netip.Addr, bits int) (p netip.Prefix, masked, ok bool) {
	if a.Is4In6() && bits >= 96 {
		a, bits = a.Unmap(), bits-96
	}
	p = netip.PrefixFrom(a, bits).Masked()
	return p, p.Addr() != a, true
}

// isPort tells whether b is 0 to 65535 in digits.
func isPort(b []byte) bool {
	v := 0
	for _, c := range b {
		if c-'0' > 9 {
			return false
		}
		v = v*10 + int(c-'0')
	}
	return len(b) > 0 && len(b) <= 5 && v <= 65535
}
