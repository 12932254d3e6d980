package redirect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"pavise.dev/pavise/test/netlab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds every wait; a test that meets it has failed.
const limit = 10 * time.Second

// world is a lab with servers. Each answers with its name, and with the destination that
// was asked for.
type world struct {
	*netlab.Lab
	t      testing.TB
	kernel *Kernel
	noIPv6 bool
}

func newWorld(t testing.TB, o netlab.Options) *world {
	t.Helper()
	lab := netlab.New(t, o)
	w := &world{Lab: lab, t: t, kernel: &Kernel{NetNS: lab.Pod.FD()}, noIPv6: o.NoIPv6}
	for _, port := range []int{22, 53, 80, 443, 15001} {
		w.serveTCP(lab.Outside, "outside", port)
	}
	for _, port := range []int{53, 123, 443} {
		for _, a := range []netip.Addr{netlab.Outside4, netlab.Outside6, netlab.Remote4, netlab.Remote6, netlab.Other4, netlab.Other6} {
			w.serveUDP(lab.Outside, "outside", a, port)
		}
	}
	return w
}

// agent stands where Envoy and the DNS server would.
func (w *world) agent() {
	w.t.Helper()
	w.serveTCP(w.Pod, "outbound", 15001)
	w.serveTCP(w.Pod, "inbound", 15006)
	w.serveTCP(w.Pod, "dns", 15053)
	w.serveTCP(w.Pod, "health", 15020)
	w.serveUDP(w.Pod, "dns", netip.MustParseAddr("127.0.0.1"), 15053)
	w.serveUDP(w.Pod, "dns", netip.IPv6Loopback(), 15053)
}

// workload is the application's servers.
func (w *world) workload() {
	w.t.Helper()
	w.serveTCP(w.Pod, "app", 8080)
	w.serveTCP(w.Pod, "app", 9090)
	for _, a := range []netip.Addr{netlab.Pod4, netlab.Pod6, netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()} {
		w.serveUDP(w.Pod, "app", a, 8125)
	}
}

func (w *world) serveTCP(n *netlab.Namespace, name string, port int) {
	w.t.Helper()
	for _, network := range []string{"tcp4", "tcp6"} {
		if network == "tcp6" && w.noIPv6 {
			continue
		}
		var l net.Listener
		err := n.Do(func() (err error) {
			l, err = net.Listen(network, ":"+strconv.Itoa(port))
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
		var running sync.WaitGroup
		w.t.Cleanup(func() { l.Close(); running.Wait() })
		running.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintf(c, "%s %s", name, originalDestination(c.(*net.TCPConn)))
				c.Close()
			}
		})
	}
}

// serveUDP listens at one address: an answer from the unspecified one may come from
// another than was asked.
func (w *world) serveUDP(n *netlab.Namespace, name string, addr netip.Addr, port int) {
	w.t.Helper()
	if addr.Is6() && w.noIPv6 {
		return
	}
	var c net.PacketConn
	err := n.Do(func() (err error) {
		network := map[bool]string{true: "udp4", false: "udp6"}[addr.Is4()]
		c, err = net.ListenPacket(network, netip.AddrPortFrom(addr, uint16(port)).String())
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	var running sync.WaitGroup
	w.t.Cleanup(func() { c.Close(); running.Wait() })
	running.Go(func() {
		b := make([]byte, 64)
		for {
			_, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo([]byte(name), from)
		}
	})
}

// originalDestination is what Envoy's listener filter asks for.
func originalDestination(c *net.TCPConn) string {
	raw, err := c.SyscallConn()
	if err != nil {
		return err.Error()
	}
	const original = 80 // SO_ORIGINAL_DST, and IP6T_SO_ORIGINAL_DST
	var dst netip.AddrPort
	local := netip.MustParseAddrPort(c.LocalAddr().String()).Addr().Unmap()
	cerr := raw.Control(func(fd uintptr) {
		if local.Is4() {
			var m *unix.IPv6Mreq // large enough for a sockaddr_in, and there is a function for it
			if m, err = unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, original); err == nil {
				dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(m.Multiaddr[4:8])), binary.BigEndian.Uint16(m.Multiaddr[2:4]))
			}
			return
		}
		var m *unix.IPv6MTUInfo // begins with a sockaddr_in6
		if m, err = unix.GetsockoptIPv6MTUInfo(int(fd), unix.SOL_IPV6, original); err == nil {
			port := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, m.Addr.Port))
			dst = netip.AddrPortFrom(netip.AddrFrom16(m.Addr.Addr), port)
		}
	})
	if err = errors.Join(err, cerr); errors.Is(err, unix.ENOENT) {
		return c.LocalAddr().String() // not redirected
	} else if err != nil {
		return err.Error()
	}
	return dst.String()
}

// apply puts the default configuration, changed by set, in force.
func (w *world) apply(set func(*Config)) *Plan {
	w.t.Helper()
	p := plan(w.t, set)
	if _, err := w.kernel.Apply(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	return p
}

func plan(t testing.TB, set func(*Config)) *Plan {
	t.Helper()
	c := Default()
	if set != nil {
		set(&c)
	}
	p, err := NewPlan(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// who maps a name to a user and group of the pod.
var who = map[string][2]uint32{
	"app":         {1000, 1000},
	"agent":       {1337, 1337},
	"agent-user":  {1337, 1000}, // the agent's user only
	"agent-group": {1000, 1337}, // the agent's group only
}

// ask makes one connection, or sends one datagram, and says what came of it: the answer,
// "refused", or "not permitted". From is one of who, "root", or "outside".
func (w *world) ask(from, network, to string) string {
	w.t.Helper()
	answer := ""
	fn := func() (err error) { answer, err = dial(network, to, 0); return err }
	var err error
	switch {
	case from == "outside":
		err = w.Outside.Do(fn)
	case from == "root":
		err = w.Pod.Do(fn)
	case who[from] != [2]uint32{}:
		err = w.Pod.As(who[from][0], who[from][1], fn)
	default:
		w.t.Fatalf("nobody is called %s", from)
	}
	if err != nil {
		return verdict(err)
	}
	return answer
}

func verdict(err error) string {
	switch {
	case err == nil:
		return "no error"
	case errors.Is(err, unix.ECONNREFUSED):
		return "refused"
	case errors.Is(err, unix.EPERM):
		return "not permitted"
	}
	return err.Error()
}

func dial(network, to string, socketMark int) (string, error) {
	d := net.Dialer{Timeout: limit}
	if socketMark != 0 {
		d.ControlContext = func(_ context.Context, _, _ string, c syscall.RawConn) (err error) {
			return errors.Join(c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, socketMark)
			}), err)
		}
	}
	c, err := d.Dial(network, to)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(limit))
	if network == "tcp" {
		b, err := io.ReadAll(c)
		return string(b), err
	}
	if _, err := c.Write([]byte("?")); err != nil {
		return "", err
	}
	b := make([]byte, 64)
	n, err := c.Read(b)
	return string(b[:n]), err
}

// expect runs rows as "app tcp 198.51.100.7:80 = outbound 198.51.100.7:80".
func (w *world) expect(rows ...string) {
	w.t.Helper()
	for _, row := range rows {
		asked, want, _ := strings.Cut(row, " = ")
		f := strings.Fields(asked)
		if got := w.ask(f[0], f[1], f[2]); got != want {
			w.t.Errorf("%s = %q, want %q", asked, got, want)
		}
	}
}

// counted waits until a rule has dropped something.
func (w *world) counted(chain, rule string) {
	w.t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		now, err := w.kernel.Current(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		for _, c := range now.Counters {
			if c.Chain == chain && c.Rule == rule && c.Packets > 0 {
				return
			}
		}
	}
	w.t.Errorf("rule %s of chain %s counted nothing", rule, chain)
}
