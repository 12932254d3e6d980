package e2e

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/test/netlab"
)

// around is what goes by the side, or tries to.
func (s *sidecar) around(t *testing.T) {
	s.eachFamily(t, func(t *testing.T, f family) {
		t.Run("the ports of Envoy refuse", func(t *testing.T) {
			for _, to := range []string{"127.0.0.1", netlab.Pod4.String()} {
				for _, port := range []uint16{15001, 15006} {
					at := netip.AddrPortFrom(f.of(to), port)
					for _, u := range []user{application, agentUser} { // of the latter is Envoy, which could go round
						if m := s.try(s.Pod, u, netip.Addr{}, "TCP", at); m.view != refused {
							t.Errorf("%s: %+v saw %q, want %q", at, u, m.view, refused)
						}
					}
				}
			}
		})
		t.Run("nobody outside reaches them", func(t *testing.T) {
			for rule, port := range map[string]uint16{"envoy-ports": 15001, "dns-tcp": 15053} {
				before := s.dropped("inbound", rule)
				c, err := s.knock(netip.AddrPortFrom(f.of(netlab.Pod4.String()), port))
				if err == nil {
					c.Close()
					t.Errorf("port %d accepts", port)
				}
				if s.dropped("inbound", rule) == before {
					t.Errorf("port %d: the rule %s has dropped nothing; %v", port, rule, err)
				}
			}
		})
		t.Run("the user of the agent is exempt, and nobody else", func(t *testing.T) {
			at := netip.AddrPortFrom(f.host(220), 80)
			logged := s.agent.mark()
			exempt := s.try(s.Pod, agentUser, netip.Addr{}, "GET nobody.example/", at)
			if !strings.HasPrefix(exempt.view, "outside ") {
				t.Errorf("the agent's user saw %q", exempt.view)
			}
			for _, u := range []user{application, root, {agentUser.uid, application.gid}, {application.uid, agentUser.gid}} {
				noted := s.mark()
				m := s.try(s.Pod, u, netip.Addr{}, "GET nobody.example/", at)
				if !strings.HasPrefix(m.view, "403 ") || len(s.notes(noted)) > 0 {
					t.Errorf("%+v saw %q, and reached %q", u, m.view, s.notes(noted))
				}
				if _, err := s.agent.find(logged, func(d *decisions.Record) bool { return d.Source == m.from }); err != nil {
					t.Errorf("%+v: %v", u, err)
				}
			}
			for _, d := range s.agent.since(logged) { // what came later is there, so it would be as well
				if d.Source == exempt.from {
					t.Errorf("the agent's user was decided on: %+v", d)
				}
			}
		})
		t.Run("UDP is dropped, unless it is allowed", func(t *testing.T) {
			s.udp(t, f)
		})
	})
}

// knock waits for no answer: the kernel has seen the packet when it was sent.
func (w *world) knock(to netip.AddrPort) (c net.Conn, err error) {
	err = w.Outside.Do(func() error {
		c, err = (&net.Dialer{Timeout: 100 * time.Millisecond}).Dial("tcp", to.String())
		return err
	})
	return c, err
}

// udp sends to the port of QUIC, where a server echoes.
func (s *sidecar) udp(t *testing.T, f family) {
	at := netip.AddrPortFrom(f.host(221), 443)
	if f == ipv6 {
		at = netip.AddrPortFrom(netlab.Remote6, 443) // a route is not enough to listen at an address of IPv6
	}
	var pc net.PacketConn
	err := s.Outside.Do(func() (err error) { pc, err = net.ListenPacket("udp", at.String()); return err })
	if err != nil {
		t.Fatal(err)
	}
	heard, done := make(chan string, 8), make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 64)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			heard <- string(b[:n])
			_, _ = pc.WriteTo(b[:n], from)
		}
	}()
	defer func() { pc.Close(); <-done }()
	send := func(what string) error {
		c, err := s.dial(s.Pod, application, "udp", at)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte(what)); err != nil {
			return err
		}
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		_, err = c.Read(make([]byte, 64))
		return err
	}
	if err := send("dropped"); !errors.Is(err, syscall.EPERM) {
		t.Errorf("QUIC: %v, want that it is not permitted", err)
	}
	s.redirect("--udp", "Allow")
	defer s.redirect()
	if err := send("allowed"); err != nil {
		t.Fatalf("QUIC with --udp Allow: %v", err)
	}
	if got := <-heard; got != "allowed" {
		t.Errorf("outside heard %q first, which was to be dropped", got)
	}
	m := s.try(s.Pod, application, netip.Addr{}, "GET nobody.example/", netip.AddrPortFrom(f.host(222), 80))
	if !strings.HasPrefix(m.view, "403 ") {
		t.Errorf("with --udp Allow, TCP is not decided on: the application saw %q", m.view)
	}
}
