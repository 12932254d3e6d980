//go:build cgo

package main

/*
#include "module.h"
*/
import "C"

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"
)

// bytesOf is a string that C reads during a call. It is not empty.
func bytesOf(s string) *C.char {
	return (*C.char)(unsafe.Pointer(unsafe.StringData(s)))
}

func addrOf(c *C.struct_pv_addr) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(c.hi))
	binary.BigEndian.PutUint64(b[8:], uint64(c.lo))
	switch c.family {
	case 4:
		return netip.AddrFrom4([4]byte(b[12:]))
	case 6:
		return netip.AddrFrom16(b)
	}
	return netip.Addr{}
}

// hostOf is a host as filter.Facts has it. A name lies in C's memory, as long as the call
// lasts.
func hostOf(c *C.struct_pv_host) string {
	switch c.addr.family {
	case 4:
		return addrOf(&c.addr).String()
	case 6:
		return "[" + addrOf(&c.addr).String() + "]"
	}
	return unsafe.String((*byte)(unsafe.Pointer(&c.name[0])), min(int(c.size), len(c.name)))
}

// put writes a text for C, as much of it as there is room for.
func put(c *C.struct_pv_text, s string) {
	n := 0
	for n < len(s) && n < len(c.data) {
		c.data[n] = C.char(s[n])
		n++
	}
	c.size = C.uint32_t(n)
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
