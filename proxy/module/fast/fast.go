//go:build cgo

package fast

// The functions are small and stand on every request: -O2 also where CGO_CFLAGS says
// nothing of it.

/*
#cgo CFLAGS: -std=gnu11 -O2 -fstack-protector-strong -Wall -Wextra -Werror=implicit-function-declaration
#include <stdlib.h>
#include "contains.h"
#include "host.h"

static bool contains_name(const struct pv_snapshot *s, _GoString_ name) {
  return pv_contains_name(s, _GoStringPtr(name), _GoStringLen(name));
}

static void parse_host(_GoString_ text, struct pv_host *out) {
  pv_parse_host(_GoStringPtr(text), _GoStringLen(text), out);
}

static void parse_addr(_GoString_ text, struct pv_addr *out) {
  pv_parse_addr(_GoStringPtr(text), _GoStringLen(text), out);
}
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"unsafe"

	"pavise.dev/pavise/feeds/snapshot"
)

// Index is a snapshot as C code looks it up. Close frees it, and nobody may look it up
// then; everything else may be called from any number of threads.
type Index struct{ c *C.struct_pv_snapshot }

// Open maps f, which package snapshot has to have opened as s: its checks are not made
// again. The file may be closed after that. unloaded says, for ingress and for egress,
// that a look-up alone does not decide.
func Open(f *os.File, s *snapshot.Snapshot, unloaded [2]bool) (*Index, error) {
	exceptions := make([]byte, len(s.Feeds())+1) // one more, so that there is a first
	for i, feed := range s.Feeds() {
		if feed.Exceptions {
			exceptions[i] = 1
		}
	}
	var why *C.char
	n := C.uint32_t(len(s.Feeds()))                                      // at most snapshot.MaxFeeds
	c := C.pv_open(C.int(f.Fd()), (*C.uint8_t)(&exceptions[0]), n, &why) //nolint:gocritic // of what cgo makes of it
	if c == nil {
		return nil, errors.New("map it for C: " + C.GoString(why))
	}
	c.unloaded = [2]C.bool{C.bool(unloaded[0]), C.bool(unloaded[1])}
	return &Index{c}, nil
}

// Pointer is the struct pv_snapshot of contains.h.
func (x *Index) Pointer() unsafe.Pointer { return unsafe.Pointer(x.c) }

// Close frees the index and the mapping.
func (x *Index) Close() { C.pv_close(x.c) }

// ContainsAddr says what snapshot.ContainsAddr says.
func (x *Index) ContainsAddr(a netip.Addr) bool {
	var c C.struct_pv_addr
	switch {
	case a.Is4() || a.Is4In6():
		b := a.As4()
		c.family, c.lo = 4, C.uint64_t(binary.BigEndian.Uint32(b[:]))
	case a.IsValid():
		b := a.As16()
		c.family, c.hi, c.lo = 6, C.uint64_t(binary.BigEndian.Uint64(b[:8])), C.uint64_t(binary.BigEndian.Uint64(b[8:]))
	}
	return bool(C.pv_contains_addr(x.c, &c))
}

// ContainsDomain says what snapshot.ContainsDomain says.
func (x *Index) ContainsDomain(name string) bool { return bool(C.contains_name(x.c, name)) }

// Host is what a host, a server name or an authority is looked up as: a canonical name, an
// address, or neither.
func Host(text string) (string, netip.Addr) {
	var h C.struct_pv_host
	C.parse_host(text, &h)
	return C.GoStringN(&h.name[0], C.int(h.size)), address(&h.addr)
}

// Addr is what an address as Envoy writes it, with or without a port, is looked up as.
func Addr(text string) netip.Addr {
	var c C.struct_pv_addr
	C.parse_addr(text, &c)
	return address(&c)
}

func address(c *C.struct_pv_addr) netip.Addr {
	return AddrOf(uint8(c.family), uint64(c.hi), uint64(c.lo))
}

// AddrOf is an address as the C side has it: its family, 4 or 6 or else none, and its 128
// bits, of which IPv4 has the last 32.
func AddrOf(family uint8, hi, lo uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	switch family {
	case 4:
		return netip.AddrFrom4([4]byte(b[12:]))
	case 6:
		return netip.AddrFrom16(b)
	}
	return netip.Addr{}
}
