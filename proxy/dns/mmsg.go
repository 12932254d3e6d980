package dns

import (
	"encoding/binary"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// system is what recvmmsg and sendmmsg are given. golang.org/x/net has these calls too, but
// makes an address on the heap for every packet.
type system struct {
	headers []unix.Mmsghdr
	vectors []unix.Iovec
	names   []unix.RawSockaddrInet6 // large enough for both families
	bundles bundles

	// What the closures below work on: made once, so that a call allocates nothing.
	from, to, n int
	err         unix.Errno
	read, write func(fd uintptr) bool
}

func (s *system) init(b *batch) {
	n := len(b.packets)
	s.headers = make([]unix.Mmsghdr, n)
	s.vectors = make([]unix.Iovec, n)
	s.names = make([]unix.RawSockaddrInet6, n)
	s.bundles.init(n)
	for i := range s.headers {
		s.vectors[i].Base = unsafe.SliceData(b.packets[i].data) //nolint:gosec // what the system call takes
		h := &s.headers[i].Hdr
		h.Iov = &s.vectors[i]
		h.SetIovlen(1)
	}
	s.read = func(fd uintptr) bool { return s.call(unix.SYS_RECVMMSG, fd) }
	s.write = func(fd uintptr) bool { return s.call(unix.SYS_SENDMMSG, fd) }
}

// call reports whether it is done; if not, the caller waits for the socket.
//
// As the call does not wait itself, it is made without telling Go's scheduler, which would
// take a system call of more than 20 µs, as sending a batch is, for one that waits, and give
// its processor to another thread that has nothing to do. That is up to a fifth of what an
// answer costs. The price: a collection of garbage may have to wait for a batch, about 3 µs
// for each of its packets.
func (s *system) call(number, fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(number, fd, uintptr(unsafe.Pointer(&s.headers[s.from])), //nolint:gosec // see above
			uintptr(s.to-s.from), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		s.n, s.err = int(n), errno
		if errno != 0 {
			s.n = 0
		}
		return true
	}
}

// receive waits for packets and returns how many came.
func (b *batch) receive(c *packetConn) (int, error) {
	s := &b.system
	for i := range s.headers {
		h := &s.headers[i].Hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&s.names[i])), unix.SizeofSockaddrInet6 //nolint:gosec // see above
		s.vectors[i].SetLen(b.size)
	}
	s.from, s.to = 0, len(s.headers)
	if err := c.raw.Read(s.read); err != nil {
		return 0, err
	}
	if s.err != 0 {
		return 0, os.NewSyscallError("recvmmsg", s.err)
	}
	for i := range s.n {
		h, p := &s.headers[i], &b.packets[i]
		p.data = p.data[:min(int(h.Len), b.size)]
		p.cut = h.Hdr.Flags&unix.MSG_TRUNC != 0
		p.peer = peerOf(&s.names[i], h.Hdr.Namelen)
	}
	return s.n, nil
}

func peerOf(name *unix.RawSockaddrInet6, n uint32) netip.AddrPort {
	port := ports(&name.Port)
	switch {
	case name.Family == unix.AF_INET && n >= unix.SizeofSockaddrInet4:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name)) //nolint:gosec // both begin with the family
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), binary.BigEndian.Uint16(port))
	case name.Family == unix.AF_INET6 && n >= unix.SizeofSockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(name.Addr), binary.BigEndian.Uint16(port))
	}
	return netip.AddrPort{}
}

func putPeer(name *unix.RawSockaddrInet6, a netip.AddrPort) uint32 {
	*name = unix.RawSockaddrInet6{}
	binary.BigEndian.PutUint16(ports(&name.Port), a.Port())
	if a.Addr().Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name)) //nolint:gosec // both begin with the family
		v4.Family, v4.Addr = unix.AF_INET, a.Addr().As4()
		return unix.SizeofSockaddrInet4
	}
	name.Family, name.Addr = unix.AF_INET6, a.Addr().As16()
	return unix.SizeofSockaddrInet6
}

// ports is a port as the octets it is sent as.
func ports(p *uint16) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), 2) //nolint:gosec // a number is octets
}

// enlarge gives a socket its read buffer: with CAP_NET_ADMIN all of it, else as much as
// net.core.rmem_max allows.
func enlarge(fd uintptr) {
	if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, readBuffer) != nil {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, readBuffer)
	}
}

// drops asks how many packets found the buffer of a socket full (SO_MEMINFO, Linux 4.12).
func drops(fd uintptr) (uint64, bool) {
	var info [9]uint32
	const at = 8 // SK_MEMINFO_DROPS of linux/sock_diag.h
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // what the system call takes
	return uint64(info[at]), errno == 0 && size > at*4
}

// share lets several sockets have one address.
func share(fd uintptr) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}
