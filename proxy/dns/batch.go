package dns

import (
	"net"
	"net/netip"
	"syscall"
)

// packetConn is a UDP socket that whole batches are read from and written to.
type packetConn struct {
	*net.UDPConn
	raw syscall.RawConn
}

func newPacketConn(c *net.UDPConn) (*packetConn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &packetConn{c, raw}, nil
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
