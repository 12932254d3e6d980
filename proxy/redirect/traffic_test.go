package redirect

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pavise.dev/pavise/test/netlab"
)

// TestTraffic catches rules that send traffic elsewhere than they say. What is expected is
// who answers, and the destination that it sees.
func TestTraffic(t *testing.T) {
	for _, row := range []struct {
		name string
		set  func(*Config)
		want []string
	}{
		{"what the workload opens goes to Envoy", nil, []string{
			"app tcp 198.51.100.7:80 = outbound 198.51.100.7:80",
			"app tcp [2001:db8::7]:80 = outbound [2001:db8::7]:80",
			"app tcp 10.77.0.1:443 = outbound 10.77.0.1:443",
			"app tcp [fd77::1]:443 = outbound [fd77::1]:443",
			"app tcp 198.51.100.7:4444 = outbound 198.51.100.7:4444", // nobody listens there
			"app tcp 198.51.100.7:15001 = outbound 198.51.100.7:15001",
		}},
		{"the agent is exempt and nobody else", nil, []string{
			"agent tcp 198.51.100.7:80 = outside 198.51.100.7:80",
			"agent tcp [2001:db8::7]:80 = outside [2001:db8::7]:80",
			"agent tcp 198.51.100.7:15001 = outside 198.51.100.7:15001",
			"agent udp 198.51.100.7:443 = outside",
			"root tcp 198.51.100.7:80 = outbound 198.51.100.7:80",
			"root tcp [2001:db8::7]:80 = outbound [2001:db8::7]:80",
			"root udp 198.51.100.7:443 = not permitted",
			"agent-user tcp 198.51.100.7:80 = outbound 198.51.100.7:80",
			"agent-group tcp 198.51.100.7:80 = outbound 198.51.100.7:80",
			"agent-user udp 198.51.100.7:443 = not permitted",
		}},
		{"excluded ports", func(c *Config) { c.ExcludeOutboundPorts = ports(t, "22,400-500") }, []string{
			"app tcp 198.51.100.7:22 = outside 198.51.100.7:22",
			"app tcp [2001:db8::7]:443 = outside [2001:db8::7]:443",
			"app tcp 198.51.100.7:80 = outbound 198.51.100.7:80",
			"app udp 198.51.100.7:443 = not permitted", // they are ports of TCP
		}},
		{"included ports", func(c *Config) { c.IncludeOutboundPorts = ports(t, "80,443") }, []string{
			"app tcp 198.51.100.7:80 = outbound 198.51.100.7:80",
			"app tcp [2001:db8::7]:443 = outbound [2001:db8::7]:443",
			"app tcp 198.51.100.7:22 = outside 198.51.100.7:22",
			"app tcp 198.51.100.7:53 = dns 198.51.100.7:53",
		}},
		{"excluded CIDRs", func(c *Config) { c.ExcludeOutboundCIDRs = cidrs(t, "203.0.113.0/24, 2001:db8:ffff::/48, 10.77.0.1") }, []string{
			"app tcp 203.0.113.7:80 = outside 203.0.113.7:80",
			"app tcp [2001:db8:ffff::7]:80 = outside [2001:db8:ffff::7]:80",
			"app tcp 10.77.0.1:80 = outside 10.77.0.1:80",
			"app udp 203.0.113.7:443 = outside",
			"app udp [2001:db8:ffff::7]:443 = outside",
			"app tcp 198.51.100.7:80 = outbound 198.51.100.7:80",
			"app tcp [2001:db8::7]:80 = outbound [2001:db8::7]:80",
			"app udp [2001:db8::7]:443 = not permitted",
			"app udp 203.0.113.7:53 = dns", // DNS is never excluded
		}},
		{"DNS goes to the agent, whatever resolver it is aimed at", nil, []string{
			"app udp 198.51.100.7:53 = dns",
			"app udp [2001:db8::7]:53 = dns",
			"app tcp 198.51.100.7:53 = dns 198.51.100.7:53",
			"app tcp [2001:db8::7]:53 = dns [2001:db8::7]:53",
			"root udp 198.51.100.7:53 = dns",
			"app udp 127.0.0.53:53 = dns",
			"app udp 127.0.0.11:53 = dns",
			"app udp [::1]:53 = dns",
			"app tcp 127.0.0.53:53 = dns 127.0.0.53:53",
			"agent udp 198.51.100.7:53 = outside",
			"agent tcp 198.51.100.7:53 = outside 198.51.100.7:53",
		}},
		{"loopback stays as it is", nil, []string{
			"app tcp 127.0.0.1:8080 = app 127.0.0.1:8080",
			"app tcp 127.9.9.9:8080 = app 127.9.9.9:8080",
			"app tcp [::1]:8080 = app [::1]:8080",
			"app udp 127.0.0.1:8125 = app",
			"app udp [::1]:8125 = app",
			"app udp 10.77.0.2:8125 = app", // does not leave either
			"app tcp 127.0.0.1:15020 = health 127.0.0.1:15020",
			"app tcp 10.77.0.2:8080 = outbound 10.77.0.2:8080",
			"agent tcp 10.77.0.2:8080 = app 10.77.0.2:8080",
		}},
		{"nobody connects to Envoy by its own ports", nil, []string{
			"app tcp 127.0.0.1:15001 = refused",
			"app tcp 127.0.0.1:15006 = refused",
			"app tcp [::1]:15001 = refused",
			"app tcp 10.77.0.2:15006 = refused",
			"agent tcp 127.0.0.1:15001 = refused",
			"agent tcp [fd77::2]:15006 = refused",
		}},
		{"what comes from outside goes to Envoy", nil, []string{
			"outside tcp 10.77.0.2:8080 = inbound 10.77.0.2:8080",
			"outside tcp [fd77::2]:8080 = inbound [fd77::2]:8080",
			"outside tcp 10.77.0.2:15020 = health 10.77.0.2:15020",
			"outside tcp [fd77::2]:15020 = health [fd77::2]:15020",
		}},
		{"excluded inbound ports", func(c *Config) { c.ExcludeInboundPorts = ports(t, "9000-9100") }, []string{
			"outside tcp 10.77.0.2:9090 = app 10.77.0.2:9090",
			"outside tcp [fd77::2]:9090 = app [fd77::2]:9090",
			"outside tcp 10.77.0.2:8080 = inbound 10.77.0.2:8080",
		}},
		{"included inbound ports", func(c *Config) { c.IncludeInboundPorts = ports(t, "8080") }, []string{
			"outside tcp [fd77::2]:8080 = inbound [fd77::2]:8080",
			"outside tcp 10.77.0.2:9090 = app 10.77.0.2:9090",
		}},
		{"UDP and QUIC leave by the side", nil, []string{
			"app udp 198.51.100.7:443 = not permitted",
			"app udp [2001:db8::7]:443 = not permitted",
			"app udp 10.77.0.1:123 = not permitted",
		}},
		{"excluded UDP ports", func(c *Config) { c.ExcludeUDPPorts = ports(t, "123,8125") }, []string{
			"app udp 198.51.100.7:123 = outside",
			"app udp [2001:db8::7]:123 = outside",
			"app udp 198.51.100.7:443 = not permitted",
			"outside udp 10.77.0.2:8125 = app",
			"outside udp [fd77::2]:8125 = app",
		}},
		{"UDP Allow", func(c *Config) { c.UDP = Allow }, []string{
			"app udp 198.51.100.7:443 = outside",
			"app udp [2001:db8::7]:443 = outside",
			"app udp 198.51.100.7:53 = dns",
			"outside udp 10.77.0.2:8125 = app",
			"app tcp 198.51.100.7:443 = outbound 198.51.100.7:443",
		}},
		{"other ports", func(c *Config) { c.OutboundPort, c.InboundPort, c.DNSPort = 15006, 15001, 15020; c.AgentPorts = nil }, []string{
			"app tcp 198.51.100.7:80 = inbound 198.51.100.7:80", // named for their usual ports
			"outside tcp 10.77.0.2:8080 = outbound 10.77.0.2:8080",
			"app tcp 198.51.100.7:53 = health 198.51.100.7:53",
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, netlab.Options{})
			w.agent()
			w.workload()
			w.apply(row.set)
			w.expect(row.want...)
		})
	}
}

func ports(t testing.TB, s string) []PortRange {
	t.Helper()
	list, err := ParsePorts(s)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func cidrs(t testing.TB, s string) []netip.Prefix {
	t.Helper()
	list, err := ParseCIDRs(s)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestMark catches a mark that is not asked for, or is enough by itself.
func TestMark(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	w.agent()
	w.apply(func(c *Config) { c.Mark = 0x539; c.GID = 0 })
	w.expect("agent tcp 198.51.100.7:80 = outbound 198.51.100.7:80")
	// A mark takes a capability: it is set as root, on a socket of the agent's user.
	for _, row := range []struct {
		uid  uint32
		mark int
		want string
	}{
		{1337, 0x539, "outside 198.51.100.7:80"},
		{1337, 0x540, "outbound 198.51.100.7:80"},
		{1000, 0x539, "outbound 198.51.100.7:80"},
	} {
		var got string
		err := w.Pod.Do(func() (err error) {
			setFSUID(row.uid)
			got, err = dial("tcp", "198.51.100.7:80", row.mark)
			return err
		})
		if err != nil || got != row.want {
			t.Errorf("user %d with mark %#x: %q, %v; want %q", row.uid, row.mark, got, err, row.want)
		}
	}
}

// TestNothingFromOutside catches ports of the redirect, and UDP, that can be reached from
// outside. There is no answer to wait for; the rule that dropped has counted.
func TestNothingFromOutside(t *testing.T) {
	for _, row := range []struct{ network, to, chain, rule string }{
		{"tcp", "10.77.0.2:15001", "inbound", "envoy-ports"},
		{"tcp", "10.77.0.2:15006", "inbound", "envoy-ports"},
		{"tcp", "[fd77::2]:15006", "inbound", "envoy-ports"},
		{"tcp", "10.77.0.2:15053", "inbound", "dns-tcp"},
		{"udp", "10.77.0.2:15053", "guard_in", "rest"},
		{"udp", "10.77.0.2:8125", "guard_in", "rest"},
		{"udp", "[fd77::2]:8125", "guard_in", "rest"},
		{"allow", "10.77.0.2:15053", "inbound", "dns-udp"},
		{"allow", "[fd77::2]:15053", "inbound", "dns-udp"},
	} {
		t.Run(row.network+" "+row.to, func(t *testing.T) {
			w := newWorld(t, netlab.Options{})
			w.agent()
			w.workload()
			w.apply(func(c *Config) {
				if row.network == "allow" {
					c.UDP, row.network = Allow, "udp"
				}
			})
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() {
				_ = w.Outside.Do(func() error {
					c, err := (&net.Dialer{}).DialContext(ctx, row.network, row.to)
					if err != nil {
						return err
					}
					if row.network == "tcp" {
						t.Errorf("connected to %s", row.to)
					}
					_, err = c.Write([]byte("?"))
					c.Close()
					return err
				})
			})
			w.counted(row.chain, row.rule)
			cancel()
			running.Wait()
		})
	}
}

// TestOtherProtocols catches a protocol that is neither TCP nor UDP and leaves by the side,
// and ICMP that does not get through.
func TestOtherProtocols(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	w.apply(nil)
	for _, row := range []struct {
		network, to string
		send        []byte
		want        byte // the first octet of the answer
	}{
		{"ip4:253", "198.51.100.7", []byte{0}, 0}, // for experiments, RFC 3692
		{"ip6:253", "2001:db8::7", []byte{0}, 0},
		{"ip4:icmp", "198.51.100.7", []byte{8, 0, 0xf7, 0xfd, 0, 1, 0, 1}, 0}, // echo, RFC 792
		{"ip6:ipv6-icmp", "2001:db8::7", []byte{128, 0, 0, 0, 0, 1, 0, 1}, 129},
	} {
		err := w.Pod.Do(func() error {
			c, err := net.Dial(row.network, row.to)
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.Write(row.send); len(row.send) == 1 {
				if verdict(err) != "not permitted" {
					t.Errorf("%s: %v", row.network, err)
				}
				return nil
			} else if err != nil {
				return err
			}
			_ = c.SetDeadline(time.Now().Add(limit))
			b := make([]byte, 64)
			for b[1] = 1; b[0] != row.want || b[1] != 0; {
				// Not Read, which leaves the header of IPv4 in front.
				if _, _, err := c.(*net.IPConn).ReadFrom(b); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", row.network, err)
		}
	}
}

// TestNoEnvoy catches an application that starts before its sidecar and gets through.
func TestNoEnvoy(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	w.workload()
	w.apply(nil)
	w.expect(
		"app tcp 198.51.100.7:80 = refused",
		"app tcp [2001:db8::7]:80 = refused",
		"app udp 198.51.100.7:53 = refused",
		"app udp [2001:db8::7]:53 = refused",
		"outside tcp 10.77.0.2:8080 = refused",
		"outside tcp [fd77::2]:8080 = refused",
	)
}

// TestIPv6Off catches an error where there is no IPv6, and rules that do not hold when it
// is switched on later.
func TestIPv6Off(t *testing.T) {
	w := newWorld(t, netlab.Options{NoIPv6: true})
	w.agent()
	p := w.apply(nil)
	w.expect("app tcp 198.51.100.7:80 = outbound 198.51.100.7:80", "app udp 198.51.100.7:53 = dns")
	if d, err := w.kernel.Check(t.Context(), p); err != nil || len(d) > 0 {
		t.Errorf("check: %v, %v", d, err)
	}
	if err := w.Pod.Sysctl("net/ipv6/conf/all/disable_ipv6", "0"); err != nil {
		t.Fatal(err)
	}
	w.noIPv6 = false
	w.serveUDP(w.Pod, "dns", netip.IPv6Loopback(), 15053)
	w.expect("app tcp [::1]:15001 = refused", "app udp [::1]:53 = dns")
}

// TestNoMomentWithout catches rules that are replaced in two steps: while they change over
// and over, nothing gets out.
func TestNoMomentWithout(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	w.agent()
	a := w.apply(nil)
	b := plan(t, func(c *Config) { c.ExcludeOutboundCIDRs = manyCIDRs(200) })
	var done atomic.Bool
	var running sync.WaitGroup
	asked := 0
	running.Go(func() {
		for !done.Load() {
			if got := w.ask("app", "tcp", "198.51.100.7:80"); got != "outbound 198.51.100.7:80" {
				t.Errorf("connection %d: %s", asked, got)
				return
			}
			if got := w.ask("app", "udp", "198.51.100.7:443"); got != "not permitted" {
				t.Errorf("datagram %d: %s", asked, got)
				return
			}
			if got := w.ask("agent", "udp", "198.51.100.7:443"); got != "outside" {
				t.Errorf("datagram %d of the agent: %s", asked, got)
				return
			}
			asked++
		}
	})
	running.Go(func() {
		for !done.Load() {
			now, err := w.kernel.Current(t.Context())
			if errors.Is(err, ErrBusy) {
				continue
			}
			if err != nil {
				t.Error(err)
				return
			}
			if da, db := a.Compare(now), b.Compare(now); len(da) > 0 && len(db) > 0 {
				t.Errorf("neither one nor the other: %v; %v", da, db)
				return
			}
		}
	})
	for i := range 100 {
		if _, err := w.kernel.Apply(t.Context(), []*Plan{b, a}[i%2]); err != nil {
			t.Fatal(err)
		}
	}
	done.Store(true)
	running.Wait()
	if asked == 0 {
		t.Error("nothing was asked meanwhile")
	}
}

// TestBefore catches a change of what happens to traffic from before the rules, which
// the documentation states.
func TestBefore(t *testing.T) {
	w := newWorld(t, netlab.Options{})
	w.agent()
	var tcp, udp net.Conn // the workload's
	var server, caller net.PacketConn
	err := w.Pod.As(1000, 1000, func() (err error) {
		if udp, err = net.Dial("udp", "198.51.100.7:443"); err != nil {
			return err
		}
		if server, err = net.ListenPacket("udp", "10.77.0.2:8125"); err != nil {
			return err
		}
		tcp, err = net.Dial("tcp", "198.51.100.7:80")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = w.Outside.Do(func() (err error) {
		caller, err = net.ListenPacket("udp", "198.51.100.7:4444")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []interface {
		Close() error
		SetDeadline(time.Time) error
	}{tcp, udp, server, caller} {
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 64)
	if _, err := udp.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	if _, err := udp.Read(b); err != nil {
		t.Fatal(err)
	}
	if _, err := caller.WriteTo([]byte("?"), server.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := server.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	if _, err := server.WriteTo([]byte("!"), caller.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	w.apply(nil)
	if _, err := udp.Write([]byte("?")); verdict(err) != "not permitted" {
		t.Errorf("a UDP flow from before: %v", err)
	}
	if _, err := server.WriteTo([]byte("!"), caller.LocalAddr()); verdict(err) != "not permitted" {
		t.Errorf("an answer to a UDP flow from before: %v", err)
	}
	if n, err := tcp.Read(b); err != nil || string(b[:n]) != "outside 198.51.100.7:80" {
		t.Errorf("a TCP connection from before: %q, %v", b[:n], err)
	}
}
