package dns

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func udpSocketOf(t *testing.T) (*packetConn, netip.AddrPort) {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p, err := newPacketConn(c)
	if err != nil {
		t.Fatal(err)
	}
	return p, netip.MustParseAddrPort(c.LocalAddr().String())
}

// TestBatchArrivesAsItIs: every packet once, by itself, at its own peer, whichever of them
// pass through the system as one; also where the system takes no bundles.
func TestBatchArrivesAsItIs(t *testing.T) {
	for _, refused := range []bool{false, true} {
		from, _ := udpSocketOf(t)
		if refused { // without checksums there are no bundles
			_ = from.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) })
		}
		b := newBatch(32, 1232)
		for round := range 3 {
			var peers []*packetConn
			want := map[netip.AddrPort][][]byte{}
			var addrs []netip.AddrPort
			for range 3 {
				p, a := udpSocketOf(t)
				peers, addrs = append(peers, p), append(addrs, a)
			}
			for i, size := range []int{100, 100, 100, 100, 60, 100, 200, 100, 1, 1, 1, 100, 60, 60, 99, 100, 1200, 1200, 100} {
				data := append(b.room(), bytes.Repeat([]byte{byte(i + round)}, size)...)
				a := addrs[i%len(addrs)*i%len(addrs)]
				want[a] = append(want[a], bytes.Clone(data))
				b.add(data, a)
			}
			all := b.used
			b.send(from, func(i int, err error) { t.Errorf("packet %d was lost: %v", i, err) })
			if got := len(b.system.bundles.list); (got < all) == b.system.bundles.alone || b.system.bundles.alone != refused {
				t.Errorf("refused %v: %d packets in %d bundles, alone %v", refused, all, got, b.system.bundles.alone)
			}
			for i, p := range peers {
				_ = p.SetReadDeadline(time.Now().Add(10 * time.Second))
				in := newBatch(32, 1232)
				left := want[addrs[i]]
				for len(left) > 0 {
					n, err := in.receive(p)
					if err != nil {
						t.Fatalf("%d packets did not arrive: %v", len(left), err)
					}
				packets:
					for _, got := range in.packets[:n] {
						for j, w := range left {
							if bytes.Equal(got.data, w) && !got.cut {
								left = append(left[:j:j], left[j+1:]...)
								continue packets
							}
						}
						t.Fatalf("a packet of %d octets was not sent", len(got.data))
					}
				}
			}
		}
	}
}

// TestPacketThatIsCut is known to be.
func TestPacketThatIsCut(t *testing.T) {
	from, _ := udpSocketOf(t)
	to, a := udpSocketOf(t)
	b := newBatch(2, 200)
	b.add(append(b.room(), make([]byte, 101)...), a)
	b.add(append(b.room(), make([]byte, 100)...), a)
	b.send(from, func(_ int, err error) { t.Error(err) })
	in := newBatch(2, 100)
	_ = to.SetReadDeadline(time.Now().Add(10 * time.Second))
	for got := 0; got < 2; {
		n, err := in.receive(to)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range in.packets[:n] {
			if p.cut != (got+i == 0) || len(p.data) != 100 {
				t.Errorf("packet %d: %d octets, cut %v", got+i, len(p.data), p.cut)
			}
		}
		got += n
	}
}

// TestPacketThatCannotBeSent is reported, and those around it are sent.
func TestPacketThatCannotBeSent(t *testing.T) {
	from, _ := udpSocketOf(t)
	to, a := udpSocketOf(t)
	b := newBatch(3, 100)
	b.add(append(b.room(), 1), a)
	b.add(append(b.room(), 2), netip.MustParseAddrPort("[2001:db8::1]:53")) // from an IPv4 socket
	b.add(append(b.room(), 3), a)
	var lost []int
	b.send(from, func(i int, _ error) { lost = append(lost, i) })
	if len(lost) != 1 || lost[0] != 1 {
		t.Errorf("lost %v, want [1]", lost)
	}
	_ = to.SetReadDeadline(time.Now().Add(10 * time.Second))
	in := newBatch(3, 100)
	for got := 0; got < 2; {
		n, err := in.receive(to)
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
}
