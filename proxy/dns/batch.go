package dns

import (
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
)

// readBuffer is what a socket keeps for a moment in which nobody reads, in octets. The
// kernel takes twice that and counts its own overhead: it is about 2,700 small packets. It
// takes no memory until then.
const readBuffer = 1 << 20

// packetConn is a UDP socket that whole batches are read from and written to.
type packetConn struct {
	*net.UDPConn
	raw  syscall.RawConn
	lost atomic.Uint64 // see dropped
}

func newPacketConn(c *net.UDPConn) (*packetConn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	_ = raw.Control(enlarge) // less of it costs packets, which dropped tells of
	return &packetConn{UDPConn: c, raw: raw}, nil
}

// dropped is how many packets came while the buffer was full; also once it is closed.
func (c *packetConn) dropped() uint64 {
	_ = c.raw.Control(func(fd uintptr) {
		if n, ok := drops(fd); ok {
			c.lost.Store(n)
		}
	})
	return c.lost.Load()
}

func (c *packetConn) Close() error {
	c.dropped()
	return c.UDPConn.Close()
}

// batch is a number of packets and their peers, in memory that is used again, which are
// received or sent with one system call.
type batch struct {
	packets []packet
	used    int
	size    int // of a packet's memory
	system  system
}

type packet struct {
	data []byte
	// peer is not valid for packets of connected sockets.
	peer netip.AddrPort
	// cut: there was more than the memory holds.
	cut bool
}

func newBatch(n, size int) *batch {
	b := &batch{packets: make([]packet, n), size: size}
	room := make([]byte, n*size)
	for i := range b.packets {
		b.packets[i].data = room[i*size : i*size : (i+1)*size]
	}
	b.system.init(b)
	return b
}

func (b *batch) full() bool { return b.used == len(b.packets) }

// room is the memory of the next packet to be sent.
func (b *batch) room() []byte { return b.packets[b.used].data[:0] }

// add makes what was written into room a packet.
func (b *batch) add(data []byte, peer netip.AddrPort) {
	b.packets[b.used].data = data
	b.packets[b.used].peer = peer
	b.used++
}
