package netlab_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"pavise.dev/pavise/test/netlab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPodReachesOutside catches a cable that is not usable at once, a missing route, and
// traffic that takes place somewhere else.
func TestPodReachesOutside(t *testing.T) {
	lab := netlab.New(t, netlab.Options{})
	for _, remote := range []netip.Addr{netlab.Outside4, netlab.Outside6, netlab.Remote4, netlab.Remote6, netlab.Other4, netlab.Other6} {
		var l net.Listener
		err := lab.Outside.Do(func() (err error) {
			l, err = net.Listen("tcp", netip.AddrPortFrom(remote, 80).String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			c, err := l.Accept()
			if err == nil {
				fmt.Fprint(c, c.RemoteAddr())
				c.Close()
			}
		}()
		err = lab.Pod.As(1000, 1000, func() error {
			c, err := net.DialTimeout("tcp", netip.AddrPortFrom(remote, 80).String(), 10*time.Second)
			if err != nil {
				return err
			}
			defer c.Close()
			seen, err := io.ReadAll(c)
			if err != nil {
				return err
			}
			if from := netip.MustParseAddrPort(string(seen)).Addr(); from != netlab.Pod4 && from != netlab.Pod6 {
				return fmt.Errorf("%s saw %q, not the pod", remote, seen)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestUserIsOfOneThread catches credentials that leak into the rest of the process.
func TestUserIsOfOneThread(t *testing.T) {
	lab := netlab.New(t, netlab.Options{})
	err := lab.Pod.As(1000, 1001, func() error {
		if u, g := syscall.Geteuid(), syscall.Getegid(); u != 1000 || g != 1001 {
			return fmt.Errorf("user %d, group %d", u, g)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if os.Geteuid() != 0 {
		t.Error("the process is not root any more")
	}
}

// TestStart catches a command that runs in the wrong namespace, as the wrong user, or is
// killed with the thread that started it.
func TestStart(t *testing.T) {
	lab := netlab.New(t, netlab.Options{})
	cmd := exec.Command("sh", "-c", "read wait; id -u; cat /proc/net/if_inet6")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}, Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout = &out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Pod.Start(cmd); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "go on")
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "1000\n") || !strings.Contains(got, "fd770000000000000000000000000002") {
		t.Errorf("it said %q", got)
	}
}

// TestNoIPv6 catches a lab that has IPv6 all the same.
func TestNoIPv6(t *testing.T) {
	lab := netlab.New(t, netlab.Options{NoIPv6: true})
	err := lab.Pod.Do(func() error {
		l, err := net.Listen("tcp", "[::1]:0")
		if err == nil {
			l.Close()
			return fmt.Errorf("there is ::1")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestFunctionThatDoesNotReturn catches a wait without end for a function that ended its
// goroutine, as t.Fatal does.
func TestFunctionThatDoesNotReturn(t *testing.T) {
	lab := netlab.New(t, netlab.Options{})
	if err := lab.Pod.Do(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("no error")
	}
}
