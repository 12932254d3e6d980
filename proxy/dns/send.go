package dns

import (
	"encoding/binary"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxBundle is how many packets the system takes as one, and lookAhead how far a bundle
	// looks for the next one.
	maxBundle = 64
	lookAhead = 32
	// maxBundleOctets keeps a bundle within what one datagram could have.
	maxBundleOctets = 60_000
)

// bundles are packets of one batch that go to one peer and have one length, the last one
// perhaps less. They pass through the system as one (UDP_SEGMENT, Linux 4.18) and arrive as
// they are. Sending is most of what an answer costs, and clients ask for A and AAAA at once,
// by one socket.
type bundles struct {
	// order has the packets in the order they are sent in; list has where each bundle begins
	// in it, and ends.
	order   []int
	list    []bundle
	taken   []bool
	control []segmentSize
	// alone: the system took no bundle once, and is given none any more.
	alone bool
}

type bundle struct{ from, to int }

func (b bundle) size() int { return b.to - b.from }

// segmentSize is the control message that says how long each packet of a bundle is.
type segmentSize struct {
	header unix.Cmsghdr
	size   [8]byte // two octets, and what fills it up
}

func (s *bundles) init(n int) {
	s.order, s.list = make([]int, 0, n), make([]bundle, 0, n)
	s.taken, s.control = make([]bool, n), make([]segmentSize, n)
}

// plan finds the bundles of a batch.
func (s *bundles) plan(packets []packet) {
	s.order, s.list = s.order[:0], s.list[:0]
	clear(s.taken)
	for i := range packets {
		if s.taken[i] {
			continue
		}
		first := &packets[i]
		from, total, shorter := len(s.order), len(first.data), -1
		s.order = append(s.order, i)
		for j := i + 1; j < min(len(packets), i+lookAhead) && first.peer.IsValid() && !s.alone; j++ {
			p := &packets[j]
			switch {
			case s.taken[j] || p.peer != first.peer:
			case len(p.data) < len(first.data) && shorter < 0:
				shorter = j
			case len(p.data) == len(first.data) && total+len(p.data) <= maxBundleOctets && len(s.order)-from < maxBundle-1:
				s.add(j)
				total += len(p.data)
			}
		}
		if shorter >= 0 {
			s.add(shorter)
		}
		s.list = append(s.list, bundle{from, len(s.order)})
	}
}

func (s *bundles) add(i int) {
	s.order = append(s.order, i)
	s.taken[i] = true
}

// split makes every packet from a bundle on one of its own.
func (s *bundles) split(at int) {
	s.alone = true
	from := s.list[at].from
	s.list = s.list[:at]
	for i := from; i < len(s.order); i++ {
		s.list = append(s.list, bundle{i, i + 1})
	}
}

// send sends what was added, and calls lost for each packet that could not be.
func (b *batch) send(c *packetConn, lost func(i int, err error)) {
	s := &b.system
	plan := &s.bundles
	plan.plan(b.packets[:b.used])
	for i, p := range plan.order {
		data := b.packets[p].data
		s.vectors[i].Base = unsafe.SliceData(data) //nolint:gosec // what the system call takes
		s.vectors[i].SetLen(len(data))
	}
	b.address(0)
	tried := -1
	for i := 0; i < len(plan.list); {
		n, err := s.transmit(c, i)
		i += n
		switch {
		case err == nil:
		case tried != i:
			tried = i // it may be an old error that the socket had to tell of
		case plan.list[i].size() > 1:
			plan.split(i)
			b.address(i)
			tried = -1
		default:
			lost(plan.order[plan.list[i].from], err)
			i++
		}
	}
	b.used = 0
}

// address writes the headers of the bundles from one on.
func (b *batch) address(from int) {
	s := &b.system
	for i, u := range s.bundles.list[from:] {
		i += from
		first := &b.packets[s.bundles.order[u.from]]
		h := &s.headers[i].Hdr
		*h = unix.Msghdr{Iov: &s.vectors[u.from]}
		h.SetIovlen(u.size())
		if first.peer.IsValid() {
			h.Name = (*byte)(unsafe.Pointer(&s.names[i])) //nolint:gosec // see above
			h.Namelen = putPeer(&s.names[i], first.peer)
		}
		if u.size() > 1 {
			m := &s.bundles.control[i]
			m.header.Level, m.header.Type = unix.SOL_UDP, unix.UDP_SEGMENT
			m.header.SetLen(unix.CmsgLen(2))
			binary.NativeEndian.PutUint16(m.size[:], u16(len(first.data)))
			h.Control = (*byte)(unsafe.Pointer(m)) //nolint:gosec // see above
			h.SetControllen(unix.CmsgSpace(2))
		}
	}
}

// transmit sends the bundles from one on and returns how many it sent.
func (s *system) transmit(c *packetConn, from int) (int, error) {
	s.from, s.to = from, len(s.bundles.list)
	if err := c.raw.Write(s.write); err != nil {
		return 0, err
	}
	if s.err != 0 {
		return 0, os.NewSyscallError("sendmmsg", s.err)
	}
	return s.n, nil
}
