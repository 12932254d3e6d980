package workload

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
)

// Prefixes4 are n distinct random IPv4 prefixes, of lengths as lists of addresses have
// them: 60 % single addresses, 25 % /24, 8 % /25 to /31, 6 % /20 to /23, 1 % /16 to /19.
func Prefixes4(r *rand.Rand, n int) []netip.Prefix {
	return distinct(n, func() netip.Prefix {
		bits := 32
		switch c := r.IntN(100); {
		case c < 60:
		case c < 85:
			bits = 24
		case c < 93:
			bits = 25 + r.IntN(7)
		case c < 99:
			bits = 20 + r.IntN(4)
		default:
			bits = 16 + r.IntN(4)
		}
		return netip.PrefixFrom(Unicast4(r), bits).Masked()
	})
}

// Prefixes6 are n distinct random IPv6 prefixes: 30 % single addresses, 30 % /64, 25 % /48,
// 10 % /56, 5 % /32 to /47, in 20,000 networks of /32 as registries hand them out.
func Prefixes6(r *rand.Rand, n int) []netip.Prefix {
	nets := make([]netip.Prefix, 20_000)
	for i := range nets {
		top := []uint32{0x2001, 0x2400, 0x2404, 0x2600, 0x2604, 0x2800, 0x2a00, 0x2a02, 0x2a06, 0x2a0c}[r.IntN(10)]<<16 | r.Uint32N(1<<13)<<3
		var b [16]byte
		binary.BigEndian.PutUint32(b[:], top)
		nets[i] = netip.PrefixFrom(netip.AddrFrom16(b), 32)
	}
	return distinct(n, func() netip.Prefix {
		bits := 128
		switch c := r.IntN(100); {
		case c < 30:
		case c < 60:
			bits = 64
		case c < 85:
			bits = 48
		case c < 95:
			bits = 56
		default:
			bits = 32 + r.IntN(16)
		}
		return netip.PrefixFrom(Inside(r, nets[r.IntN(len(nets))]), bits).Masked()
	})
}

func distinct(n int, one func() netip.Prefix) []netip.Prefix {
	seen := make(map[netip.Prefix]bool, n)
	list := make([]netip.Prefix, 0, n)
	for len(list) < n {
		if p := one(); !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	return list
}

// Unicast4 is a random address from 1.0.0.0 to 223.255.255.255.
func Unicast4(r *rand.Rand) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 1<<24+r.Uint32N(223<<24))
	return netip.AddrFrom4(b)
}

// Inside is a random address of a prefix.
func Inside(r *rand.Rand, p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		keep := min(max(p.Bits()-8*i, 0), 8)
		b[i] |= byte(r.Uint32()) & byte(0xff>>keep)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
