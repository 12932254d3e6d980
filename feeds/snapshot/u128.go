package snapshot

import (
	"cmp"
	"encoding/binary"
	"net/netip"
)

// u128 is an IPv6 address as a number.
type u128 struct{ hi, lo uint64 }

func u128Of(a netip.Addr) u128 {
	b := a.As16()
	return u128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (a u128) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	return netip.AddrFrom16(b)
}

func (a u128) compare(b u128) int {
	if c := cmp.Compare(a.hi, b.hi); c != 0 {
		return c
	}
	return cmp.Compare(a.lo, b.lo)
}

func (a u128) less(b u128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// next is a+1, and 0 behind the last.
func (a u128) next() u128 {
	if a.lo++; a.lo == 0 {
		a.hi++
	}
	return a
}

// hosts is the mask of the bits behind a prefix.
func hosts(bits int) u128 {
	if bits >= 64 {
		return u128{0, ^uint64(0) >> (bits - 64)}
	}
	return u128{^uint64(0) >> bits, ^uint64(0)}
}

func (a u128) first(bits int) u128 {
	m := hosts(bits)
	return u128{a.hi &^ m.hi, a.lo &^ m.lo}
}

func (a u128) last(bits int) u128 {
	m := hosts(bits)
	return u128{a.hi | m.hi, a.lo | m.lo}
}
