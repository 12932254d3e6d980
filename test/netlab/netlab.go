// Package netlab gives a test two network namespaces of its own: a pod, and what is outside
// of it, joined by a cable, with IPv4 and IPv6 and nothing else. No traffic leaves them, they
// have no name, and they are gone with the test, even if it is killed.
//
// It needs root; a test that has not got it is skipped, and says so.
package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Addresses of a lab. Those of documentation (RFC 5737, RFC 3849) stand for the internet;
// Outside has them, and the pod's default routes lead there.
var (
	Pod4     = netip.MustParseAddr("10.77.0.2")
	Pod6     = netip.MustParseAddr("fd77::2")
	Outside4 = netip.MustParseAddr("10.77.0.1")
	Outside6 = netip.MustParseAddr("fd77::1")
	Remote4  = netip.MustParseAddr("198.51.100.7")
	Remote6  = netip.MustParseAddr("2001:db8::7")
	Other4   = netip.MustParseAddr("203.0.113.7")
	Other6   = netip.MustParseAddr("2001:db8:ffff::7")
)

// Options change a lab.
type Options struct {
	// NoIPv6 switches IPv6 off in both namespaces, by sysctl.
	NoIPv6 bool
}

// Lab is a pod and what is outside of it.
type Lab struct{ Pod, Outside *Namespace }

// New makes a lab that lasts until the test ends.
func New(t testing.TB, o Options) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	l := &Lab{Pod: newNamespace(t), Outside: newNamespace(t)}
	if err := l.wire(o); err != nil {
		t.Fatalf("netlab: %v", err)
	}
	return l
}

// wire joins the namespaces.
func (l *Lab) wire(o Options) error {
	for _, n := range []*Namespace{l.Pod, l.Outside} {
		if o.NoIPv6 {
			if err := n.Sysctl("net/ipv6/conf/all/disable_ipv6", "1"); err != nil {
				return err
			}
		}
		if err := n.up("lo"); err != nil {
			return err
		}
	}
	// The cable is made inside, so that the machine's own namespace never sees it.
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "eth0"
	cable := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(l.Outside.FD())}
	if err := l.Pod.links.LinkAdd(cable); err != nil {
		return fmt.Errorf("make a veth pair: %w", err)
	}
	if err := errors.Join(l.Pod.up("eth0"), l.Outside.up("eth0")); err != nil {
		return err
	}
	for _, a := range []struct {
		n    *Namespace
		link string
		addr netip.Prefix
	}{
		{l.Pod, "eth0", netip.PrefixFrom(Pod4, 24)},
		{l.Pod, "eth0", netip.PrefixFrom(Pod6, 64)},
		{l.Outside, "eth0", netip.PrefixFrom(Outside4, 24)},
		{l.Outside, "eth0", netip.PrefixFrom(Outside6, 64)},
		{l.Outside, "lo", netip.PrefixFrom(Remote4, 32)},
		{l.Outside, "lo", netip.PrefixFrom(Remote6, 128)},
		{l.Outside, "lo", netip.PrefixFrom(Other4, 32)},
		{l.Outside, "lo", netip.PrefixFrom(Other6, 128)},
	} {
		if o.NoIPv6 && a.addr.Addr().Is6() {
			continue
		}
		if err := a.n.address(a.link, a.addr); err != nil {
			return err
		}
	}
	if err := l.Pod.route(Outside4); err != nil || o.NoIPv6 {
		return err
	}
	return l.Pod.route(Outside6)
}

// Namespace is a network namespace.
type Namespace struct {
	ns    netns.NsHandle
	links *netlink.Handle
	ended chan struct{} // the test is over
}

func newNamespace(t testing.TB) *Namespace {
	t.Helper()
	n := &Namespace{ended: make(chan struct{})}
	err := onThread(func() (err error) {
		n.ns, err = netns.New() // of this thread, which is not used again
		return err
	})
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		t.Skipf("network namespaces cannot be made here: %v", err) // root in a container, say
	}
	if err != nil {
		t.Fatalf("netlab: make a network namespace: %v", err)
	}
	t.Cleanup(func() {
		close(n.ended)
		_ = n.ns.Close()
	})
	n.links, err = netlink.NewHandleAt(n.ns, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatalf("netlab: %v", err)
	}
	t.Cleanup(n.links.Close)
	return n
}

// FD is a descriptor of the namespace, open until the test ends.
func (n *Namespace) FD() int { return int(n.ns) }

// Do runs fn in the namespace, as root. What fn opens stays in the namespace and may be
// used anywhere; what it starts with go is not in it. Addresses to dial have to be numbers:
// a name is looked up elsewhere. fn must not call t.Fatal.
func (n *Namespace) Do(fn func() error) error {
	return onThread(func() error { return n.inside(fn) })
}

// As is Do as another user, without any capability.
func (n *Namespace) As(uid, gid uint32, fn func() error) error {
	return n.Do(func() error {
		// By hand: the calls of package syscall change every thread of the process.
		for _, c := range []struct{ call, a, b, c uintptr }{
			{unix.SYS_SETGROUPS, 0, 0, 0},
			{unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
			{unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
		} {
			if _, _, errno := unix.RawSyscall(c.call, c.a, c.b, c.c); errno != 0 {
				return fmt.Errorf("become user %d, group %d: %w", uid, gid, errno)
			}
		}
		return fn()
	})
}

// Start starts a command in the namespace, as the user in cmd.SysProcAttr.Credential if
// there is one. The caller waits for it. A Pdeathsig takes effect when the test ends.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := n.inside(cmd.Start)
		started <- err
		if err == nil {
			<-n.ended // the thread that started it has to live as long
		}
	}()
	return <-started
}

// Sysctl sets one, as in "net/ipv4/ip_forward".
func (n *Namespace) Sysctl(name, value string) error {
	return n.Do(func() error {
		path := "/proc/sys/" + strings.TrimPrefix(name, "/")
		if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
			return fmt.Errorf("sysctl: %w", err)
		}
		return nil
	})
}

// inside enters the namespace with the calling thread, which must be of no further use.
func (n *Namespace) inside(fn func() error) error {
	if err := netns.Set(n.ns); err != nil {
		return fmt.Errorf("enter the namespace: %w", err)
	}
	return fn()
}

// onThread runs fn on a thread of its own, which ends with it: the goroutine never
// unlocks it, so the runtime does not take it back.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := errors.New("netlab: the function did not return; it must not call t.Fatal")
		defer func() { done <- err }()
		err = fn()
	}()
	return <-done
}

func (n *Namespace) up(name string) error {
	link, err := n.links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return n.links.LinkSetUp(link)
}

func (n *Namespace) address(name string, p netip.Prefix) error {
	link, err := n.links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	addr, err := netlink.ParseAddr(p.String())
	if err != nil {
		return err
	}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD // usable at once; nobody else is on the cable
	}
	if err := n.links.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("address %s: %w", p, err)
	}
	return nil
}

// route sets the default route by way of an address on eth0.
func (n *Namespace) route(via netip.Addr) error {
	link, err := n.links.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := n.links.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: via.AsSlice()}); err != nil {
		return fmt.Errorf("route by way of %s: %w", via, err)
	}
	return nil
}
