package snapshot

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a page that one entry of the TLB covers, on x86-64 and on arm64
// with pages of 4 KiB.
const hugePage = 2 << 20

// mapping is a file in memory.
type mapping struct {
	reserved unsafe.Pointer // where the mapping was made, and some room around it
	size     uintptr        // of the reservation
	data     []byte
}

// mapFile maps a file for reading, at an address that huge pages can be used at.
func mapFile(f *os.File, size int) (mapping, error) {
	m := mapping{size: uintptr(size) + hugePage}
	var err error
	m.reserved, err = unix.MmapPtr(-1, 0, nil, m.size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return m, fmt.Errorf("reserve %d octets: %w", m.size, err)
	}
	at := unsafe.Add(m.reserved, -uintptr(m.reserved)%hugePage)
	p, err := unix.MmapPtr(int(f.Fd()), 0, at, uintptr(size), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_FIXED)
	if err != nil {
		m.unmap()
		return m, fmt.Errorf("map %d octets: %w", size, err)
	}
	m.data = unsafe.Slice((*byte)(p), size)
	return m, nil
}

// unmap takes the mapping away, whose data must not be looked at any more.
func (m *mapping) unmap() { _ = unix.MunmapPtr(m.reserved, m.size) }

// hugePages asks the kernel (Linux 6.1) to keep a part of a mapping in huge pages. A look-up
// among millions of names goes to a random page, and finding a page of 4 KiB takes longer
// than reading it. It works for files on tmpfs, and on other filesystems where the kernel
// was built for it. The pages stay shared between processes. Where it does not work
// look-ups are slower, and nothing else.
func hugePages(part []byte) bool {
	if len(part) < hugePage {
		return false
	}
	p := unsafe.Pointer(unsafe.SliceData(part))
	inside := uintptr(p) % hugePage
	if inside != 0 {
		part = part[hugePage-inside:]
	}
	part = part[:len(part)/hugePage*hugePage]
	return len(part) > 0 && unix.Madvise(part, unix.MADV_HUGEPAGE) == nil && unix.Madvise(part, unix.MADV_COLLAPSE) == nil
}
