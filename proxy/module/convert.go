//go:build cgo

package main

/*
#include "module.h"
*/
import "C"

import (
	"net/netip"
	"strconv"
	"unsafe"

	"pavise.dev/pavise/proxy/module/fast"
)

// bytesOf is a string that C reads during a call. It is not empty.
func bytesOf(s string) *C.char {
	return (*C.char)(unsafe.Pointer(unsafe.StringData(s)))
}

func addrOf(c *C.struct_pv_addr) netip.Addr {
	return fast.AddrOf(uint8(c.family), uint64(c.hi), uint64(c.lo))
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
