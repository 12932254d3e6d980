package dns

import (
	"bytes"
	"math/rand/v2"
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

// TestPlan: bundles hold every packet once, and what the system takes as one: one peer, one
// length but for the last, which may be shorter.
func TestPlan(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		n, lengths, peers := 1+r.IntN(256), 1+r.IntN(40), 1+r.IntN(4)
		packets := make([]packet, n)
		for i := range packets {
			packets[i].data = make([]byte, 1+r.IntN(lengths)*30)
			packets[i].peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(1+r.IntN(peers)))
		}
		var s bundles
		s.init(n)
		s.plan(packets)
		seen := map[int]bool{}
		for _, i := range s.order {
			seen[i] = true
		}
		if len(seen) != n || len(s.order) != n {
			t.Fatalf("%d packets were planned, %d of them different, of %d", len(s.order), len(seen), n)
		}
		at := 0
		for _, b := range s.list {
			first, octets := packets[s.order[b.from]], 0
			for k := b.from; k < b.to; k++ {
				p := packets[s.order[k]]
				octets += len(p.data)
				if p.peer != first.peer || len(p.data) > len(first.data) || len(p.data) < len(first.data) && k != b.to-1 {
					t.Fatalf("packet %d of a bundle of %d: %d octets to %s behind %d to %s", k-b.from, b.size(), len(p.data), p.peer, len(first.data), first.peer)
				}
			}
			if b.from != at || b.size() < 1 || b.size() > maxBundle || octets > 65_507 {
				t.Fatalf("a bundle from %d to %d, behind %d, of %d octets", b.from, b.to, at, octets)
			}
			at = b.to
		}
		if at != n {
			t.Fatalf("the bundles end at %d of %d", at, n)
		}
	}
}

// TestBundlesAreFew: lengths that take turns do not end each other's bundles.
func TestBundlesAreFew(t *testing.T) {
	_, a := udpSocketOf(t)
	packets := make([]packet, 32)
	for i := range packets {
		packets[i] = packet{data: make([]byte, 93-i%4), peer: a}
	}
	var s bundles
	s.init(len(packets))
	s.plan(packets)
	if len(s.list) > 4 {
		t.Errorf("four lengths are in %d bundles: %v", len(s.list), s.list)
	}
}

// TestDroppedIsCounted: what finds a buffer full is known, also once the socket is closed.
func TestDroppedIsCounted(t *testing.T) {
	l := newLab(t, Config{Upstreams: []Upstream{{Addr: netip.MustParseAddrPort("127.0.0.1:9")}}})
	to, a := udpSocketOf(t)
	s := &udpSocket{u: l.r.group.Load().list[0], conn: to}
	_ = to.SetReadBuffer(1) // the least there is
	from, _ := udpSocketOf(t)
	const sent = 100
	for range sent {
		if _, err := from.WriteToUDPAddrPort(make([]byte, 200), a); err != nil {
			t.Fatal(err)
		}
	}
	in, read := newBatch(sent, 200), 0
	wait(t, "what was read and what was dropped is all", func() bool {
		_ = to.SetReadDeadline(time.Now().Add(time.Millisecond))
		n, _ := in.receive(to)
		read += n
		return read+int(s.dropped()) == sent
	})
	before := s.dropped()
	s.mu.Lock()
	s.shut()
	s.shut() // counts once
	s.mu.Unlock()
	if got := l.r.Stats().Dropped; before == 0 || got != before || s.dropped() != 0 || to.dropped() != before {
		t.Errorf("Stats has %d, the socket %d, and had %d", got, to.dropped(), before)
	}
}

// TestListenerDropsAreCounted: a burst of questions that the buffer does not hold shows in
// Stats, and does when the resolver has ended.
func TestListenerDropsAreCounted(t *testing.T) {
	r, err := New(Config{
		Engine: engine(t), Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Upstreams: []Upstream{{Addr: netip.MustParseAddrPort("127.0.0.1:9")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := r.Listen(t.Context()) // and no Run: nobody reads
	if err != nil {
		t.Fatal(err)
	}
	defer r.closeSockets()
	_ = r.packets[0].SetReadBuffer(1)
	from, _ := udpSocketOf(t)
	for range 100 {
		if _, err := from.WriteToUDPAddrPort(make([]byte, 200), addrs[0]); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, "questions are dropped", func() bool { return r.Stats().Dropped > 0 })
	before := r.Stats().Dropped
	r.closeSockets()
	if got := r.Stats().Dropped; got < before {
		t.Errorf("%d were dropped, and %d when it had ended", before, got)
	}
}

// TestReadBuffers: sockets to upstreams hold a burst of answers as those to clients do of
// questions; with the system's default, one of a thousand answers at once was lost.
func TestReadBuffers(t *testing.T) {
	size := func(c *packetConn) (n int) {
		_ = c.raw.Control(func(fd uintptr) { n, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF) })
		return n
	}
	most, _ := udpSocketOf(t)
	_ = most.SetReadBuffer(readBuffer)
	l := newLab(t, Config{Upstreams: []Upstream{{Addr: netip.MustParseAddrPort("127.0.0.1:9")}}})
	s, err := l.r.group.Load().list[0].open(l.r.now())
	if err != nil {
		t.Fatal(err)
	}
	defer s.closeIfIdle()
	for what, c := range map[string]*packetConn{"upstream": s.conn, "client": l.r.packets[0]} {
		if got, want := size(c), size(most); got < want {
			t.Errorf("the buffer of a socket to the %s is %d octets, and can be %d", what, got, want)
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
